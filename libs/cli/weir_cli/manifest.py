"""`SHA256SUMS`: the names and digests of a model version's files, as `sha256sum -c` reads it."""

import hashlib
from pathlib import Path

from weir_cli.failure import Failure

MANIFEST = "SHA256SUMS"
FILES_MAX = 4096  # as many as a version may hold


def write_manifest(folder: Path) -> dict[str, str]:
    """Write the SHA256SUMS of all other files of a folder: each one's digest in hex, by name.

    They are in the order of the names, so that the same files give the same text. Raises `Failure`
    for a folder that is none, is empty or cannot be read or written, for links and whatever else is
    no plain file, and for names that a line cannot hold.
    """
    new = folder / f"{MANIFEST}.new"
    try:
        new.unlink(missing_ok=True)  # of a call that was killed
        sums = {name: _sum(folder / name) for name in sorted(_names(folder))}
        new.write_text(manifest_text(sums), encoding="utf-8")
        new.replace(folder / MANIFEST)
    except OSError as error:
        raise Failure(f"{error.filename or folder}: {error.strerror}") from error
    return sums


def manifest_text(sums: dict[str, str]) -> str:
    """A line a file, two spaces between."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def _names(folder: Path) -> list[str]:
    """Of the files, relative to the folder, parts joined by `/`."""
    if not folder.is_dir():
        raise Failure(f"{folder} is no folder")
    names: list[str] = []
    waiting = [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise Failure(f"{name} is a link; put the file itself into {folder}")
            if not name.isprintable() or "\\" in name:
                raise Failure(f"the name {name!r} has control characters or a backslash: rename it")
            if path.is_dir():
                waiting.append(path)
            elif path.is_file():
                names.append(name)
            else:
                raise Failure(f"{name} is neither a file nor a folder; take it out of {folder}")
            if len(names) + len(waiting) > FILES_MAX:
                raise Failure(f"{folder} holds more than {FILES_MAX} files: is it a model's?")
    if not names or names == [MANIFEST]:
        raise Failure(f"{folder} has no files")
    return [name for name in names if name != MANIFEST]


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
