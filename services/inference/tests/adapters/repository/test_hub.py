"""Of a hub, one commit is fetched: of foreign repositories only what a text model needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DryRunFileInfo
from huggingface_hub.errors import DryRunError, LocalEntryNotFoundError

from weir_inference.adapters.repository import hub
from weir_inference.adapters.repository.bad_model_folder import (
    BadModelFolder,
    SourceNotFound,
    TooLarge,
)
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.hub import open_hub
from weir_inference.adapters.repository.in_thread import Stop

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """`snapshot_download` of one repository whose files are all here already."""

    def __init__(self, folder: Path, offline: bool = False) -> None:
        self.folder = folder
        self.offline = offline
        self.revisions: list[str | None] = []

    def __call__(
        self, name: str, revision: str | None, allow_patterns: list[str], dry_run: bool = False
    ) -> Any:
        assert name == "owner/name"
        self.revisions.append(revision)
        if not dry_run:
            return str(self.folder)
        if self.offline:
            raise DryRunError
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return [
            DryRunFileInfo(COMMIT, path.stat().st_size, path.name, str(path), True, False)
            for path in files
        ]


@pytest.fixture
def snapshot(
    tmp_path: Path, copy_version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of a commit, whose repository has other files as well."""
    folder = copy_version(tmp_path / "models--owner--name/snapshots" / COMMIT)
    (folder / ".gitattributes").write_text("*.bin lfs")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")
    monkeypatch.setattr(hub, "snapshot_download", FakeHub(folder))
    return folder


def opened(repository: str, limits: FolderLimits | None = None) -> Any:
    return open_hub(repository, limits or FolderLimits(), Stop())


def test_a_version_of_ours_is_verified_by_its_manifest(snapshot: Path) -> None:
    files = opened("owner/name@v1")
    assert (files.folder, files.revision) == (snapshot, COMMIT)
    (snapshot / "labels.txt").write_text("cow\n")
    with pytest.raises(BadModelFolder, match=r"labels\.txt: its bytes"):
        opened("owner/name@v1")


def test_all_is_asked_of_the_commit_that_the_revision_meant(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHub(snapshot)
    monkeypatch.setattr(hub, "snapshot_download", fake)
    opened("owner/name@main")
    opened("owner/name")
    assert fake.revisions == ["main", COMMIT, COMMIT, None, COMMIT, COMMIT]


def test_of_a_foreign_repository_the_rest_does_not_matter(snapshot: Path) -> None:
    for name in ("model.yaml", "SHA256SUMS"):
        (snapshot / name).unlink()
    (snapshot / "modeling.py").write_text("import os")
    files = opened("owner/name")
    assert files.spec.task == "generation"
    (snapshot / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.M"}}')
    with pytest.raises(BadModelFolder, match=r"config\.json: has auto_map"):
        opened("owner/name")


def test_sizes_are_known_before_anything_is_fetched(snapshot: Path) -> None:
    with pytest.raises(TooLarge):
        opened("owner/name", FolderLimits(total_bytes=10))


def test_offline_what_was_fetched_before_is_used(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "snapshot_download", FakeHub(snapshot, offline=True))
    assert opened("owner/name").revision == COMMIT


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **more: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "snapshot_download", away)
    with pytest.raises(SourceNotFound, match=r"owner/name .*LocalEntryNotFoundError"):
        opened("owner/name")
