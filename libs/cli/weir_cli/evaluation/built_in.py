"""Suites of data that many know, read from a folder of assets as they were published."""

import csv
import gzip
import hashlib
import io
import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from weir_cli.evaluation.examples import Classify, Continue, Example, Prefer, Read
from weir_cli.failure import Failure

MGSM_LANGUAGES = ("en", "es", "ja", "ru", "zh")

# Two of the copies begin with lines of another data set, with a third label.
SENTIMENT_FOREIGN_LINES = {"amazon_cells": 62, "imdb": 55, "yelp": 0}
SENTIMENT_SEED = 17
SENTIMENT_LABELS = ("negative", "positive")
# SHA-256 over the part that weir-sentiment's training leaves out: its texts, sorted, a line each.
SENTIMENT_HELD_OUT = "5e5e2833dba384c7ec9379a09c843f4d148cd48411682fafc4799e598cdf1a5a"

MNIST_SIDE = 28
MNIST_BYTES = MNIST_SIDE**2

HELD_OUT_BOOKS = (
    "james-matthew-barrie--peter-pan",
    "lyman-frank-baum--the-wonderful-wizard-of-oz",
)
WINDOW_CHARS = 1000


def sentiment(data: Path) -> list[Example]:
    """UCI's sentences of reviews: the fifth that weir-sentiment has not learnt from.

    The rule is that of weir-sentiment's training: equal sentences are one, each source and label is
    shuffled by seed, the last fifth is held out. The digest proves that it is the same part.
    """
    chance = random.Random(SENTIMENT_SEED)  # noqa: S311 - it has to repeat
    found: dict[str, tuple[str, str, int]] = {}
    for source, n_foreign in SENTIMENT_FOREIGN_LINES.items():
        for line in _lines(data / f"eval/sentiment/{source}_labelled.txt")[n_foreign:]:
            text, _, label = line.rpartition("\t")
            key = re.sub(r"[^a-z0-9]", "", text.lower())
            if key and key not in found:
                found[key] = (source, text.strip(), int(label))
    held_out: list[Classify] = []
    for source in SENTIMENT_FOREIGN_LINES:
        for number, label in enumerate(SENTIMENT_LABELS):
            texts = [text for of, text, no in found.values() if (of, no) == (source, number)]
            chance.shuffle(texts)
            held_out += (
                Classify("texts", text, frozenset({label}))
                for text in texts[round(len(texts) * 0.8) :]
            )
    digest = hashlib.sha256("\n".join(sorted(str(one.item) for one in held_out)).encode())
    if digest.hexdigest() != SENTIMENT_HELD_OUT:
        raise Failure("sentiment: the sentences are not those that weir-sentiment was tried on")
    return [*held_out]


def sms_spam(data: Path) -> list[Example]:
    """Text messages, `spam` or `ham` (T. A. Almeida and J. M. G. Hidalgo, 2011)."""
    rows = csv.reader(io.StringIO("\n".join(_lines(data / "eval/sms-spam/sms_spam.csv"))))
    next(rows)
    return [
        Classify("texts", text.strip('"'), frozenset({"spam" if label == "1" else "ham"}))
        for text, label in rows
        if text.strip('"')
    ]


def language(data: Path) -> list[Example]:
    """MGSM's problems in five languages (F. Shi et al., 2022); nothing shipped learnt from them."""
    return [
        Classify("texts", line.split("\t")[0], frozenset({name}))
        for name in MGSM_LANGUAGES
        for line in _lines(data / f"prompts/mgsm_{name}.tsv")
        if line
    ]


def mnist(data: Path) -> list[Example]:
    """The 10,000 digits of MNIST's test set (Y. LeCun et al., 1998), as PNG."""
    images = _unzipped(data / "eval/mnist/t10k-images-idx3-ubyte.gz")[16:]
    labels = _unzipped(data / "eval/mnist/t10k-labels-idx1-ubyte.gz")[8:]
    if len(images) != len(labels) * MNIST_BYTES:
        raise Failure(f"mnist: {len(labels)} labels do not fit {len(images)} bytes of images")
    return [
        Classify(
            "images",
            _png(images[place * MNIST_BYTES : (place + 1) * MNIST_BYTES]),
            frozenset({str(label)}),
        )
        for place, label in enumerate(labels)
    ]


def _png(pixels: bytes) -> bytes:
    """A digit's grey pixels, a byte each, as a file."""
    file = io.BytesIO()
    Image.frombytes("L", (MNIST_SIDE, MNIST_SIDE), pixels).save(file, "PNG")
    return file.getvalue()


def lambada(data: Path) -> list[Example]:
    """The last word of passages (D. Paperno et al., 2016)."""
    found = map(json.loads, _lines(data / "eval/lambada_openai.jsonl"))
    return [Continue(one["context"], f" {one['continuation']}") for one in found]


def blimp(data: Path) -> list[Example]:
    """Pairs of sentences, one of which is grammatical (A. Warstadt et al., 2020)."""
    files = sorted((data / "eval/blimp").glob("*.jsonl"))
    found = (json.loads(line) for file in files for line in _lines(file))
    return [Prefer(one["sentence_good"], one["sentence_bad"]) for one in found]


def perplexity(data: Path) -> list[Example]:
    """Two whole books that weir-tales has not learnt from, in windows."""
    return [
        window
        for book in HELD_OUT_BOOKS
        for window in windows("\n".join(_lines(data / f"corpora/{book}.txt")))
    ]


def windows(text: str) -> list[Read]:
    """A text in pieces of about 1,000 characters that begin and end at blanks.

    The same pieces for every model; each is read on its own, so its first tokens, with little
    before them, make the perplexity somewhat higher than that of windows that slide.
    """
    found: list[Read] = []
    start = 0
    while start < len(text):
        end = start + WINDOW_CHARS
        blank = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        if end < len(text) and blank > start:
            end = blank
        if piece := text[start:end].strip():
            found.append(Read(piece))
        start = end
    return found


BUILT_IN: Mapping[str, Callable[[Path], list[Example]]] = {
    "sentiment": sentiment,
    "sms-spam": sms_spam,
    "language": language,
    "mnist": mnist,
    "lambada": lambada,
    "blimp": blimp,
    "perplexity": perplexity,
}


def _lines(file: Path) -> list[str]:
    """The lines, ended by "\\n" alone: some of these texts hold other separators."""
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _unzipped(file: Path) -> bytes:
    with gzip.open(file) as opened:
        return opened.read()
