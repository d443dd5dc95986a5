"""Versions fetched from elsewhere, each in a folder named by its digest, within a bound of bytes.

Several processes may share a cache. A version in use is locked (`flock`, shared) by whoever uses
it, so that a lock goes with its process; only one process at a time fills or evicts (`FILLING`).
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import CacheFull, TooLarge
from weir_kit.clock import Clock

FILLING = ".filling"
INCOMING = ".incoming-"
GOING = ".going-"
PREFIX = "sha256-"
POLL_S = 0.05


class ModelCache:
    """A folder of at most `bytes_max` that leaves `free_bytes_min` of its disk free."""

    def __init__(
        self, folder: Path, bytes_max: int, clock: Clock, free_bytes_min: int = 1 << 30
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self._bytes_max = bytes_max
        self._free_bytes_min = free_bytes_min
        self._clock = clock
        self._users: Counter[str] = Counter()
        self._locks: dict[str, int] = {}  # open folders of the versions in use here

    def take(self, digest: str) -> Path | None:
        """The folder of a version, which stays until `release`; None where it is not here."""
        path = self._path(digest)
        if digest not in self._locks:
            locked = _lock(path, fcntl.LOCK_SH)
            if locked is None:
                return None
            self._locks[digest] = locked
        self.use(digest)
        now_s = self._clock.now_s()
        os.utime(path, (now_s, now_s))  # what is used longest ago goes first
        return path

    def use(self, digest: str) -> None:
        """A version is used that may lie elsewhere: counted, so that each user can `release`."""
        self._users[digest] += 1

    def release(self, digest: str) -> None:
        """One user needs a version no longer. One too many is no fault."""
        if digest not in self._users:
            return
        self._users[digest] -= 1
        if self._users[digest] == 0:
            del self._users[digest]
            if (locked := self._locks.pop(digest, None)) is not None:
                os.close(locked)

    @asynccontextmanager
    async def filling(self) -> AsyncIterator[None]:
        """While this is entered, nobody else fills or evicts."""
        handle = os.open(self._folder / FILLING, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not _try_lock(handle, fcntl.LOCK_EX):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(POLL_S)
            for left in self._folder.iterdir():  # by processes that were killed
                if left.name.startswith((INCOMING, GOING)):
                    shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            os.close(handle)

    def make_room(self, n_bytes: int) -> None:
        """Evict what was used longest ago and is not in use, until so many bytes more fit.

        Within `filling`. Raises `TooLarge` where they never would, `CacheFull`.
        """
        if n_bytes > self._bytes_max:
            raise TooLarge(f"a version of {n_bytes} bytes; the cache holds {self._bytes_max}")
        sizes = {path: _size(path) for path in self._folder.glob(f"{PREFIX}*")}
        for path in sorted(sizes, key=lambda path: (path.stat().st_mtime, path.name)):
            if self._fits(n_bytes, sum(sizes.values())):
                return
            if self._evict(path):
                del sizes[path]
        if not self._fits(n_bytes, sum(sizes.values())):
            raise CacheFull(
                f"{n_bytes} bytes do not fit: the model cache holds {sum(sizes.values())} of "
                f"{self._bytes_max} bytes, all in use, or its disk is full"
            )

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """An empty folder to fill, gone afterwards unless it was `put`. Within `filling`."""
        path = Path(tempfile.mkdtemp(prefix=INCOMING, dir=self._folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def put(self, incoming: Path, digest: str) -> Path:
        """A filled folder is from now on the version's, and taken. Within `filling`."""
        for path in incoming.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        incoming.rename(self._path(digest))
        taken = self.take(digest)
        assert taken is not None, "nobody else evicts"
        return taken

    def drop(self, digest: str) -> None:
        """A version is not what it was: away with it. Within `filling`. Raises `CacheFull`."""
        path = self._path(digest)
        if path.exists() and not self._evict(path):
            raise CacheFull(f"the cached version {digest[:12]} is damaged and in use")

    def _fits(self, n_bytes: int, held_bytes: int) -> bool:
        free_bytes = shutil.disk_usage(self._folder).free
        return (
            held_bytes + n_bytes <= self._bytes_max and free_bytes - n_bytes >= self._free_bytes_min
        )

    def _evict(self, path: Path) -> bool:
        locked = _lock(path, fcntl.LOCK_EX)
        if locked is None:
            return False
        try:
            going = path.with_name(f"{GOING}{path.name}")
            path.rename(going)
        finally:
            os.close(locked)
        shutil.rmtree(going, ignore_errors=True)
        return True

    def _path(self, digest: str) -> Path:
        return self._folder / f"{PREFIX}{digest}"


def _lock(folder: Path, how: int) -> int | None:
    """The open, locked folder; None where it is not there or is locked by another."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    if _try_lock(handle, how):
        # It may have been evicted between opening and locking.
        with suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == folder.stat().st_ino:
                return handle
    os.close(handle)
    return None


def _try_lock(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
