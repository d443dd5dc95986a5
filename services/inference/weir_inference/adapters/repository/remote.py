"""Versions behind a URL of any file system that fsspec knows: exactly what their manifest names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from weir_inference.adapters.repository.bad_model_folder import (
    BadModelFolder,
    SourceNotFound,
    TooLarge,
    UnsafeFile,
)
from weir_inference.adapters.repository.folder_files import FolderLimits
from weir_inference.adapters.repository.in_thread import Stop, Stopped
from weir_inference.adapters.repository.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    Manifest,
    parse_manifest,
)
from weir_kit.errors import Unavailable, WeirError

# Stores of files as they are. fsspec has more that unpack, chain or run something.
SCHEMES = (
    "abfs", "abfss", "az", "file", "gcs", "gs", "hdfs", "http", "https", "memory", "oci", "oss",
    "s3", "webdav", "webhdfs",
)  # fmt: skip
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of a file system of fsspec, and its URL without secrets."""

    files: Any
    path: str
    url: str


def remote_folder(url: str) -> RemoteFolder:
    """Open a URL. Raises `BadModelFolder` for a scheme that is unknown or lacks its package."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or "::" in url:
        raise SourceNotFound(
            f"a source's scheme must be hf or one of {', '.join(SCHEMES)}, not {parts.scheme[:20]}"
        )
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise SourceNotFound(f"{parts.scheme}:// sources need a package: {error}") from error
    except Exception as error:  # each file system has errors of its own
        raise SourceNotFound(f"{shown} cannot be opened ({type(error).__name__})") from error
    return RemoteFolder(files, path.rstrip("/"), shown)


def remote_manifest(remote: RemoteFolder, limits: FolderLimits) -> Manifest:
    """The folder's `SHA256SUMS`. Raises `SourceNotFound` without it, `BadModelFolder`."""
    made_by = "; a URL's folder needs it, and `weir models pack` makes it"
    with _faults_told(remote, MANIFEST, made_by), _opened(remote, MANIFEST) as file:
        data = file.read(MANIFEST_BYTES_MAX + 1)
    return parse_manifest(data, limits.n_files)


def remote_sizes(remote: RemoteFolder, manifest: Manifest, limits: FolderLimits) -> dict[str, int]:
    """The bytes of each file, within the limits. Raises `BadModelFolder`, `Unavailable`."""
    sizes = {}
    for name in manifest.sums:
        with _faults_told(remote, name):
            info = remote.files.info(f"{remote.path}/{name}")
        if info.get("type") != "file" or info.get("islink"):
            raise UnsafeFile("is not a regular file", name)
        if not isinstance(info.get("size"), int):
            raise BadModelFolder("the source does not say how large it is", name)
        sizes[name] = info["size"]
    limits.check(sizes)
    return sizes


def download(remote: RemoteFolder, sizes: dict[str, int], folder: Path, stop: Stop) -> None:
    """Write the files into a folder; none becomes larger than was said.

    Raises `BadModelFolder`, `Unavailable`, `Stopped`.
    """
    for name, n_bytes in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with _faults_told(remote, name), _opened(remote, name) as source, path.open("xb") as file:
            left = n_bytes
            while chunk := source.read(min(CHUNK_BYTES, left + 1)):
                stop.check()
                left -= len(chunk)
                if left < 0:
                    raise TooLarge(f"has more than the {n_bytes} bytes that the source said", name)
                file.write(chunk)


def _opened(remote: RemoteFolder, name: str) -> Any:
    return remote.files.open(f"{remote.path}/{name}", "rb")


@contextmanager
def _faults_told(remote: RemoteFolder, name: str, if_missing: str = "") -> Iterator[None]:
    """Errors of a file system, by type only: their messages may hold addresses and keys."""
    try:
        yield
    except (WeirError, Stopped):
        raise
    except FileNotFoundError as error:
        raise SourceNotFound(f"{remote.url} has no such file{if_missing}", name) from error
    except PermissionError as error:
        raise SourceNotFound(f"{remote.url} may not be read", name) from error
    except Exception as error:  # each file system has errors of its own
        raise Unavailable(
            f"{name} could not be fetched from {remote.url} ({type(error).__name__})"
        ) from error
