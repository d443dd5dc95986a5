"""`SHA256SUMS`: the names and digests of all other files of a folder, as `sha256sum` writes it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder, TooLarge
from weir_inference.core.file_name import file_name_fault, same_file

MANIFEST = "SHA256SUMS"
MANIFEST_BYTES_MAX = 4 << 20
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True)
class Manifest:
    """The SHA-256 of each file in hex, by name."""

    sums: Mapping[str, str]

    @property
    def text(self) -> str:
        """As a file, in the order of the names: the same files give the same text."""
        return "".join(f"{self.sums[name]}  {name}\n" for name in sorted(self.sums))

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, in hex: it names the whole version."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def parse_manifest(data: bytes, n_files_max: int) -> Manifest:
    """Raises `BadModelFolder` naming the line at fault."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise TooLarge(f"is larger than {MANIFEST_BYTES_MAX} bytes", MANIFEST)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadModelFolder("is not UTF-8 text", MANIFEST) from error
    lines = text.removesuffix("\n").split("\n")
    if len(lines) > n_files_max:
        raise TooLarge(f"names more than {n_files_max} files", MANIFEST)
    sums: dict[str, str] = {}
    seen: set[str] = {same_file(MANIFEST)}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise BadModelFolder(
                f"line {number} is not 64 hex digits, two spaces and a name", MANIFEST
            )
        digest, name = match.groups()
        if fault := file_name_fault(name):
            raise BadModelFolder(f"line {number}: the name {fault}", MANIFEST)
        if same_file(name) in seen:
            raise BadModelFolder(
                f"line {number}: {name} stands twice (but for case), or is {MANIFEST} itself",
                MANIFEST,
            )
        seen.add(same_file(name))
        sums[name] = digest
    return Manifest(sums)


def read_manifest(folder: Path, n_files_max: int) -> Manifest | None:
    """That of a folder; None where it has none. Raises `BadModelFolder`."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return parse_manifest(file.read(MANIFEST_BYTES_MAX + 1), n_files_max)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadModelFolder(f"cannot be read ({type(error).__name__})", MANIFEST) from error
