"""From any source comes the same verified version, or a reason; nothing partial is ever seen."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from weir_inference.adapters.repository import remote, source
from weir_inference.adapters.repository.bad_model_folder import (
    BadModelFolder,
    CacheFull,
    SourceNotFound,
    TooLarge,
    UnsafeFile,
)
from weir_inference.adapters.repository.folder import pack_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.manifest import MANIFEST
from weir_inference.adapters.repository.model_cache import ModelCache
from weir_inference.adapters.repository.source import open_source
from weir_kit.clock import ManualClock
from weir_kit.errors import InvalidArgument, Unavailable, wire_of

OpenCache = Callable[..., ModelCache]
URL = "memory://models/add/1"


@pytest.fixture
def memory(packed: Path) -> Iterator[Any]:
    """fsspec's memory with the version at `URL`."""
    files = fsspec.filesystem("memory")
    files.put(str(packed), "/models/add/1", recursive=True)
    yield files
    files.rm("/", recursive=True)


def cached(tmp_path: Path) -> list[str]:
    """What the cache's folder holds, beside its lock."""
    return sorted(one.name for one in (tmp_path / "cache").iterdir() if one.name != ".filling")


async def test_every_kind_of_source_gives_the_same_version(
    memory: Any, packed: Path, open_cache: OpenCache
) -> None:
    cache = open_cache()
    found = [await open_source(one, cache) for one in (str(packed), URL, f"file://{packed}")]
    assert len({(files.digest, files.spec.task) for files in found}) == 1
    assert found[0].folder == packed
    for files in found[1:]:
        assert files.folder.name == f"sha256-{files.digest}"
        for name in ("net/model.onnx", "net/model.onnx_data", MANIFEST):
            assert (files.folder / name).read_bytes() == (packed / name).read_bytes()


async def test_a_cached_version_is_not_fetched_again_but_a_damaged_one_is(
    memory: Any, open_cache: OpenCache
) -> None:
    cache = open_cache()
    files = await open_source(URL, cache)
    memory.pipe("/models/add/1/labels.txt", b"changed behind the manifest")
    assert await open_source(URL, cache) == files
    cache.release(files.digest)
    cache.release(files.digest)
    labels = files.folder / "labels.txt"
    labels.chmod(0o644)
    labels.write_bytes(b"damaged")
    with pytest.raises(BadModelFolder, match=r"labels\.txt: its bytes are not those"):
        await open_source(URL, cache)
    memory.pipe("/models/add/1/labels.txt", b"cat\ndog\n")
    again = await open_source(URL, cache)
    assert again == files
    assert labels.read_bytes() == b"cat\ndog\n"


async def test_a_cached_version_whose_manifest_was_changed_as_well_is_fetched_again(
    memory: Any, open_cache: OpenCache
) -> None:
    cache = open_cache()
    files = await open_source(URL, cache)
    cache.release(files.digest)
    (files.folder / "labels.txt").chmod(0o644)
    (files.folder / "labels.txt").write_bytes(b"cow\ndog\n")
    assert pack_folder(files.folder, FolderLimits()).digest != files.digest
    again = await open_source(URL, cache)
    assert (again.folder / "labels.txt").read_bytes() == b"cat\ndog\n"


async def test_every_user_of_a_version_holds_it_wherever_its_files_lie(
    memory: Any, packed: Path, open_cache: OpenCache
) -> None:
    cache = open_cache()
    fetched = await open_source(URL, cache)
    here = await open_source(str(packed), cache)
    assert here.digest == fetched.digest
    cache.release(here.digest)
    with pytest.raises(CacheFull):
        cache.make_room(1 << 20)
    cache.release(fetched.digest)
    cache.make_room(1 << 20)


async def test_a_cached_version_that_could_not_be_opened_is_not_held(
    memory: Any, open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = open_cache()
    cache.release((await open_source(URL, cache)).digest)

    def fails(*args: Any, **more: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as failing, pytest.raises(MemoryError):
        failing.setattr(source, "open_folder", fails)
        await open_source(URL, cache)
    cache.make_room(1 << 20)


@pytest.mark.parametrize(
    ("path", "data", "kind", "told"),
    [
        ("labels.txt", b"cow\ndog\n", BadModelFolder, "labels.txt: its bytes are not those"),
        ("labels.txt", None, SourceNotFound, "labels.txt: memory://models/add/1 has no such file"),
        (MANIFEST, None, SourceNotFound, "a URL's folder needs it, and `weir models pack` makes"),
        (MANIFEST, b"\xff", BadModelFolder, "SHA256SUMS: is not UTF-8"),
        (MANIFEST, b"0" * 64 + b"  ../x.txt\n", BadModelFolder, "the name leads outside"),
    ],
)
async def test_what_is_wrong_at_the_source_never_gets_into_the_cache(
    memory: Any, open_cache: OpenCache, tmp_path: Path,
    path: str, data: bytes | None, kind: type[BadModelFolder], told: str,
) -> None:  # fmt: skip
    memory.rm(f"/models/add/1/{path}")
    if data is not None:
        memory.pipe(f"/models/add/1/{path}", data)
    with pytest.raises(kind, match=told) as error:
        await open_source(URL, open_cache())
    assert wire_of(error.value).status == "INVALID_ARGUMENT"
    assert cached(tmp_path) == []


async def test_files_that_the_manifest_does_not_name_are_not_fetched(
    memory: Any, open_cache: OpenCache
) -> None:
    memory.pipe("/models/add/1/more.txt", b"x")
    files = await open_source(URL, open_cache())
    assert not (files.folder / "more.txt").exists()


async def test_limits_hold_before_anything_is_fetched(
    memory: Any, open_cache: OpenCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "download", None)
    with pytest.raises(TooLarge, match="at most 100"):
        await open_source(URL, open_cache(), FolderLimits(total_bytes=100))
    with pytest.raises(TooLarge, match="the cache holds 100"):
        await open_source(URL, open_cache(100))
    with pytest.raises(TooLarge, match="more than 3 files"):
        await open_source(URL, open_cache(), FolderLimits(n_files=3))
    assert cached(tmp_path) == []


async def test_a_source_that_sends_more_than_it_said_is_cut_off(
    memory: Any, open_cache: OpenCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_small(*args: Any) -> dict[str, int]:
        return {name: min(size, 3) for name, size in sizes(*args).items()}

    sizes = remote.remote_sizes
    monkeypatch.setattr(source, "remote_sizes", too_small)
    with pytest.raises(TooLarge, match="more than the 3 bytes that the source said"):
        await open_source(URL, open_cache())
    assert cached(tmp_path) == []


async def test_a_link_behind_a_file_url_is_refused(packed: Path, open_cache: OpenCache) -> None:
    (packed / "labels.txt").rename(packed.with_name("outside.txt"))
    (packed / "labels.txt").symlink_to(packed.with_name("outside.txt"))
    with pytest.raises(UnsafeFile, match=r"labels\.txt: is not a regular file"):
        await open_source(f"file://{packed}", open_cache())


async def test_a_store_that_fails_is_away_and_its_words_are_not_told(
    memory: Any, open_cache: OpenCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = remote._opened

    def fails(folder: Any, name: str) -> Any:
        if name == "more.safetensors":
            raise ConnectionError("secret-key")
        return opened(folder, name)

    monkeypatch.setattr(remote, "_opened", fails)
    with pytest.raises(Unavailable, match=r"more\.safetensors .*\(ConnectionError\)") as error:
        await open_source(URL, open_cache())
    assert "secret-key" not in error.value.message
    assert cached(tmp_path) == []


async def test_a_cancelled_fetch_leaves_nothing_and_the_next_one_succeeds(
    memory: Any, open_cache: OpenCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = remote._opened
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    go_on = threading.Event()

    def waits(folder: Any, name: str) -> Any:
        if name == "more.safetensors":
            loop.call_soon_threadsafe(begun.set)
            go_on.wait()
        return opened(folder, name)

    cache = open_cache()
    with monkeypatch.context() as slow:
        slow.setattr(remote, "_opened", waits)
        task = asyncio.create_task(open_source(URL, cache))
        await begun.wait()
        assert not any(name.startswith("sha256-") for name in cached(tmp_path)), "not yet seen"
        task.cancel()
        loop.call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert cached(tmp_path) == []
    files = await asyncio.wait_for(open_source(URL, cache), 10)
    assert cached(tmp_path) == [f"sha256-{files.digest}"]


async def test_many_who_want_a_version_at_once_fetch_it_once(
    memory: Any, open_cache: OpenCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    download = remote.download

    def counted(*args: Any) -> None:
        fetched.append(args)
        download(*args)

    monkeypatch.setattr(source, "download", counted)
    caches = [open_cache(), open_cache()]
    found = await asyncio.gather(*(open_source(URL, caches[i % 2]) for i in range(6)))
    assert len({files.folder for files in found}) == 1
    assert len(fetched) == 1


async def test_versions_in_use_stay_and_others_make_room(
    memory: Any, open_cache: OpenCache, clock: ManualClock, packed: Path
) -> None:
    n_bytes = sum(path.stat().st_size for path in packed.rglob("*") if path.is_file())
    cache = open_cache(n_bytes * 3 // 2)
    first = await open_source(URL, cache)
    card = b"# Another\n"
    (packed / "MODEL_CARD.md").write_bytes(card)
    pack_folder(packed, FolderLimits())
    with pytest.raises(CacheFull, match="all in use"):
        await open_source(f"file://{packed}", cache)
    cache.release(first.digest)
    second = await open_source(f"file://{packed}", cache)
    assert not first.folder.exists()
    assert (second.folder / "MODEL_CARD.md").read_bytes() == card


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "1..1024 characters"),
        ("a\nb", "one line"),
        ("x" * 1025, "1..1024"),
        ("/no/such/folder", "no folder here"),
        ("ftp://host/x", "scheme must be hf or one of"),
        ("simplecache::memory://x", "scheme must be hf or one of"),
        ("memory::file://x", "scheme must be hf or one of"),
        ("s3://bucket/models/add/1", "s3:// sources need a package"),
        ("hf://only-one-word", "hf://owner/name"),
        ("hf://owner/name@", "hf://owner/name"),
    ],
)
async def test_what_is_no_source_is_told(open_cache: OpenCache, given: str, told: str) -> None:
    with pytest.raises(SourceNotFound, match=told) as error:
        await open_source(given, open_cache())
    assert isinstance(error.value, InvalidArgument)
    assert error.value.field == "source"
