"""The service's settings."""

import pytest

from weir_kit.config import ConfigError, load
from weir_tokenizer.config import Config, ModelSource


def test_models_are_names_and_sources() -> None:
    config = load(Config, {"WEIR_MODELS": "tales=/models/tales, qwen=Qwen/Qwen3-0.6B"})
    assert config.models == (
        ModelSource("tales", "/models/tales"),
        ModelSource("qwen", "Qwen/Qwen3-0.6B"),
    )


@pytest.mark.parametrize("text", ["", "tales", "=folder", "tales=", "a=x,a=y"])
def test_wrong_models_are_refused_by_the_variables_name(text: str) -> None:
    with pytest.raises(ConfigError, match="WEIR_MODELS"):
        load(Config, {"WEIR_MODELS": text})
