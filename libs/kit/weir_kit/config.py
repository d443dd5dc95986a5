"""Configuration: from environment variables, once, into a frozen dataclass.

    @dataclass(frozen=True)
    class Config:
        redis_url: str = setting("WEIR_REDIS_URL", "redis://127.0.0.1/0", "Redis to keep rates in.")
        pepper: bytes = setting("WEIR_PEPPER_FILE", REQUIRED, "The key pepper.", parse=secret_file)

    config = load(Config, os.environ)

A wrong or missing value raises `ConfigError`, which names the variable and what would be right.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

REQUIRED = object()
C = TypeVar("C")


class ConfigError(ValueError):
    """An environment variable is missing or wrong."""


@dataclass(frozen=True)
class Setting:
    """One variable: its name, how its text is read, its default value, and what it means."""

    variable: str
    default: Any
    doc: str
    parse: Callable[[str], Any] | None


def setting(
    variable: str, default: Any, doc: str, parse: Callable[[str], Any] | None = None
) -> Any:
    """A field of a Config.

    Without `parse` the text is read by the field's type: str, int, float, bool or Path.
    """
    return dataclasses.field(metadata={"setting": Setting(variable, default, doc, parse)})


def settings_of(config: type[Any]) -> list[Setting]:
    """Every setting of a Config class, in order, for documentation and tests."""
    return [field.metadata["setting"] for field in dataclasses.fields(config)]


def load(config: type[C], environ: Mapping[str, str] = os.environ) -> C:
    """Read every setting of `config` from `environ`. An empty value counts as missing."""
    assert dataclasses.is_dataclass(config)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        one: Setting = field.metadata["setting"]
        text = environ.get(one.variable, "").strip()
        if text:
            values[field.name] = _parsed(one, field.type, text)
        elif one.default is REQUIRED:
            raise ConfigError(f"{one.variable} is not set: {one.doc}")
        else:
            values[field.name] = one.default
    return config(**values)


def secret_file(text: str) -> bytes:
    """The contents of a file, without the newline at its end; never empty."""
    secret = Path(text).read_bytes().strip()
    if not secret:
        raise ValueError("the file is empty")
    return secret


def names(text: str) -> tuple[str, ...]:
    """A list with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parsed(one: Setting, kind: Any, text: str) -> Any:
    parse = one.parse or PARSERS[kind if isinstance(kind, str) else kind.__name__]
    try:
        return parse(text)
    except (ValueError, OSError) as error:
        # What has a parser of its own may hold a password; the parser's message says what is wrong.
        shown = f" {text!r}" if one.parse is None else ""
        raise ConfigError(f"{one.variable} is wrong:{shown} ({error}); it is: {one.doc}") from error


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise ValueError("expected true or false")
    return known[text.lower()]


PARSERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _boolean,
    "Path": Path,
}
