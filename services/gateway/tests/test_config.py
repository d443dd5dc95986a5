"""What the environment may say."""

import pytest

from weir_gateway.config import Config
from weir_kit.config import ConfigError, load


def test_the_defaults_serve_on_the_loopback() -> None:
    assert load(Config, {}) == Config(("127.0.0.1", 8080), 120.0)


def test_addresses_and_seconds_are_read() -> None:
    environ = {"WEIR_HTTP_LISTEN": "[::1]:0", "WEIR_REQUEST_TIMEOUT_S": "1.5"}
    assert load(Config, environ) == Config(("::1", 0), 1.5)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEIR_HTTP_LISTEN", "8080"),
        ("WEIR_HTTP_LISTEN", "host:99999"),
        ("WEIR_REQUEST_TIMEOUT_S", "0"),
        ("WEIR_REQUEST_TIMEOUT_S", "nan"),
        ("WEIR_REQUEST_TIMEOUT_S", "1e9"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load(Config, {variable: value})
