r"""Patterns that know what may still become a match.

A pattern is written once, as branches of steps, and compiled to two regular expressions: `full`,
which matches it, and `open`, which matches the end of a text (`\Z`) if more text could complete or
lengthen a match there. A match is decided as soon as `open` does not match where it starts: then no
path through `full` reached the end of the text, so no text after it can matter. This is what makes
the screen independent of how a text is cut.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from weir_policy.core.detector import Span


@dataclass(frozen=True)
class Step:
    """`least` to `most` pieces in a row.

    `atom` is a regular expression for one piece of at most `width` characters, and `partial` one
    for its beginnings (which, for a piece of one character, is nothing).
    """

    atom: str
    least: int = 1
    most: int = 1
    partial: str = ""
    width: int = 1


@dataclass(frozen=True)
class Branch:
    """Steps one after the other; the first is one character.

    `not_after` are regular expressions of fixed width that must not match right before it.
    """

    steps: Sequence[Step]
    not_after: Sequence[str] = ()


def literal(text: str) -> tuple[Step, ...]:
    """A step for every character of `text`."""
    return tuple(Step(re.escape(character)) for character in text)


class Pattern:
    """A bounded pattern; a `Detector`. At one place, the first branch that matches wins.

    `after` is a look-ahead at the one character after a match. `begins(text, start)` may rule out a
    start by the `context` characters before it; `accepts(match)` may rule out a matched text.
    """

    def __init__(
        self,
        name: str,
        branches: Sequence[Branch],
        *,
        after: str = "",
        context: int = 2,
        begins: Callable[[str, int], bool] = lambda text, start: True,
        accepts: Callable[[str], bool] = lambda match: True,
    ) -> None:
        firsts = [branch.steps[0] for branch in branches]
        assert all((step.least, step.most, step.width) == (1, 1, 1) for step in firsts)
        # One class of characters comes first, because re then skips quickly to where it can match.
        first = "(?:" + "|".join(step.atom for step in firsts) + ")"
        self.name = name
        self.context = context
        self.longest = max(sum(s.most * s.width for s in branch.steps) for branch in branches)
        self._full = re.compile(first + _any(_begun(b) + _full(b) + after for b in branches))
        self._open = re.compile(first + _any(_begun(b) + _open(b) for b in branches))
        self._begins = begins
        self._accepts = accepts

    def scan(self, text: str, at: int, final: bool) -> tuple[list[Span], int]:
        """See `Detector.scan`."""
        spans = []
        decided = self._decided(text, at, final)
        while found := self._next(text, at, decided):
            spans.append(found)
            at = found[1]
            if at > decided:
                decided = self._decided(text, at, final)
        return spans, decided

    def first(self, text: str, at: int, final: bool) -> tuple[Span | None, int]:
        """The first match from `at` on, if it is decided, and what is decided by then."""
        decided = self._decided(text, at, final)
        found = self._next(text, at, decided)
        return found, found[1] if found else decided

    def _next(self, text: str, at: int, decided: int) -> Span | None:
        found = self._full.search(text, at)
        while found is not None and found.start() < decided:
            if self._begins(text, found.start()) and self._accepts(found.group()):
                return found.span()
            found = self._full.search(text, found.start() + 1)
        return None

    def _decided(self, text: str, at: int, final: bool) -> int:
        """Where the first match could start that more text would complete or lengthen."""
        if final:
            return len(text)
        found = self._open.search(text, max(at, len(text) - self.longest))
        while found is not None and not self._begins(text, found.start()):
            found = self._open.search(text, found.start() + 1)
        return len(text) if found is None else found.start()


def _any(choices: Iterable[str]) -> str:
    return f"(?:{'|'.join(choices)})"


def _begun(branch: Branch) -> str:
    """What must hold after the first character: it is this branch's, in a right place."""
    shifted = "".join(f"(?<!{before}(?s:.))" for before in branch.not_after)
    return f"(?<={branch.steps[0].atom}){shifted}"


def _full(branch: Branch) -> str:
    return "".join(f"{s.atom}{{{s.least},{s.most}}}" for s in branch.steps[1:])


def _open(branch: Branch) -> str:
    r"""The beginnings of a branch at the end of the text: `(?:\Z|b(?:\Z|c\Z))` for a, b, c."""
    rest = r"\Z"
    for step in reversed(branch.steps[1:]):
        unfinished = f"{step.atom}{{0,{step.most - 1}}}{step.partial}"
        rest = f"(?:{unfinished}\\Z|{step.atom}{{{step.least},{step.most}}}{rest})"
    return rest
