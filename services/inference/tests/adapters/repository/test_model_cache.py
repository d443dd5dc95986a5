"""The cache keeps within its bytes, and keeps what anyone uses."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_inference.adapters.repository import model_cache as module
from weir_inference.adapters.repository.bad_model_folder import CacheFull, TooLarge
from weir_inference.adapters.repository.model_cache import ModelCache
from weir_kit.clock import ManualClock

OpenCache = Callable[..., ModelCache]


def put(cache: ModelCache, digest: str, n_bytes: int) -> Path:
    """Room made and filled by one who has the `filling` lock."""
    cache.make_room(n_bytes)
    with cache.incoming() as folder:
        (folder / "weights").write_bytes(bytes(n_bytes))
        return cache.put(folder, digest)


def held(cache: ModelCache, digests: str) -> str:
    found = ""
    for digest in digests:
        if cache.take(digest):
            cache.release(digest)
            found += digest
    return found


def test_the_version_used_longest_ago_goes_first(open_cache: OpenCache, clock: ManualClock) -> None:
    cache = open_cache(100)
    for digest in "abc":
        put(cache, digest, 30)
        cache.release(digest)
        clock.advance(1)
    assert cache.take("a")
    cache.release("a")
    clock.advance(1)
    cache.make_room(40)
    assert held(cache, "abc") == "ac"


def test_a_version_in_use_by_any_process_stays(open_cache: OpenCache, clock: ManualClock) -> None:
    mine, other = open_cache(100), open_cache(100)
    put(other, "a", 60)
    clock.advance(1)
    put(mine, "b", 30)
    mine.release("b")
    with pytest.raises(CacheFull, match="60 of 100 bytes, all in use"):
        mine.make_room(50)
    assert held(mine, "ab") == "a"
    other.release("a")
    mine.make_room(50)
    assert held(mine, "ab") == ""


def test_a_version_taken_twice_is_in_use_until_released_twice(open_cache: OpenCache) -> None:
    cache = open_cache(100)
    put(cache, "a", 60)
    cache.take("a")
    cache.release("a")
    with pytest.raises(CacheFull):
        cache.make_room(60)
    cache.release("a")
    cache.release("a")  # once too often is no fault
    cache.make_room(60)


def test_a_user_of_a_copy_elsewhere_does_not_release_the_cached_one(open_cache: OpenCache) -> None:
    cache = open_cache(100)
    cache.use("a")
    put(cache, "a", 60)
    cache.release("a")
    with pytest.raises(CacheFull):
        cache.make_room(60)
    cache.release("a")
    cache.make_room(60)


def test_a_version_evicted_while_it_is_being_taken_is_not_there(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = open_cache(100), open_cache(100)
    put(other, "a", 60)
    other.release("a")
    try_lock = module._try_lock

    def after_the_other(handle: int, how: int) -> bool:
        monkeypatch.setattr(module, "_try_lock", try_lock)
        other.make_room(100)
        put(other, "a", 1)  # another folder of that name by now
        return try_lock(handle, how)

    monkeypatch.setattr(module, "_try_lock", after_the_other)
    assert mine.take("a") is None
    assert mine.take("a")


def test_what_never_fits_evicts_nothing(open_cache: OpenCache) -> None:
    cache = open_cache(100)
    put(cache, "a", 60)
    cache.release("a")
    with pytest.raises(TooLarge, match="101 bytes; the cache holds 100"):
        cache.make_room(101)
    assert held(cache, "a") == "a"


def test_the_disk_keeps_what_it_must_have_free(open_cache: OpenCache) -> None:
    with pytest.raises(CacheFull, match="disk is full"):
        open_cache(100, free_bytes_min=1 << 60).make_room(1)


def test_a_filled_folder_that_was_not_put_is_gone(open_cache: OpenCache, tmp_path: Path) -> None:
    cache = open_cache()
    with pytest.raises(ZeroDivisionError), cache.incoming() as folder:
        (folder / "half").write_bytes(b"x")
        raise ZeroDivisionError
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_version_that_was_put_is_read_only(open_cache: OpenCache) -> None:
    folder = put(open_cache(), "a", 1)
    assert (folder / "weights").stat().st_mode & 0o222 == 0


async def test_one_fills_at_a_time_and_what_killed_ones_left_is_cleared(
    open_cache: OpenCache, tmp_path: Path
) -> None:
    mine, other = open_cache(), open_cache()
    left = tmp_path / "cache/.incoming-left"
    left.mkdir()
    order = []

    async def fill_after() -> None:
        async with other.filling():
            order.append("other")

    async with mine.filling():
        assert not left.exists()
        waiting = asyncio.create_task(fill_after())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.2)
        order.append("mine")
    await waiting
    assert order == ["mine", "other"]


def test_a_killed_process_uses_nothing(open_cache: OpenCache, tmp_path: Path) -> None:
    cache = open_cache(100)
    put(cache, "a", 60)
    cache.release("a")
    code = (
        "import sys; from pathlib import Path\n"
        "from weir_inference.adapters.repository.model_cache import ModelCache\n"
        "from weir_kit.clock import SystemClock\n"
        f"ModelCache(Path({str(tmp_path / 'cache')!r}), 100, SystemClock(), 0).take('a')\n"
        "print('taken', flush=True); sys.stdin.read()"
    )
    path = os.pathsep.join(one for one in sys.path if one)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"taken\n"
        with pytest.raises(CacheFull):
            cache.make_room(60)
        process.kill()
    cache.make_room(60)
    assert held(cache, "a") == ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60), st.booleans())))
def test_the_bytes_are_never_exceeded_and_nothing_in_use_goes(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, int, bool]]
) -> None:
    root = tmp_path_factory.mktemp("caches")
    clock = ManualClock()
    cache = ModelCache(root, 100, clock, 0)
    used: set[str] = set()
    for digest, n_bytes, release in calls:
        clock.advance(1)
        if cache.take(digest) is None:
            assert digest not in used
            try:
                put(cache, digest, n_bytes)
            except CacheFull:
                continue
        used.add(digest)
        if release:
            while digest in cache._users:
                cache.release(digest)
            used.discard(digest)
        assert sum(path.stat().st_size for path in root.glob("*/weights")) <= 100
    for digest in used:
        assert cache.take(digest)
        while digest in cache._users:
            cache.release(digest)
