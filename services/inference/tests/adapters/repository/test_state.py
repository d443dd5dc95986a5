"""Decisions survive the process, and a file that cannot be read is told, not replaced."""

import json
from pathlib import Path

import pytest

from weir_inference.adapters.repository import write_atomically as module
from weir_inference.adapters.repository.state import StateFile
from weir_inference.core.model_decisions import ModelDecisions
from weir_inference.core.model_versions import Pinned
from weir_kit.errors import InvalidArgument

DECISIONS = {
    "faces": ModelDecisions(Pinned((1, 2)), frozenset({3}), frozenset({1}), {"stable": 2}),
    "tales": ModelDecisions(),
}


def test_what_was_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "state/models.json"
    assert StateFile(path).read() == {}
    StateFile(path).write(DECISIONS)
    assert StateFile(path).read() == DECISIONS
    StateFile(path).write({})
    assert StateFile(path).read() == {}
    assert [one.name for one in path.parent.iterdir()] == ["models.json"]


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models.json"
    StateFile(path).write(DECISIONS)

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        StateFile(path).write({})
    assert StateFile(path).read() == DECISIONS
    assert [one.name for one in tmp_path.iterdir()] == ["models.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 9}', "[" * 100_000])
def test_a_file_that_holds_something_else_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.json"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=r"models\.json"):
        StateFile(path).read()
    assert path.read_text() == text


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    StateFile(path).write(DECISIONS)
    assert json.loads(path.read_text()) == {
        "format": 1,
        "models": {
            "faces": {"pinned": [1, 2], "loaded": [3], "unloaded": [1], "aliases": {"stable": 2}},
            "tales": {"latest": 1, "loaded": [], "unloaded": [], "aliases": {}},
        },
    }
