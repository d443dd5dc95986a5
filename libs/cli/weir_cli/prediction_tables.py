"""Predictions for people: a table for each kind of answer."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from weir import Box, Kind, Prediction
from weir_cli.screen import print_table

NAME_CHARS_MAX = 40
NUMBERS_SHOWN = 4

Rows = Iterator[tuple[object, ...]]

COLUMNS = {
    Kind.CLASSES: ("class", "score"),
    Kind.SPANS: ("what", "text", "from", "to", "score"),
    Kind.EMBEDDING: ("numbers", "the first of them"),
    Kind.SCORE: ("place", "score", "document"),
    Kind.BOXES: ("what", "score", "left", "top", "right", "bottom"),
    Kind.LINES: ("text", "score", "left", "top", "right", "bottom"),
    Kind.RECOMMENDATIONS: ("item", "title", "score", "because of"),
}


def print_prediction(prediction: Prediction[Any], names: Sequence[str]) -> None:
    """One table; `names` are what the items are called, shown if there are several."""
    columns = COLUMNS[prediction.kind]
    if prediction.kind is Kind.SCORE:
        return print_table(columns, _ranking(prediction))
    several = len(names) > 1
    rows = [
        (_short(name), *row) if several else row
        for name, answer in zip(names, prediction.answers, strict=True)
        for row in _rows(prediction.kind, answer, name)
    ]
    return print_table(("input", *columns) if several else columns, rows)


def _ranking(prediction: Prediction[Any]) -> Rows:
    for ranked in prediction.answers:
        yield ranked.index, _score(ranked.score), ranked.document


def _rows(kind: Kind, answer: Any, text: str) -> Rows:
    match kind:
        case Kind.CLASSES:
            for one in answer:
                yield one.label, _score(one.score)
        case Kind.SPANS:
            for one in answer:
                part = text[one.start : one.end]
                yield one.label, part, one.start, one.end, _score(one.score)
        case Kind.EMBEDDING:
            shown = " ".join(f"{number:.4f}" for number in answer[:NUMBERS_SHOWN])
            yield len(answer), shown + (" …" if len(answer) > NUMBERS_SHOWN else "")
        case Kind.BOXES:
            for box in answer.boxes:
                yield box.label, *_place(box)
        case Kind.LINES:
            for line in answer:
                yield line.text or "-", *_place(line.box)
        case Kind.RECOMMENDATIONS:
            for item in answer:
                yield item.id, item.title, _score(item.score), _listed(item.because)


def _place(box: Box) -> tuple[str, ...]:
    edges = (box.x_min, box.y_min, box.x_max, box.y_max)
    return (_score(box.score), *(f"{edge:.0f}" for edge in edges))


def _score(score: float) -> str:
    return f"{score:.4f}"


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(ids) or "-"


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS_MAX else f"{name[: NAME_CHARS_MAX - 1]}…"
