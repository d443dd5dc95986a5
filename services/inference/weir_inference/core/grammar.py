"""What an output must match, as the engine sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class GrammarSpec:
    """As the caller gave it. `kind`: `json_schema`, `regex`, `lark` or `choices`.

    `texts` is one text, but for `choices` one or more.
    """

    kind: str
    texts: tuple[str, ...]


class Matcher(Protocol):
    """Where one output stands in its grammar."""

    def allowed(self, output: Sequence[int]) -> bytes | None:
        """Which tokens may follow these: a bit for each of the vocabulary, little-endian.

        The end-of-text token may follow where the grammar is complete. `output` is all tokens so
        far: the last call's and more, or less where some of those were drafts that proved wrong.
        None where going on would cost more than a grammar may.
        """
        ...


class Grammar(Protocol):
    """A grammar compiled for a model's vocabulary; shared by outputs."""

    def matcher(self) -> Matcher:
        """A matcher for a new output."""
        ...
