"""The files that a folder holds, each known to be a regular file of that folder."""

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import (
    BadModelFolder,
    SourceNotFound,
    TooLarge,
    UnsafeFile,
)
from weir_inference.core.file_name import file_name_fault, same_file


@dataclass(frozen=True)
class FolderLimits:
    """What a version may hold."""

    n_files: int = 4096
    file_bytes: int = 256 << 30
    total_bytes: int = 2 << 40

    def check(self, sizes: dict[str, int]) -> None:
        """Raises `TooLarge`, naming the file or what of all is too much."""
        if len(sizes) > self.n_files:
            raise TooLarge(f"a version holds at most {self.n_files} files")
        for name, n_bytes in sizes.items():
            if n_bytes > self.file_bytes:
                raise TooLarge(f"has {n_bytes} bytes; at most {self.file_bytes} are taken", name)
        if (total := sum(sizes.values())) > self.total_bytes:
            raise TooLarge(f"a version of {total} bytes; at most {self.total_bytes} are taken")


# What other tools leave beside a model. Nothing reads it, so it is not part of the version.
LEFT_BY_TOOLS = {".cache", ".git", ".gitattributes", ".gitignore", ".DS_Store", ".huggingface"}


def left_by_tools(name: str) -> bool:
    """Whether a tool such as git or hf left the file."""
    return name.split("/", 1)[0] in LEFT_BY_TOOLS


def none_left_out(name: str) -> bool:
    """Every file is part of the version."""
    del name
    return False


def folder_files(
    folder: Path, limits: FolderLimits, left_out: Callable[[str], bool]
) -> dict[str, int]:
    """The bytes of each file by its name, without those `left_out`, which are not looked at.

    `left_out` is also asked of folders, whose names then end in `/`: nothing in them is looked at.
    Raises `BadModelFolder` for names that are not the same everywhere or lead out, links that lead
    out, anything but regular files, and what is over the limits.
    """
    sizes: dict[str, int] = {}
    seen: set[str] = set()
    links: Counter[tuple[int, int]] = Counter()  # names of an inode
    linked: list[tuple[str, os.stat_result]] = []
    root = _root(folder)
    for name, path in _walk(folder, limits, left_out):
        if fault := file_name_fault(name):
            raise UnsafeFile(f"the name {fault}", name)
        if same_file(name) in seen:
            raise UnsafeFile("another name is the same but for case or composition", name)
        seen.add(same_file(name))
        status = _status(path, name, root)
        if not path.is_symlink():
            links[status.st_dev, status.st_ino] += 1
            linked.append((name, status))
        sizes[name] = status.st_size
    for name, status in linked:
        if status.st_nlink > links[status.st_dev, status.st_ino]:
            raise UnsafeFile("is a hard link to a file that has names outside the folder", name)
    limits.check(sizes)
    return sizes


def _walk(
    folder: Path, limits: FolderLimits, left_out: Callable[[str], bool]
) -> list[tuple[str, Path]]:
    """Names and paths of all but folders, in the order of the names."""
    found: list[tuple[str, Path]] = []
    waiting = [folder]
    n_entries = 0
    while waiting:
        try:
            entries = list(waiting.pop().iterdir())
        except OSError as error:
            raise SourceNotFound(f"a folder cannot be read ({type(error).__name__})") from error
        for path in entries:
            name = path.relative_to(folder).as_posix()
            is_folder = stat.S_ISDIR(path.lstat().st_mode)
            if left_out(f"{name}/" if is_folder else name):
                continue
            n_entries += 1
            if n_entries > 2 * limits.n_files:
                raise TooLarge(f"a version holds at most {limits.n_files} files")
            if is_folder:
                waiting.append(path)
            else:
                found.append((name, path))
    return sorted(found)


def _status(path: Path, name: str, root: Path) -> os.stat_result:
    """Of the regular file that is meant, which lies inside the root."""
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(root):
            raise UnsafeFile("is a link that leads outside the model's folder", name)
        path = target
    try:
        status = path.lstat()
    except OSError as error:
        raise BadModelFolder("is a link to nothing", name) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFile("is not a regular file", name)
    return status


def _root(folder: Path) -> Path:
    """Where links may lead: of a snapshot in the hub's cache, the repository's folder there.

    A snapshot is made of links to `models--owner--name/blobs`.
    """
    repository = folder.parent.parent
    if folder.parent.name == "snapshots" and repository.name.startswith("models--"):
        return repository
    return folder
