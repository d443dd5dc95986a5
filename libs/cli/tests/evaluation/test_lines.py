import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from weir_cli.evaluation.lines import parse_line, read_lines
from weir_cli.failure import Failure

HERE = Path(__file__).parent
THIS = Path(__file__).name  # any file that exists
BOX = {"label": "cat", "x_min": 0, "y_min": 1.5, "x_max": 10, "y_max": 20}

FORMS: list[tuple[dict[str, Any], Example]] = [
    ({"text": "good", "label": "yes"}, Classify("texts", "good", frozenset({"yes"}))),
    ({"image": THIS, "label": 7}, Classify("images", HERE / THIS, frozenset({"7"}))),
    ({"blob": THIS, "label": "py"}, Classify("blobs", HERE / THIS, frozenset({"py"}))),
    (
        {"text": "both", "labels": ["a", "b"]},
        Classify("texts", "both", frozenset({"a", "b"}), several=True),
    ),
    ({"text": "none", "labels": []}, Classify("texts", "none", frozenset(), several=True)),
    ({"image": THIS, "boxes": [BOX]}, Detect(HERE / THIS, (Box("cat", 0, 1.5, 10, 20),))),
    (
        {"query": "who?", "documents": ["he", "she"], "relevant": [1]},
        Rank("who?", ("he", "she"), {"1": 1.0}),
    ),
    (
        {"history": ["1"], "relevant": {"2": 3, "4": 0.5}},
        Recommend(("1",), {"2": 3.0, "4": 0.5}),
    ),
    ({"text": "once", "continuation": " upon"}, Continue("once", " upon")),
    ({"better": "he is", "worse": "he are"}, Prefer("he is", "he are")),
    ({"text": "a tale"}, Read("a tale")),
]


@pytest.mark.parametrize(("line", "example"), FORMS)
def test_every_form_is_read(line: dict[str, Any], example: Example) -> None:
    assert parse_line(json.dumps(line), HERE) == example


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(st.sampled_from([line for line, _ in FORMS]), st.data())
def test_a_field_of_another_shape_is_named_or_read(line: dict[str, Any], data: Any) -> None:
    field = data.draw(st.sampled_from(sorted(line)))
    try:
        example = parse_line(json.dumps(line | {field: data.draw(values)}), HERE)
    except Failure as failure:
        assert str(failure).startswith(field)
    else:
        assert type(example) in {type(one) for _, one in FORMS}


@given(st.text() | values.map(json.dumps))
def test_what_is_no_example_is_refused(line: str) -> None:
    # The one form that has but a text would have to be met by chance.
    with pytest.raises(Failure, match=r"is not JSON|must be a JSON object|an example has one of"):
        parse_line(line, HERE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"image": "gone.png", "label": "a"}, "image must name a file"),
        ({"text": "", "label": "a"}, "text must be a text that is not empty"),
        ({"text": "\ud800", "label": "a"}, "text holds half a surrogate pair"),
        ({"query": "q", "documents": ["d"], "relevant": [1]}, "'1' must be a document's place"),
        ({"query": "q", "documents": ["d"], "relevant": []}, "relevant must be"),
        ({"history": [], "relevant": {"a": 0}}, "gain of 'a' must be a number more than 0"),
        ({"image": THIS, "boxes": [BOX | {"x_max": 0}]}, "must have x_min below x_max"),
        ({"image": THIS, "boxes": [BOX | {"y_max": float("nan")}]}, "numbers of pixels"),
        ({"image": THIS, "boxes": [{"label": "cat"}]}, r"boxes\[0\] must be an object with"),
    ],
)
def test_what_is_wrong_is_said(line: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure, match=message):
        parse_line(json.dumps(line), HERE)


def test_a_file_is_read_line_by_line_and_its_line_named(tmp_path: Path) -> None:
    file = tmp_path / "suite.jsonl"
    file.write_text('{"text": "a"}\n\n{"text": "b"}\n')
    assert read_lines(file) == (Read("a"), Read("b"))
    file.write_text('{"text": "a"}\n{"text": 1}\n')
    with pytest.raises(Failure, match=r"suite\.jsonl, line 2: text must be"):
        read_lines(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "of one kind, not none"),
        (b'{"text": "a"}\n{"text": "a", "label": "b"}\n', "not read, texts with a label"),
        (b'{"text": "a", "label": "b"}\n{"text": "a", "labels": []}\n', "with a label, texts with"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_file_has_examples_of_one_kind(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "suite.jsonl"
    file.write_bytes(content)
    with pytest.raises(Failure, match=message):
        read_lines(file)
