"""The service's settings."""

from pathlib import Path

import pytest

from weir_billing.config import Config
from weir_billing.service import open_service
from weir_kit.config import ConfigError, load


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "key.pem"
    key.write_text("not a key\n")
    return {
        "WEIR_BILLING_DATABASE_URL": "postgresql://u:hidden@nowhere/weir",
        "WEIR_ADMISSION_PUBLIC_KEY_FILE": str(key),
    }


def test_defaults(environ: dict[str, str]) -> None:
    config = load(Config, environ)
    assert (config.sweep_interval_s, config.redis_url) == (5.0, "redis://127.0.0.1:6379/0")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEIR_BILLING_SWEEP_INTERVAL_S", "0"),
        ("WEIR_BILLING_SWEEP_INTERVAL_S", "nan"),
        ("WEIR_BILLING_SWEEP_INTERVAL_S", "often"),
        ("WEIR_BILLING_DATABASE_URL", ""),
        ("WEIR_BILLING_DATABASE_URL", "mysql://x"),
        ("WEIR_ADMISSION_PUBLIC_KEY_FILE", "/does/not/exist"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load(Config, {**environ, variable: value})


async def test_a_wrong_key_is_told_before_anything_is_opened(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="WEIR_ADMISSION_PUBLIC_KEY_FILE"):
        async with open_service(load(Config, environ), None):  # type: ignore[arg-type]
            pass
