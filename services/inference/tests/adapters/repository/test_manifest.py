"""SHA256SUMS are read as sha256sum writes them, and every faulty line is told."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, TooLarge
from weir_inference.adapters.repository.folder import pack_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    Manifest,
    parse_manifest,
)

SUM = "0" * 64


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abé._-", min_size=1).map(lambda t: f"x{t}y"), st.binary()))
def test_what_was_written_is_read_and_names_the_version(files: dict[str, bytes]) -> None:
    manifest = Manifest({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    if not files or len({name.casefold() for name in files}) != len(files):
        return
    assert parse_manifest(manifest.text.encode(), 1000) == manifest
    shuffled = "".join(reversed(manifest.text.splitlines(keepends=True)))
    assert parse_manifest(shuffled.encode(), 1000).digest == manifest.digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1 is not 64 hex digits"),
        (f"{SUM}  a.txt\n\n", "line 2 is not"),
        (f"{SUM} a.txt\n", "line 1 is not"),
        (f"{'A' * 64}  a.txt\n", "line 1 is not"),
        (f"{SUM}  /a.txt\n", "line 1: the name is absolute"),
        (f"{SUM}  ../a.txt\n", r"line 1: the name leads outside"),
        (f"{SUM}  a.txt\r\n", "line 1: the name has control"),
        (f"{SUM}  a.txt\n{SUM}  A.txt\n", "line 2: A.txt stands twice"),
        (f"{SUM}  sha256sums\n", "line 1: sha256sums stands twice"),
    ],
)
def test_a_faulty_line_is_told(text: str, told: str) -> None:
    with pytest.raises(BadModelFolder, match=told) as error:
        parse_manifest(text.encode(), 10)
    assert error.value.file == MANIFEST


def test_a_manifest_is_bounded_and_text() -> None:
    with pytest.raises(TooLarge, match="more than 1 files"):
        parse_manifest(f"{SUM}  a\n{SUM}  b\n".encode(), 1)
    with pytest.raises(TooLarge, match="larger than"):
        parse_manifest(bytes(MANIFEST_BYTES_MAX + 1), 1)
    with pytest.raises(BadModelFolder, match="UTF-8"):
        parse_manifest(b"\xff", 1)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_agrees(packed: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=packed, check=True)
    assert len((packed / MANIFEST).read_text().splitlines()) == 7


def test_packing_again_changes_nothing_and_a_bad_folder_is_not_packed(packed: Path) -> None:
    before = (packed / MANIFEST).read_bytes()
    pack_folder(packed, FolderLimits())
    assert (packed / MANIFEST).read_bytes() == before
    (packed / "labels.txt").unlink()
    with pytest.raises(BadModelFolder, match=r"labels names labels\.txt"):
        pack_folder(packed, FolderLimits())
    assert (packed / MANIFEST).read_bytes() == before
