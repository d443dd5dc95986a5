"""The environment is read once and every wrong value is named."""

from pathlib import Path

import pytest

from weir_inference.config import Config, ModelSource
from weir_kit.config import REQUIRED, ConfigError, load, settings_of


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "key.pem"
    key.write_text("a key")
    return {
        "WEIR_MODELS": "tales=/models/tales, tiny = owner/tiny",
        "WEIR_ADMISSION_PUBLIC_KEY_FILE": str(key),
    }


def test_models_and_defaults_are_read(environ: dict[str, str]) -> None:
    config = load(Config, environ)
    assert config.models == (
        ModelSource("tales", "/models/tales"),
        ModelSource("tiny", "owner/tiny"),
    )
    assert (config.kv_mb, config.max_running, config.max_queued, config.step_tokens) == (
        256,
        32,
        256,
        256,
    )
    assert config.prefix_caching
    assert not load(Config, {**environ, "WEIR_INFERENCE_PREFIX_CACHING": "off"}).prefix_caching


def test_the_readme_tells_every_setting_and_its_default() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for one in settings_of(Config):
        cell = as_written(one.default)
        assert f"| `{one.variable}` | {cell} |" in readme, one.variable


def as_written(value: object) -> str:
    if value is REQUIRED:
        return "required"
    if value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEIR_MODELS", "tales"),
        ("WEIR_MODELS", "=folder"),
        ("WEIR_MODELS", "a=x,a=y"),
        ("WEIR_INFERENCE_DEVICE", "tpu"),
        ("WEIR_INFERENCE_DTYPE", "int8"),
        ("WEIR_INFERENCE_THREADS", "-1"),
        ("WEIR_INFERENCE_KV_MB", "0"),
        ("WEIR_INFERENCE_MAX_RUNNING", "many"),
        ("WEIR_INFERENCE_STEP_TOKENS", "8"),
        ("WEIR_INFERENCE_QUANTIZE", "fp8"),
        ("WEIR_INFERENCE_KERNELS", "cuda"),
        ("WEIR_INFERENCE_MAX_QUEUED_TOKENS", "0"),
        ("WEIR_INFERENCE_PREFIX_CACHING", "yes"),
        ("WEIR_INFERENCE_DRAFT_TOKENS", "-1"),
        ("WEIR_INFERENCE_DRAFT_TOKENS", "17"),
        ("WEIR_INFERENCE_STALL_EXIT_S", "0"),
        ("WEIR_INFERENCE_STALL_EXIT_S", "nan"),
    ],
)
def test_a_wrong_value_names_its_variable(
    environ: dict[str, str], variable: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=variable):
        load(Config, {**environ, variable: value})
