"""Examples: what a model is asked, and what would be right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from weir_cli.evaluation.boxes import Box


@dataclass(frozen=True)
class Classify:
    """Tell the labels of a text (str), a picture (bytes or a file), or of any file."""

    kind: str  # `texts`, `images` or `blobs`, as the SDK names them
    item: str | bytes | Path = field(repr=False)
    labels: frozenset[str]
    several: bool = False  # whether an example may have none or several labels


@dataclass(frozen=True)
class Detect:
    """Find the things in a picture."""

    image: Path
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Rank:
    """Rank documents by how well they answer; `gains` are by their place, as text: "0", "1" …"""

    query: str = field(repr=False)
    documents: tuple[str, ...] = field(repr=False)
    gains: Mapping[str, float]


@dataclass(frozen=True)
class Recommend:
    """Recommend items, by ids, to somebody who liked others."""

    history: tuple[str, ...]
    gains: Mapping[str, float]


@dataclass(frozen=True)
class Continue:
    """Foretell how a text goes on."""

    text: str = field(repr=False)
    continuation: str = field(repr=False)


@dataclass(frozen=True)
class Prefer:
    """Find one text likelier than another."""

    better: str = field(repr=False)
    worse: str = field(repr=False)


@dataclass(frozen=True)
class Read:
    """Find a text likely."""

    text: str = field(repr=False)


Example: TypeAlias = Classify | Detect | Rank | Recommend | Continue | Prefer | Read


@dataclass(frozen=True)
class Suite:
    """Examples of one kind."""

    name: str
    examples: tuple[Example, ...]
