"""A suite as a file: one example a line, in JSON.

| line | asks the model to |
|---|---|
| `{"text": …, "label": …}`, `image` or `blob` for `text` | classify; the other two are paths |
| `{"text": …, "labels": […]}` | classify, where any number of labels may be right |
| `{"image": …, "boxes": [{"label", "x_min", "y_min", "x_max", "y_max"}]}` | detect |
| `{"query": …, "documents": […], "relevant": […]}` | rank; relevant are places from 0 |
| `{"history": […], "relevant": […]}` | recommend; relevant are ids |
| `{"text": …, "continuation": …}` | foretell |
| `{"better": …, "worse": …}` | find the first likelier |
| `{"text": …}` | find likely |

`relevant` may also be an object, each place or id with its gain. Paths are relative to the file.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weir_cli.evaluation.boxes import Box
from weir_cli.evaluation.examples import (
    Classify,
    Continue,
    Detect,
    Example,
    Prefer,
    Rank,
    Read,
    Recommend,
)
from weir_cli.failure import Failure

EXAMPLES_MAX = 100_000
LINE_CHARS_MAX = 4 << 20
PIXELS_MAX = 1e9  # NaN and infinity are not below it
EDGES = ("x_min", "y_min", "x_max", "y_max")
KINDS = {"text": "texts", "image": "images", "blob": "blobs"}


def read_lines(file: Path) -> tuple[Example, ...]:
    """The examples of a file. Raises `Failure` naming the line and the field."""
    examples: list[Example] = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    examples.append(_example(f"{file}, line {number}", line, file.parent))
                if len(examples) > EXAMPLES_MAX:
                    raise Failure(f"{file} has more than {EXAMPLES_MAX} examples: split it")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"--suite: {file} cannot be read: {error}") from error
    kinds = {_kind_of(example) for example in examples}
    if len(kinds) != 1:
        named = ", ".join(sorted(kinds)) or "none"
        raise Failure(f"{file}: a suite has examples of one kind, not {named}")
    return tuple(examples)


def parse_line(line: str, folder: Path) -> Example:
    """The example of a line; paths are relative to `folder`. Raises `Failure` naming the field."""
    try:
        found = json.loads(line) if len(line) <= LINE_CHARS_MAX else None
    except (ValueError, RecursionError) as error:
        raise Failure(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Failure(f"must be a JSON object of at most {LINE_CHARS_MAX} characters")
    read = FORMS.get(frozenset(found))
    if read is None:
        forms = "; ".join(sorted(", ".join(sorted(form)) for form in FORMS))
        named = ", ".join(map(repr, sorted(found)[:9])) or "no fields"
        raise Failure(f"has {named}; an example has one of these sets: {forms}")
    return read(Fields(found, folder))


def _example(where: str, line: str, folder: Path) -> Example:
    try:
        return parse_line(line, folder)
    except Failure as failure:
        raise Failure(f"{where}: {failure}") from failure


def _kind_of(example: Example) -> str:
    if isinstance(example, Classify):
        return f"{example.kind} with {'labels' if example.several else 'a label'}"
    return type(example).__name__.lower()


class Fields:
    """The fields of one line. Every method raises `Failure` naming the field."""

    def __init__(self, values: Mapping[str, Any], folder: Path) -> None:
        self._values = values
        self._folder = folder

    @property
    def item(self) -> tuple[str, str | Path]:
        """What is to be classified, with the SDK's name of its kind."""
        field = next(field for field in KINDS if field in self._values)
        return KINDS[field], self.text(field) if field == "text" else self.path(field)

    def text(self, field: str) -> str:
        """A text that is not empty and can be encoded."""
        return _text(field, self._values[field])

    def texts(self, field: str, *, empty: bool = False) -> tuple[str, ...]:
        """A list of texts."""
        value = self._values[field]
        if not isinstance(value, list) or not (value or empty):
            raise Failure(f"{field} must be a list of texts{'' if empty else ', one at least'}")
        return tuple(_text(f"{field}[{place}]", one) for place, one in enumerate(value))

    def label(self) -> frozenset[str]:
        """One label; whole numbers are labels too."""
        return frozenset({_text("label", _as_text(self._values["label"]))})

    def path(self, field: str) -> Path:
        """A file that exists, named relative to the suite's."""
        path = self._folder / self.text(field)
        try:
            is_file = path.is_file()
        except (OSError, ValueError):  # too long a name, or a zero in it
            is_file = False
        if not is_file:
            raise Failure(f"{field} must name a file; {str(path)!r} is none")
        return path

    def gains(self, field: str) -> dict[str, float]:
        """How much each relevant thing counts: 1 in a list, a number more than 0 in an object."""
        value = self._values[field]
        if isinstance(value, list):
            value = {_text(f"{field}[{i}]", _as_text(one)): 1.0 for i, one in enumerate(value)}
        if not isinstance(value, dict) or not value:
            raise Failure(f"{field} must be a list or an object of gains, not empty")
        for name, gain in value.items():
            if type(gain) not in (int, float) or not 0 < gain < 1e9:
                raise Failure(f"{field}: the gain of {name!r} must be a number more than 0")
        return {_text(field, name): float(gain) for name, gain in value.items()}

    def boxes(self, field: str) -> tuple[Box, ...]:
        """Boxes, which may be none."""
        value = self._values[field]
        if not isinstance(value, list):
            raise Failure(f"{field} must be a list of boxes")
        return tuple(_box(f"{field}[{place}]", one) for place, one in enumerate(value))


def _rank(fields: Fields) -> Rank:
    documents = fields.texts("documents")
    gains = fields.gains("relevant")
    places = set(map(str, range(len(documents))))
    if not gains.keys() <= places:
        wrong = min(gains.keys() - places)
        raise Failure(f"relevant: {wrong!r} must be a document's place, 0 to {len(documents) - 1}")
    return Rank(fields.text("query"), documents, gains)


def _detect(fields: Fields) -> Detect:
    return Detect(fields.path("image"), fields.boxes("boxes"))


def _recommend(fields: Fields) -> Recommend:
    return Recommend(fields.texts("history", empty=True), fields.gains("relevant"))


def _one_label(fields: Fields) -> Classify:
    return Classify(*fields.item, fields.label())


def _several_labels(fields: Fields) -> Classify:
    return Classify(*fields.item, frozenset(fields.texts("labels", empty=True)), several=True)


FORMS: Mapping[frozenset[str], Callable[[Fields], Example]] = {
    **{frozenset({field, "label"}): _one_label for field in KINDS},
    **{frozenset({field, "labels"}): _several_labels for field in KINDS},
    frozenset({"image", "boxes"}): _detect,
    frozenset({"query", "documents", "relevant"}): _rank,
    frozenset({"history", "relevant"}): _recommend,
    frozenset({"text", "continuation"}): lambda f: Continue(f.text("text"), f.text("continuation")),
    frozenset({"better", "worse"}): lambda f: Prefer(f.text("better"), f.text("worse")),
    frozenset({"text"}): lambda f: Read(f.text("text")),
}


def _box(field: str, value: Any) -> Box:
    if not isinstance(value, dict) or value.keys() != {"label", *EDGES}:
        raise Failure(f"{field} must be an object with label, {', '.join(EDGES)}")
    edges = [value[edge] for edge in EDGES]
    if not all(type(edge) in (int, float) and abs(edge) < PIXELS_MAX for edge in edges):
        raise Failure(f"{field} must have numbers of pixels for {', '.join(EDGES)}")
    box = Box(_text(f"{field}.label", _as_text(value["label"])), *map(float, edges))
    if not (box.x_min < box.x_max and box.y_min < box.y_max):
        raise Failure(f"{field} must have x_min below x_max and y_min below y_max")
    return box


def _as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Failure(f"{field} must be a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Failure(f"{field} holds half a surrogate pair, which is no character") from None
    return value
