"""Reading JSON objects field by field, naming what is wrong."""

import json
from collections.abc import Mapping
from typing import Any

from weir_kit.errors import InvalidArgument

NAME_CHARS_MAX = 64


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body. Raises `InvalidArgument`."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("the body is not valid JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise InvalidArgument("the body must be a JSON object")
    return value


class Fields:
    """The fields of one object. Each is read once; null is the same as absent.

    Every method raises `InvalidArgument` naming the field; `prefix` is where the object stands.
    """

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._prefix = prefix

    def has(self, name: str) -> bool:
        """Whether the field is there, not read yet."""
        return name in self._values

    def take(self, name: str) -> Any:
        """The field as it is; None if it is absent."""
        return self._values.pop(name, None)

    def text(self, name: str) -> str | None:
        """A string."""
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return None if value is None else self.checked(name, value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number in [low, high]; not a boolean."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"must be a whole number between {low} and {high}")
        return value

    def number(self, name: str) -> float | None:
        """A number; core knows its range."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) not in (int, float):
            raise self.wrong(name, "must be a number")
        try:
            return float(value)
        except OverflowError:
            raise self.wrong(name, "is too large") from None

    def flag(self, name: str) -> bool:
        """A boolean; False if it is absent."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return bool(value)

    def object(self, name: str) -> "Fields | None":
        """An object."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "must be an object")
        return None if value is None else Fields(value, f"{self._prefix}{name}.")

    def checked(self, name: str, text: str) -> str:
        """`text`, if it can be encoded: JSON can carry halves of surrogate pairs."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.wrong(name, "holds half a surrogate pair, which is no character") from None
        return text

    def refuse_rest(self, ignored: frozenset[str], neutral: Mapping[str, tuple[Any, ...]]) -> None:
        """Pass over fields in `ignored` or with a `neutral` value; refuse all others not read."""
        for name, value in self._values.items():
            if name in ignored or any(
                type(v) is type(value) and v == value for v in neutral.get(name, ())
            ):
                continue
            why = "is not supported" if name in neutral else "is not known"
            raise self.wrong(name[:NAME_CHARS_MAX], why)

    def path(self, name: str) -> str:
        """What the field is called, seen from the body."""
        return self._prefix + name

    def wrong(self, name: str, why: str) -> InvalidArgument:
        """An error about one field."""
        field = self.path(name)
        return InvalidArgument(f"{field} {why}", field=field)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
