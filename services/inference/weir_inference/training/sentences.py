"""The sentences that weir-sentiment learns from and is tried on."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("amazon_cells", "imdb", "yelp")
# Two of the copies begin with lines of another data set, in Vietnamese and with a third label.
FOREIGN_LINES = {"amazon_cells": 62, "imdb": 55, "yelp": 0}
SEED = 17


@dataclass(frozen=True)
class Sentence:
    """A text, where it is from, and its label: 0 complains, 1 praises."""

    text: str
    source: str
    label: int


@dataclass(frozen=True)
class Split:
    """Sentences to learn from, to choose by, and held out; no two alike in different parts."""

    learn: list[Sentence]
    choose: list[Sentence]
    held_out: list[Sentence]


def read_sentences(folder: Path) -> list[Sentence]:
    """All sentences, each once: of equal ones (letters and digits only) the first."""
    found: dict[str, Sentence] = {}
    for source in SOURCES:
        text = (folder / f"{source}_labelled.txt").read_text(encoding="utf-8")
        for line in text.split("\n")[FOREIGN_LINES[source] :]:
            body, _, label = line.rpartition("\t")
            key = re.sub(r"[^a-z0-9]", "", body.lower())
            if key and key not in found:
                found[key] = Sentence(body.strip(), source, int(label))
    return list(found.values())


def split_of(sentences: Sequence[Sentence]) -> Split:
    """70, 10 and 20 % of every source and label."""
    parts: tuple[list[Sentence], ...] = ([], [], [])
    chance = random.Random(SEED)  # noqa: S311
    for source in SOURCES:
        for label in (0, 1):
            those = [one for one in sentences if (one.source, one.label) == (source, label)]
            chance.shuffle(those)
            at, end = round(len(those) * 0.7), round(len(those) * 0.8)
            for part, chosen in zip(parts, (those[:at], those[at:end], those[end:]), strict=True):
                part.extend(chosen)
    return Split(*parts)


def read_plain(folder: Path) -> list[str]:
    """Unlabelled sentences of the books, of 4 to 40 words."""
    sentences: list[str] = []
    for file in sorted(folder.glob("*.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            sentences += (s for s in re.split(r"(?<=[.!?]) +", line) if 4 <= s.count(" ") + 1 <= 40)
    return sentences
