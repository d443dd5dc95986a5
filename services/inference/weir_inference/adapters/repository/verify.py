"""Whether a folder is a model version that may be loaded: whole, unchanged, without code."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, UnsafeFile
from weir_inference.adapters.repository.folder_files import FolderLimits, folder_files
from weir_inference.adapters.repository.in_thread import Stop
from weir_inference.adapters.repository.manifest import MANIFEST, Manifest
from weir_inference.adapters.repository.onnx_file import EXTERNAL_SUFFIXES, OnnxFacts, read_onnx
from weir_inference.adapters.repository.safetensors_file import safetensors_fault
from weir_inference.adapters.repository.unsafe_content import (
    HEAD_BYTES,
    config_fault,
    content_fault,
)

CHUNK_BYTES = 1 << 20
WEIGHTS = {".safetensors", ".onnx"}
PICKLED = {
    ".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pt2", ".pth",
}  # fmt: skip
CODE = {
    ".dll", ".dylib", ".exe", ".ipynb", ".jar", ".js", ".pyc", ".pyd", ".py", ".sh", ".so", ".whl",
}  # fmt: skip
DATA = {
    ".csv", ".jinja", ".jpeg", ".jpg", ".json", ".jsonl", ".labels", ".md", ".model", ".png",
    ".tiktoken", ".tsv", ".txt", ".vocab", ".yaml", ".yml",
}  # fmt: skip
WITHOUT_SUFFIX = {"LICENSE", "LICENCE", "NOTICE", "COPYING", "README"}


@dataclass(frozen=True)
class VerifiedFolder:
    """What a folder holds: sizes in bytes and, of ONNX files, what they say, by name."""

    manifest: Manifest
    sizes: Mapping[str, int]
    onnx: Mapping[str, OnnxFacts]

    @property
    def weight_bytes(self) -> int:
        """Of all files with weights."""
        return sum(size for name, size in self.sizes.items() if _holds_weights(name))


def verify_folder(
    folder: Path,
    limits: FolderLimits,
    stop: Stop,
    given: Manifest | None,
    left_out: Callable[[str], bool],
) -> VerifiedFolder:
    """Read every byte of a folder and check it; by the manifest where one is given.

    `left_out` files are not part of the version. Raises `BadModelFolder`.
    """
    sizes = folder_files(folder, limits, left_out)
    sizes.pop(MANIFEST, None)
    if not sizes:
        raise BadModelFolder("the folder is empty")
    for name in sizes:
        _check_kind(name)
    if given is not None:
        _check_names(given, sizes)
    sums: dict[str, str] = {}
    for name in sizes:
        sums[name], head = _read(folder / name, sizes[name], stop)
        if given is not None and sums[name] != given.sums[name]:
            raise BadModelFolder(f"its bytes are not those of which {MANIFEST} has the sum", name)
        if fault := content_fault(folder / name, head, _holds_weights(name)):
            raise UnsafeFile(fault, name)
        if name.endswith("config.json") and (fault := config_fault(folder / name)):
            raise UnsafeFile(fault, name)
    return VerifiedFolder(Manifest(sums), sizes, _check_weights(folder, sizes, stop))


def _holds_weights(name: str) -> bool:
    return name.lower().endswith((*WEIGHTS, *EXTERNAL_SUFFIXES))


def _check_kind(name: str) -> None:
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        raise UnsafeFile(
            f"{suffix} files may be pickles, which run code when loaded; convert the weights to "
            "safetensors or ONNX",
            name,
        )
    if suffix in CODE:
        raise UnsafeFile(f"{suffix} files are code; a model version holds none", name)
    known = suffix in WEIGHTS | DATA or name.endswith(EXTERNAL_SUFFIXES)
    if not known and path.name not in WITHOUT_SUFFIX:
        raise BadModelFolder(
            f"is no file of a model version; it holds {', '.join(sorted(WEIGHTS | DATA))}", name
        )


def _check_names(manifest: Manifest, sizes: Mapping[str, int]) -> None:
    for name in manifest.sums:
        if name not in sizes:
            raise BadModelFolder(f"is missing; {MANIFEST} names it", name)
    for name in sizes:
        if name not in manifest.sums:
            raise BadModelFolder(f"is not named in {MANIFEST}", name)


def _read(path: Path, n_bytes: int, stop: Stop) -> tuple[str, bytes]:
    """The SHA-256 in hex, and the file's beginning."""
    digest = hashlib.sha256()
    n_read = 0
    head = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                stop.check()
                head = head or chunk[:HEAD_BYTES]
                digest.update(chunk)
                n_read += len(chunk)
                if n_read > n_bytes:
                    break
    except OSError as error:
        raise BadModelFolder(f"cannot be read ({type(error).__name__})", path.name) from error
    if n_read != n_bytes:
        raise BadModelFolder("changed while it was read", path.name)
    return digest.hexdigest(), head


def _check_weights(folder: Path, sizes: Mapping[str, int], stop: Stop) -> dict[str, OnnxFacts]:
    """By the rules of each format; every external data file belongs to a model."""
    onnx: dict[str, OnnxFacts] = {}
    external: set[str] = set()
    for name in sizes:
        stop.check()
        if name.lower().endswith(".safetensors"):
            if fault := safetensors_fault(folder / name):
                raise BadModelFolder(fault, name)
        elif name.lower().endswith(".onnx"):
            onnx[name] = read_onnx(folder, name, sizes)
            external |= onnx[name].external
    for name in sizes:
        if name.endswith(EXTERNAL_SUFFIXES) and name not in external:
            raise BadModelFolder("is no external data of an ONNX model in this folder", name)
    return onnx
