"""The `Repository` of the model host: folders of versions, sources named at start, engines."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.repository.folder import FOLDER_NAME, ModelFiles, list_versions
from weir_inference.adapters.repository.model_cache import ModelCache
from weir_inference.adapters.repository.open_model import ModelOpener
from weir_inference.adapters.repository.source import open_source
from weir_inference.adapters.repository.state import StateFile
from weir_inference.core.hosted_model import OpenedModel
from weir_inference.core.model_decisions import ModelDecisions
from weir_inference.core.model_repository import Present
from weir_inference.core.model_versions import VersionKey
from weir_kit.errors import Conflict, InvalidArgument, ModelNotFound

FIXED_VERSION = 1
MEBIBYTE = 1 << 20


class Shelf:
    """Versions in `folders`, the first of which holds what is fetched, and `fixed` sources.

    A fixed source has one version, under its name, and hides versions of that name in the folders.
    It counts for nothing in the memory budget: it is there in any case.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        fixed: Mapping[str, str],
        cache: ModelCache,
        state: StateFile,
        opener: ModelOpener,
    ) -> None:
        self._folders = folders
        self._fixed = fixed
        self._cache = cache
        self._state = state
        self._opener = opener

    async def present(self) -> Mapping[str, Mapping[int, Present]]:
        """See `Repository`."""
        return await asyncio.to_thread(self._present)

    async def fetch(self, name: str, version: int, source: str) -> None:
        """See `Repository`. Raises `Conflict` where the version is there already.

        And `InvalidArgument` for a name that is no folder's: one with a slash leads elsewhere.
        """
        if not FOLDER_NAME.fullmatch(name):
            raise InvalidArgument(
                "a model of the repository is named by 1 to 128 of A-Z a-z 0-9 _ . -, "
                "a letter or digit first",
                field="name",
            )
        if name in self._fixed:
            raise Conflict(f"{name!r} is fixed by WEIR_MODELS and has no other version")
        if await asyncio.to_thread(self._folder_of, name, version) is not None:
            raise Conflict(f"version {version} of {name!r} is in the repository already")
        files = await open_source(source, self._cache)
        try:
            await asyncio.to_thread(self._adopt, files, self._folders[0] / name / str(version))
        finally:
            self._cache.release(files.digest)

    @asynccontextmanager
    async def open(self, key: VersionKey) -> AsyncIterator[OpenedModel]:
        """See `Repository`."""
        fixed = self._fixed.get(key.name)
        if fixed is None:
            folder = await asyncio.to_thread(self._folder_of, key.name, key.version)
            if folder is None:
                raise ModelNotFound(f"{key} is not in the repository", field="version")
        files = await open_source(fixed or str(folder), self._cache)
        try:
            version = "" if fixed else str(key.version)
            async with self._opener.open(key.name, version, files) as opened:
                yield replace(opened, memory_mb=0) if fixed else opened
        finally:
            self._cache.release(files.digest)

    async def decisions(self) -> Mapping[str, ModelDecisions]:
        """See `Repository`."""
        return await asyncio.to_thread(self._state.read)

    async def save(self, decisions: Mapping[str, ModelDecisions]) -> None:
        """See `Repository`."""
        await asyncio.to_thread(self._state.write, decisions)

    def _present(self) -> dict[str, dict[int, Present]]:
        found: dict[str, dict[int, Present]] = {}
        for folder in reversed(self._folders):
            for name, versions in list_versions(folder).items():
                paths = {version: folder / name / str(version) for version in versions}
                here = {version: Present(_size_mb(path)) for version, path in paths.items()}
                found[name] = found.get(name, {}) | here
        return found | {name: {FIXED_VERSION: Present(0)} for name in self._fixed}

    def _folder_of(self, name: str, version: int) -> Path | None:
        places = [folder / name / str(version) for folder in self._folders]
        return next((place for place in places if place.is_dir()), None)

    def _adopt(self, files: ModelFiles, folder: Path) -> None:
        """Copy verified files to where the version belongs: whole, or not at all."""
        if files.folder == folder:
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        incoming = folder.parent / f".incoming-{folder.name}"
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            shutil.copytree(files.folder, incoming)
            incoming.rename(folder)
        except FileExistsError as error:
            raise BadModelFolder(f"{folder} exists") from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)


def _size_mb(folder: Path) -> int:
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*"))
    return -(-n_bytes // MEBIBYTE)
