"""What a detector promises, so that a stream can be screened without looking at a whole text."""

from typing import Protocol

Span = tuple[int, int]


class Detector(Protocol):
    """Finds one kind of thing in a growing text.

    `name` is the rule's name in findings. `longest` bounds a match and `context` bounds what is
    looked at before one, both in characters (code points).
    """

    @property
    def name(self) -> str: ...

    @property
    def longest(self) -> int: ...

    @property
    def context(self) -> int: ...

    def scan(self, text: str, at: int, final: bool) -> tuple[list[Span], int]:
        """The matches that start in `text[at:decided]`, by start, and `decided`, at least `at`.

        Every match that starts before `decided` is in the list, whatever text comes after; what
        starts at `decided` or later may still change, and is scanned again from there. `text[:at]`
        is context only: all the text before, or at least `context` characters of it. `final` says
        that no text comes after; then `decided` is the text's length. Otherwise `decided` trails
        the end by at most `longest` characters, and by less where no match can begin.
        """
        ...
