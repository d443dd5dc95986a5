"""Model versions in folders here: `models/<name>/<version>/`, or any folder alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, SourceNotFound
from weir_inference.adapters.repository.folder_files import (
    FolderLimits,
    left_by_tools,
    none_left_out,
)
from weir_inference.adapters.repository.in_thread import Stop
from weir_inference.adapters.repository.manifest import MANIFEST, Manifest, read_manifest
from weir_inference.adapters.repository.model_yaml import read_spec
from weir_inference.adapters.repository.verify import verify_folder
from weir_inference.adapters.repository.write_atomically import write_atomically
from weir_inference.core.model_spec import ModelSpec
from weir_inference.core.model_versions import VERSION

MODELS_MAX = 4096
VERSIONS_MAX = 1024
FOLDER_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class ModelFiles:
    """A verified version: its folder here, what it is, and what its bytes are.

    `digest` is the SHA-256 of its manifest in hex. `revision` is the commit that a hub gave, empty
    of other sources.
    """

    folder: Path
    spec: ModelSpec
    digest: str
    revision: str = ""


def open_folder(
    folder: Path,
    limits: FolderLimits,
    stop: Stop,
    *,
    revision: str = "",
    manifest_required: bool = False,
    left_out: Callable[[str], bool] | None = None,
) -> ModelFiles:
    """Verify a folder, by its `SHA256SUMS` where it has them, and read its spec.

    Where it has none, what tools leave beside a model is left out. Raises `BadModelFolder`.
    """
    folder = _existing(folder)
    manifest = read_manifest(folder, limits.n_files)
    if manifest is None and manifest_required:
        raise BadModelFolder(f"the folder has no {MANIFEST}")
    if left_out is None:
        left_out = left_by_tools if manifest is None else none_left_out
    verified = verify_folder(folder, limits, stop, manifest, left_out)
    return ModelFiles(folder, read_spec(folder, verified), verified.manifest.digest, revision)


def pack_folder(folder: Path, limits: FolderLimits) -> Manifest:
    """Write the `SHA256SUMS` of a folder that can be opened, in place of what it may have.

    Raises `BadModelFolder`, and then changes nothing.
    """
    folder = _existing(folder)
    verified = verify_folder(folder, limits, Stop(), None, none_left_out)
    read_spec(folder, verified)
    write_atomically(folder / MANIFEST, verified.manifest.text.encode())
    return verified.manifest


def _existing(folder: Path) -> Path:
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise SourceNotFound(f"{folder} is no folder here")
    return folder


def list_versions(repository: Path) -> dict[str, list[int]]:
    """The versions of each model of a repository, ascending; folders of other names are none.

    Raises `SourceNotFound`, and `BadModelFolder` for more than it may hold.
    """
    found = {
        model.name: sorted(
            int(version.name)
            for version in _folders(model, VERSIONS_MAX)
            if VERSION.fullmatch(version.name)
        )
        for model in _folders(repository, MODELS_MAX)
        if FOLDER_NAME.fullmatch(model.name)
    }
    return {name: versions for name, versions in sorted(found.items()) if versions}


def _folders(folder: Path, n_max: int) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise SourceNotFound(f"{folder} cannot be read ({type(error).__name__})") from error
    if len(found) > n_max:
        raise BadModelFolder(f"{folder} holds more than {n_max} folders")
    return found
