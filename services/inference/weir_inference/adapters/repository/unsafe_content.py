"""What files hold, whatever their names say: pickles, archives, programs, code to be imported."""

import io
import json
import pickletools
import zipfile
from pathlib import Path
from typing import Any

HEAD_BYTES = 64 << 10
CONFIG_BYTES_MAX = 16 << 20

BEGINNINGS = {
    b"\x93NUMPY": "a numpy file, which may hold pickles",
    b"\x89HDF\r\n": "an HDF5 file, which may hold code",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x7fELF": "a program",
    b"MZ\x90\x00": "a program",
}
ZIP = b"PK\x03\x04"
PICKLE_PROTOCOLS = {bytes([0x80, protocol]) for protocol in range(6)}
IMPORTING = {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}
CALLING = {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}


def content_fault(path: Path, head: bytes, weights: bool) -> str | None:
    """What is wrong with a file of which `head` is the beginning; None if nothing is.

    The binary forms that Weir loads (`weights`) are checked by their own rules and may begin and
    end by almost any bytes, so that of those only whole pickles and archives count.
    """
    if _is_pickle(head) or (not weights and head[:2] in PICKLE_PROTOCOLS):
        return "is a pickle: loading it could run code"
    # A zip is found from its end, so it may stand behind anything.
    if head.startswith(ZIP) or (not weights and zipfile.is_zipfile(path)):
        return "is a zip archive, as torch.save and numpy.savez write pickles"
    for beginning, what in BEGINNINGS.items():
        if not weights and head.startswith(beginning):
            return f"is {what}"
    return None


def _is_pickle(head: bytes) -> bool:
    """Whether it is a whole pickle program that imports something and calls it.

    The oldest protocol is plain text without a mark at its beginning.
    """
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(head)):
            seen.add(opcode.name)
    except (ValueError, OverflowError):  # not an opcode, or no STOP
        return False
    return bool(seen & IMPORTING) and bool(seen & CALLING)


def config_fault(path: Path) -> str | None:
    """What is wrong with a `config.json` and its like; None if nothing is.

    `auto_map` names Python code beside the weights, which `trust_remote_code` would run.
    """
    try:
        with path.open("rb") as file:
            raw = json.loads(file.read(CONFIG_BYTES_MAX + 1))
    except (OSError, ValueError, RecursionError):
        return f"is not JSON of at most {CONFIG_BYTES_MAX} bytes"
    if not isinstance(raw, dict):
        return "is not a JSON object"
    for key in ("auto_map", "trust_remote_code"):
        if _asks(raw, key):
            return f"has {key}: Weir runs no code that comes with a model; remove it"
    return None


def _asks(raw: Any, key: str) -> bool:
    """Whether a key says something anywhere in a document."""
    waiting = [raw]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get(key):
                return True
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False
