"""The one way from a source to a verified version."""

from dataclasses import replace
from pathlib import Path

from weir_inference.adapters.model_folder import HUB_ID
from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, SourceNotFound
from weir_inference.adapters.repository.folder import ModelFiles, open_folder
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.hub import SCHEME, open_hub
from weir_inference.adapters.repository.in_thread import Stop, in_thread
from weir_inference.adapters.repository.manifest import MANIFEST, Manifest
from weir_inference.adapters.repository.model_cache import ModelCache
from weir_inference.adapters.repository.remote import (
    RemoteFolder,
    download,
    remote_folder,
    remote_manifest,
    remote_sizes,
)

SOURCE_CHARS_MAX = 1024
LIMITS = FolderLimits()


async def open_source(source: str, cache: ModelCache, limits: FolderLimits = LIMITS) -> ModelFiles:
    """A version from a folder here, `hf://owner/name@revision`, `owner/name`, or a URL of fsspec.

    A URL's is copied into the cache and stays there until `cache.release(files.digest)`, which is
    for every source to be called. Fetching and reading all bytes may take minutes; cancelled,
    nothing partial is left. Raises `BadModelFolder`, `CacheFull`, `Unavailable`.
    """
    if not 1 <= len(source) <= SOURCE_CHARS_MAX or not source.isprintable():
        raise SourceNotFound(f"a source is 1..{SOURCE_CHARS_MAX} characters in one line")
    if "://" in source and not source.startswith(SCHEME):
        return await _open_remote(source, cache, limits)
    files = await in_thread(lambda stop: _open_here(source, limits, stop))
    cache.use(files.digest)
    return files


def _open_here(source: str, limits: FolderLimits, stop: Stop) -> ModelFiles:
    """A folder, or a hub's repository: a bare id is one where no folder has that path."""
    if source.startswith(SCHEME):
        return open_hub(source.removeprefix(SCHEME), limits, stop)
    folder = Path(source)
    if HUB_ID.fullmatch(source) and not folder.is_dir():
        return open_hub(source, limits, stop)
    return open_folder(folder, limits, stop)


async def _open_remote(url: str, cache: ModelCache, limits: FolderLimits) -> ModelFiles:
    def ask(stop: Stop) -> tuple[RemoteFolder, Manifest]:
        del stop
        remote = remote_folder(url)
        return remote, remote_manifest(remote, limits)

    remote, manifest = await in_thread(ask)
    if cached := await _cached(manifest.digest, cache, limits):
        return cached
    async with cache.filling():
        # It may have come while this waited.
        if cached := await _cached(manifest.digest, cache, limits):
            return cached
        cache.drop(manifest.digest)
        return await _fetched(remote, manifest, cache, limits)


async def _cached(digest: str, cache: ModelCache, limits: FolderLimits) -> ModelFiles | None:
    """A version of the cache, taken; None where it is not there or is damaged."""
    folder = cache.take(digest)
    if folder is None:
        return None
    try:
        files = await in_thread(
            lambda stop: open_folder(folder, limits, stop, manifest_required=True)
        )
    except BadModelFolder:
        files = None
    except BaseException:
        cache.release(digest)
        raise
    if files is None or files.digest != digest:
        cache.release(digest)
        return None
    return files


async def _fetched(
    remote: RemoteFolder, manifest: Manifest, cache: ModelCache, limits: FolderLimits
) -> ModelFiles:
    """A version new in the cache, taken: nobody sees it there before it is verified."""

    def fetch(stop: Stop) -> ModelFiles:
        sizes = remote_sizes(remote, manifest, limits)
        cache.make_room(sum(sizes.values()) + len(manifest.text.encode()))
        download(remote, sizes, incoming, stop)
        (incoming / MANIFEST).write_text(manifest.text, encoding="utf-8")
        return open_folder(incoming, limits, stop, manifest_required=True)

    with cache.incoming() as incoming:
        files = await in_thread(fetch)
        return replace(files, folder=cache.put(incoming, manifest.digest))
