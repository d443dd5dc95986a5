"""A whole folder is accepted; changed in any way it is refused, with the file's name."""

import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.adapters.repository.bad_model_folder import (
    BadModelFolder,
    SourceNotFound,
    TooLarge,
    UnsafeFile,
)
from weir_inference.adapters.repository.folder import ModelFiles, open_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.in_thread import Stop, Stopped
from weir_inference.adapters.repository.manifest import MANIFEST

CopyVersion = Callable[..., Path]

FILES = (
    "MODEL_CARD.md",
    "config.json",
    "labels.txt",
    "model.yaml",
    "more.safetensors",
    "net/model.onnx",
    "net/model.onnx_data",
)
LIMITS = FolderLimits()


def opened(folder: Path, limits: FolderLimits = LIMITS) -> ModelFiles:
    return open_folder(folder, limits, Stop())


# Each changes a folder and returns the name that the refusal must hold.


def flip_a_byte(folder: Path, draw: st.DrawFn) -> str:
    name, path, data = drawn_file(folder, draw)
    i = draw(st.integers(0, len(data) - 1))
    path.write_bytes(data[:i] + bytes([data[i] ^ draw(st.integers(1, 255))]) + data[i + 1 :])
    return name


def cut(folder: Path, draw: st.DrawFn) -> str:
    name, path, data = drawn_file(folder, draw)
    path.write_bytes(data[: draw(st.integers(0, len(data) - 1))])
    return name


def append(folder: Path, draw: st.DrawFn) -> str:
    name, path, data = drawn_file(folder, draw)
    path.write_bytes(data + draw(st.binary(min_size=1, max_size=9)))
    return name


def remove(folder: Path, draw: st.DrawFn) -> str:
    name, path, _ = drawn_file(folder, draw)
    path.unlink()
    return name


def rename(folder: Path, draw: st.DrawFn) -> str:
    name, path, _ = drawn_file(folder, draw)
    path.rename(path.with_name("other" + path.suffix))
    return name


def swap(folder: Path, draw: st.DrawFn) -> str:
    name, path, data = drawn_file(folder, draw)
    _, other, others = drawn_file(folder, draw, but=name)
    path.write_bytes(others)
    other.write_bytes(data)
    return "its bytes are not those"  # of either: the first that is read is named


def add(folder: Path, draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["a.txt", "net/b.json", ".gitignore", "c.safetensors", "LICENSE"]))
    (folder / name).write_bytes(draw(st.binary(max_size=20)))
    return name


def link_outside(folder: Path, draw: st.DrawFn) -> str:
    name, path, _ = drawn_file(folder, draw)
    outside = folder.with_name("outside" + path.suffix)
    path.rename(outside)  # the bytes stay those of the manifest
    how = path.hardlink_to if draw(st.booleans()) else path.symlink_to
    how(outside)
    return name


def link_to_nothing(folder: Path, draw: st.DrawFn) -> str:
    name, path, _ = drawn_file(folder, draw)
    path.unlink()
    path.symlink_to("gone.txt")
    return name


def link_a_folder(folder: Path, draw: st.DrawFn) -> str:
    (folder / "net").rename(folder.with_name("elsewhere"))
    (folder / "net").symlink_to(draw(st.sampled_from(["../elsewhere", "."])))
    return "net"


def make_a_pipe(folder: Path, draw: st.DrawFn) -> str:
    name, path, _ = drawn_file(folder, draw)
    path.unlink()
    os.mkfifo(path)
    return name


def drawn_file(folder: Path, draw: st.DrawFn, but: str = "") -> tuple[str, Path, bytes]:
    name = draw(st.sampled_from([one for one in FILES if one != but]))
    return name, folder / name, (folder / name).read_bytes()


CHANGES = [
    flip_a_byte, cut, append, remove, rename, swap, add, link_outside, link_to_nothing,
    link_a_folder, make_a_pipe,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_folder_is_refused_with_the_name_of_a_file_at_fault(
    copy_version: CopyVersion, change: Callable[[Path, st.DrawFn], str], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as beside:
        folder = copy_version(Path(beside) / "version")
        before = opened(folder)
        name = change(folder, data.draw)
        with pytest.raises(BadModelFolder) as told:
            opened(folder)
        assert name in told.value.message
        assert told.value.field == "source"
        assert before.digest == opened(copy_version(Path(beside) / "again")).digest


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_manifest_is_refused_or_says_the_same(
    copy_version: CopyVersion, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as beside:
        folder = copy_version(Path(beside) / "version")
        before = opened(folder)
        path = folder / MANIFEST
        text = path.read_bytes()
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 80)))
        path.write_bytes(text[:start] + data.draw(st.binary(max_size=3)) + text[end:])
        try:
            assert opened(folder).digest == before.digest
        except BadModelFolder as error:
            assert error.file == MANIFEST or MANIFEST in error.message


class Runs:
    """What a pickle of it calls when it is loaded."""

    def __reduce__(self) -> object:
        return print, ("code ran",)


def pickled(protocol: int) -> bytes:
    return pickle.dumps([1, Runs()], protocol)


def zipped(folder: Path) -> bytes:
    path = folder.with_name("archive.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(2))
    return path.read_bytes()


def numpy_objects(folder: Path) -> bytes:
    path = folder.with_name("objects.npy")
    np.save(path, np.array([Runs()], dtype=object), allow_pickle=True)
    return path.read_bytes()


HIDDEN: dict[str, Callable[[Path], bytes]] = {
    **{f"pickle {i}": lambda _, i=i: pickled(i) for i in range(6)},  # type: ignore[misc]
    "pickle without code": lambda _: pickle.dumps({"a": 1}, 4),
    "zip": zipped,
    "zip behind text": lambda folder: b"cat\ndog\n" + zipped(folder),
    "numpy": numpy_objects,
    "gzip": lambda _: b"\x1f\x8b\x08\x00",
    "program": lambda _: b"\x7fELF\x02",
}


@pytest.mark.parametrize("name", ["labels.txt", "MODEL_CARD.md", "vocab.model", "net/a.JSON"])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_could_run_code_is_refused_whatever_its_name(
    plain: Path, name: str, hidden: str
) -> None:
    (plain / name).write_bytes(HIDDEN[hidden](plain))
    with pytest.raises(UnsafeFile) as told:
        opened(plain)
    assert told.value.file == name


@pytest.mark.parametrize("hidden", [*(f"pickle {i}" for i in range(6)), "zip"])
@pytest.mark.parametrize("name", ["more.safetensors", "net/model.onnx", "net/model.onnx_data"])
def test_pickles_are_refused_in_place_of_weights(plain: Path, name: str, hidden: str) -> None:
    (plain / name).write_bytes(HIDDEN[hidden](plain).ljust(64, b"\0"))
    with pytest.raises(UnsafeFile) as told:
        opened(plain)
    assert told.value.file == name


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "a.pt", "a.pth", "b.PKL", "c.ckpt", "d.joblib", "e.npy", "f.npz", "m.py",
     "net/modeling.py", "lib.so"],
)  # fmt: skip
def test_pickles_and_code_are_refused_by_name(plain: Path, name: str) -> None:
    (plain / name).write_bytes(b"harmless")
    with pytest.raises(UnsafeFile) as told:
        opened(plain)
    assert told.value.file == name


@pytest.mark.parametrize("name", ["weights.gguf", "run", "a.html", "stray.onnx_data", "x.data"])
def test_other_files_are_refused_by_name(plain: Path, name: str) -> None:
    (plain / name).write_bytes(b"harmless")
    with pytest.raises(BadModelFolder) as told:
        opened(plain)
    assert told.value.file == name


@pytest.mark.parametrize("name", ["a\nb.txt", "back\\slash.txt", "c:d.txt", b"\xff.txt", "e.txt "])
def test_names_that_are_not_the_same_everywhere_are_refused(plain: Path, name: str | bytes) -> None:
    (plain / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(UnsafeFile, match="the name ") as told:
        opened(plain)
    assert told.value.message.isprintable()


def test_names_that_differ_in_case_alone_are_refused(plain: Path) -> None:
    (plain / "LABELS.txt").write_text("cat\n")
    with pytest.raises(UnsafeFile, match=r"labels\.txt: another name is the same"):
        opened(plain)


@pytest.mark.parametrize(
    "config",
    ['{"auto_map": {"AutoModel": "m.M"}}', '{"a": [{"trust_remote_code": true}]}', "[]", "{",
     "[" * 100_000],
)  # fmt: skip
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_config_that_asks_for_code_or_is_none_is_refused(
    plain: Path, config: str, name: str
) -> None:
    (plain / name).write_text(config)
    with pytest.raises(UnsafeFile) as told:
        opened(plain)
    assert told.value.file == name


def test_a_config_that_asks_for_no_code_is_accepted(plain: Path) -> None:
    (plain / "config.json").write_text('{"trust_remote_code": false, "auto_map": null}')
    opened(plain)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_safetensors_that_are_not_whole_are_refused(
    copy_version: CopyVersion, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as beside:
        folder = copy_version(Path(beside) / "version", packed=False)
        whole = (folder / "more.safetensors").read_bytes()
        cut_at = data.draw(st.integers(0, len(whole) - 1))
        more = data.draw(st.sampled_from([whole[:cut_at], whole + b"\0"]))
        (folder / "more.safetensors").write_bytes(more)
        with pytest.raises(BadModelFolder) as told:
            opened(folder)
        assert told.value.file == "more.safetensors"


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,8]}}',
    ],
    ids=["overlap", "hole", "size", "datatype", "overflow"],
)
def test_safetensors_whose_header_does_not_fit_are_refused(plain: Path, header: str) -> None:
    length = len(header).to_bytes(8, "little")
    (plain / "more.safetensors").write_bytes(length + header.encode() + bytes(8))
    with pytest.raises(BadModelFolder, match=r"more\.safetensors: is not a whole"):
        opened(plain)


def test_a_safetensors_header_is_bounded(plain: Path) -> None:
    (plain / "more.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadModelFolder, match="a header of 1099511627776 bytes; at most 33554432"):
        opened(plain)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (FolderLimits(n_files=6), "at most 6 files"),
        (FolderLimits(n_files=2), "at most 2 files"),
        (FolderLimits(file_bytes=100), "has .* bytes; at most 100"),
        (FolderLimits(total_bytes=100), "a version of .* bytes; at most 100"),
    ],
)
def test_limits_hold(plain: Path, limits: FolderLimits, told: str) -> None:
    with pytest.raises(TooLarge, match=told):
        opened(plain, limits)


def test_links_inside_the_folder_are_files(plain: Path) -> None:
    (plain / "names.txt").symlink_to("labels.txt")
    (plain / "same.txt").hardlink_to(plain / "labels.txt")
    opened(plain)


def test_a_snapshot_of_the_hubs_cache_is_made_of_links(
    tmp_path: Path, copy_version: CopyVersion
) -> None:
    blobs = tmp_path / "models--owner--name/blobs"
    blobs.mkdir(parents=True)
    folder = copy_version(tmp_path / "models--owner--name/snapshots/0123abc", packed=False)
    for i, name in enumerate(FILES):
        (folder / name).rename(blobs / str(i))
        (folder / name).symlink_to(blobs / str(i))
    opened(folder)
    (folder / "labels.txt").unlink()
    (folder / "labels.txt").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeFile, match=r"labels\.txt: is a link that leads outside"):
        opened(folder)


def test_what_tools_leave_is_left_out_of_a_plain_folder(plain: Path) -> None:
    before = opened(plain).digest
    (plain / ".cache/huggingface").mkdir(parents=True)
    (plain / ".cache/huggingface/x.lock").write_bytes(pickled(2))
    (plain / ".gitattributes").write_text("*.bin lfs")
    assert opened(plain).digest == before


def test_reading_ends_when_it_is_asked_to(plain: Path) -> None:
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):
        open_folder(plain, LIMITS, stop)


@pytest.mark.parametrize("empty", [True, False])
def test_no_folder_and_an_empty_one_are_told(tmp_path: Path, empty: bool) -> None:
    if empty:
        with pytest.raises(BadModelFolder, match="empty"):
            opened(tmp_path)
    else:
        with pytest.raises(SourceNotFound, match="no folder here"):
            opened(tmp_path / "gone")
