"""A repository is listed by its names and versions."""

from pathlib import Path

import pytest

from weir_inference.adapters.repository import folder as module
from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, SourceNotFound
from weir_inference.adapters.repository.folder import list_versions


def test_versions_are_listed_in_order_and_other_names_are_none(tmp_path: Path) -> None:
    for name in (
        "b/1",
        "a/10",
        "a/2",
        "a/01",
        "a/0",
        "a/-1",
        "a/draft",
        ".git/1",
        "empty",
        "c d/1",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/3").write_text("a file")
    assert list_versions(tmp_path) == {"a": [2, 10], "b": [1]}


def test_a_repository_that_is_not_there_or_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceNotFound, match="FileNotFoundError"):
        list_versions(tmp_path / "gone")
    monkeypatch.setattr(module, "VERSIONS_MAX", 1)
    for version in "12":
        (tmp_path / "a" / version).mkdir(parents=True)
    with pytest.raises(BadModelFolder, match="more than 1 folders"):
        list_versions(tmp_path)
