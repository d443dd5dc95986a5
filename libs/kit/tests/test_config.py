"""The environment is read once, checked, and complained about by name."""

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from weir_kit.config import REQUIRED, ConfigError, load, names, secret_file, setting, settings_of
from weir_kit.host_config import HostConfig

HERE = Path("here")


@dataclass(frozen=True)
class Config:
    url: str = setting("X_URL", REQUIRED, "Where it is.")
    count: int = setting("X_COUNT", 3, "How many.")
    ratio: float = setting("X_RATIO", 0.5, "How much.")
    is_on: bool = setting("X_ON", False, "Whether.")
    folder: Path = setting("X_FOLDER", HERE, "In which folder.")
    models: tuple[str, ...] = setting("X_MODELS", (), "Which ones.", parse=names)
    secret: bytes = setting("X_SECRET_FILE", b"", "File with the secret.", parse=secret_file)


def test_defaults_fill_what_is_not_set() -> None:
    assert load(Config, {"X_URL": "u"}) == Config("u", 3, 0.5, False, HERE, (), b"")


def test_values_are_read_by_their_type(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"hush\n")
    environ = {
        "X_URL": "u",
        "X_COUNT": "7",
        "X_RATIO": "1.5",
        "X_ON": "yes",
        "X_FOLDER": "/tmp",
        "X_MODELS": "a, b,",
        "X_SECRET_FILE": str(secret),
    }
    assert load(Config, environ) == Config("u", 7, 1.5, True, Path("/tmp"), ("a", "b"), b"hush")


@pytest.mark.parametrize("environ", [{}, {"X_URL": " "}])
def test_a_missing_value_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"X_URL is not set: Where it is\."):
        load(Config, environ)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("X_COUNT", "many"), ("X_RATIO", "half"), ("X_ON", "maybe"), ("X_SECRET_FILE", "/no/such")],
)
def test_a_wrong_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} is wrong"):
        load(Config, {"X_URL": "u", variable: value})


def refuse(text: str) -> str:
    raise ValueError("expected something else")


def test_a_value_that_may_hold_a_password_is_not_repeated() -> None:
    @dataclass(frozen=True)
    class Guarded:
        url: str = setting("X_URL", REQUIRED, "Where it is.", parse=refuse)

    with pytest.raises(ConfigError, match="expected something else") as caught:
        load(Guarded, {"X_URL": "postgres:/user:hunter2@host"})
    assert "hunter2" not in str(caught.value)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(ConfigError, match="X_SECRET_FILE is wrong"):
        load(Config, {"X_URL": "u", "X_SECRET_FILE": str(tmp_path / "empty")})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        load(Config, {"X_URL": "u"}).count = 1  # type: ignore[misc]


def test_every_setting_of_the_host_is_documented() -> None:
    assert all(one.doc.endswith(".") or ";" in one.doc for one in settings_of(HostConfig))


@pytest.mark.parametrize(
    "listen", ["8080", "localhost:", ":80", "host:99999", "host:port", "unix:"]
)
def test_an_address_that_is_none_is_refused(listen: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    environ = {"WEIR_SERVICE_TOKEN_FILE": str(tmp_path / "token"), "WEIR_LISTEN": listen}
    with pytest.raises(ConfigError, match="WEIR_LISTEN is wrong"):
        load(HostConfig, environ)


@pytest.mark.parametrize("token", [b"two words", b"\xc3\xa9t\xc3\xa9", b"new\nline"])
def test_a_token_that_metadata_cannot_carry_is_refused_unseen(token: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(token)
    with pytest.raises(ConfigError, match="printable ASCII") as caught:
        load(HostConfig, {"WEIR_SERVICE_TOKEN_FILE": str(tmp_path / "token")})
    assert token.decode() not in str(caught.value)
