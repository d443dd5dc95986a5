import os
from collections.abc import Callable
from pathlib import Path

import pytest

from weir_cli.failure import Failure
from weir_cli.manifest import write_manifest

MODELS = Path(__file__).parents[3] / "services" / "inference" / "models"


@pytest.mark.parametrize("name", ["weir-digits", "weir-language", "weir-movies"])
def test_what_is_shipped_is_packed_the_same_again(tmp_path: Path, name: str) -> None:
    shipped = MODELS / name / "1"
    for file in shipped.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "SHA256SUMS").unlink()
    write_manifest(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_bytes() == (shipped / "SHA256SUMS").read_bytes()


def link_to_a_file(folder: Path) -> None:
    (folder / "model.onnx").symlink_to("model.yaml")


def link_to_a_folder(folder: Path) -> None:
    (folder / "more").symlink_to("/")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def odd_name(folder: Path) -> None:
    (folder / "two\nlines").write_text("")


def too_many(folder: Path) -> None:
    for number in range(4097):
        (folder / f"{number}.txt").touch()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (link_to_a_file, "model.onnx is a link"),
        (link_to_a_folder, "more is a link"),
        (pipe, "pipe is neither a file nor a folder"),
        (odd_name, "control characters"),
        (too_many, "more than 4096 files"),
    ],
)
def test_a_folder_that_cannot_be_packed_stays_as_it_was(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    (tmp_path / "model.yaml").write_text("task: ocr")
    (tmp_path / "SHA256SUMS").write_text("old")
    spoil(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(Failure, match=said):
        write_manifest(tmp_path)
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "SHA256SUMS").read_text() == "old"


def test_what_is_no_folder_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="has no files"):
        write_manifest(tmp_path)
    with pytest.raises(Failure, match="is no folder"):
        write_manifest(tmp_path / "nowhere")
