"""Reads the fields of a plain document (from YAML or JSON), each by its type and bounds.

Every fault is an `InvalidArgument` whose field is the key's path and whose message says what would
be right: `model.yaml: batching.max_rows must be 1..1024, not 0`.
"""

from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeGuard, TypeVar

from weir_inference.core.file_name import file_name_fault
from weir_kit.errors import InvalidArgument

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
D = TypeVar("D")

TOLD_CHARS_MAX = 60


class Fields:
    """A mapping of a document, at `path` in it; only keys that are `known` may stand there."""

    def __init__(self, raw: object, known: Collection[str], document: str, path: str = "") -> None:
        self._document, self._path = document, path
        if not isinstance(raw, dict):
            raise self.error("", f"must be a mapping with keys of {', '.join(known)}")
        self._raw: dict[str, object] = raw
        for key in raw:
            if key not in known:
                raise self._unknown(key, known)

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def is_text(self, key: str) -> bool:
        """Whether text stands under the key, where it may also be a list."""
        return isinstance(self._raw.get(key), str)

    def fault(self, key: str, must: str, hint: str = "") -> InvalidArgument:
        """The error that `key` of this mapping is not what it must be; says what it is."""
        value = self._raw.get(key)
        return self.error(key, f"{must}{'' if value is None else f', not {_told(value)}'}{hint}")

    def error(self, key: str, told: str) -> InvalidArgument:
        """An error at `key`, or at this whole mapping where it is empty."""
        path = self._at(key)
        return InvalidArgument(
            f"{self._document}: {path + ' ' if path else ''}{told}", field=path or None
        )

    def integer(self, key: str, low: int, high: int, default: D) -> int | D:
        """A whole number from `low` to `high`."""
        value = self._raw.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fault(key, f"must be {low}..{high}")
        return value

    def number(self, key: str, low: float, high: float, default: D) -> float | D:
        """A number from `low` to `high`; never NaN."""
        value = self._raw.get(key)
        if value is None:
            return default
        if not _is_number(value, low, high):
            raise self.fault(key, f"must be a number {low:g}..{high:g}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        value = self._raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(key, "must be true or false")
        return value

    def text(self, key: str, chars_max: int, default: D) -> str | D:
        """One line of text."""
        value = self._raw.get(key)
        if value is None:
            return default
        if not is_line(value, chars_max):
            raise self.fault(key, f"must be text in one line, of 1..{chars_max} characters")
        return value

    def word(self, key: str, words: type[E], default: D) -> E | D:
        """One of an enumeration's words."""
        value = self._raw.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in list(words):
            near = _nearest(value, list(words))
            raise self.fault(key, f"must be one of {', '.join(words)}", near)
        return words(value)

    def file(self, key: str, default: D, suffixes: Collection[str] = ()) -> str | D:
        """The name of a file of the model's folder."""
        value = self._raw.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.fault(key, "must be the name of a file in the model's folder")
        if fault := file_name_fault(value):
            raise self.fault(key, f"names a file whose name {fault}")
        if suffixes and not value.endswith(tuple(suffixes)):
            raise self.fault(key, f"must end in {' or '.join(suffixes)}")
        return value

    def listed(self, key: str, n_max: int, what: str, n_min: int = 1) -> list[object]:
        """A list of `n_min` to `n_max`; empty where the key is absent."""
        value = self._raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not n_min <= len(value) <= n_max:
            raise self.fault(key, f"must be a list of {n_min}..{n_max} {what}")
        return value

    def words(self, key: str, n_max: int, what: str, fits: Callable[[str], bool]) -> list[str]:
        """A list of different words that each fit."""
        given = self.listed(key, n_max, what)
        found = [one for one in given if isinstance(one, str) and fits(one)]
        if len(set(found)) != len(given):
            raise self.fault(key, f"must be a list of different {what}")
        return found

    def numbers(self, key: str, low: float, high: float, n_max: int) -> tuple[float, ...]:
        """A list of numbers, or one."""
        value = self._raw.get(key)
        if value is None:
            return ()
        found = value if isinstance(value, list) else [value]
        numbers = [float(one) for one in found if _is_number(one, low, high)]
        if not 0 < len(found) <= n_max or len(numbers) != len(found):
            raise self.fault(key, f"must be 1..{n_max} numbers {low:g}..{high:g}")
        return tuple(numbers)

    def integers(
        self, key: str, low: int, high: int, n_max: int, n_min: int = 1
    ) -> tuple[int, ...]:
        """A list of whole numbers."""
        found = self.listed(key, n_max, "whole numbers", n_min)
        whole = [one for one in found if isinstance(one, int) and not isinstance(one, bool)]
        if len(whole) != len(found) or not all(low <= one <= high for one in whole):
            raise self.fault(key, f"must be whole numbers {low}..{high}")
        return tuple(whole)

    def inner(self, key: str, known: Collection[str]) -> "Fields":
        """The mapping under a key; empty where it is absent."""
        raw = self._raw.get(key)
        return Fields({} if raw is None else raw, known, self._document, self._at(key))

    def each(self, key: str, n_max: int, known: Collection[str]) -> "Iterator[Fields]":
        """The mappings of a list; their paths are `key[0]`, `key[1]`, …"""
        for i, raw in enumerate(self.listed(key, n_max, "mappings")):
            yield Fields(raw, known, self._document, f"{self._at(key)}[{i}]")

    def pairs(self, key: str, n_max: int) -> dict[str, object]:
        """A mapping whose keys are free: text, at most `n_max`."""
        raw = self._raw.get(key)
        if raw is None:
            return {}
        if not isinstance(raw, dict) or len(raw) > n_max:
            raise self.fault(key, f"must be a mapping of at most {n_max} keys")
        if not all(isinstance(name, str) for name in raw):
            raise self.error(key, "must have keys that are text (put them in quotes)")
        return raw

    def required(self, key: str, value: T | None) -> T:
        """The value, which must be given."""
        if value is None:
            raise self.error(key, "is missing")
        return value

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path and key else self._path or key

    def _unknown(self, key: object, known: Collection[str]) -> InvalidArgument:
        path = self._at(_told(key).strip("'"))
        if not known:
            return InvalidArgument(f"{self._document}: {path} has no place here", field=path)
        near = _nearest(key, known) or f"; known are {', '.join(known)}"
        return InvalidArgument(f"{self._document}: {path} is not a known key{near}", field=path)


def is_line(value: object, chars_max: int) -> TypeGuard[str]:
    """Text of one line that is not empty and shows."""
    return isinstance(value, str) and 1 <= len(value) <= chars_max and value.isprintable()


def _is_number(value: object, low: float, high: float) -> TypeGuard[float]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high  # type: ignore[operator]


def _nearest(value: object, known: Collection[str]) -> str:
    if not isinstance(value, str):
        return ""
    near = get_close_matches(value[:TOLD_CHARS_MAX], known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _told(value: object) -> str:
    """A value as a message shows it: never more than a line, never a whole document."""
    if isinstance(value, dict | list):
        return "this mapping" if isinstance(value, dict) else "this list"
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a number of many digits"
    told = repr(value)
    return told if len(told) <= TOLD_CHARS_MAX else f"{told[:TOLD_CHARS_MAX]}…"
