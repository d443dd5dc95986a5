"""Which names a file of a model may have: the same file on every system, inside its folder."""

import unicodedata

NAME_BYTES_MAX = 512
PART_BYTES_MAX = 255
DEPTH_MAX = 8


def file_name_fault(name: str) -> str | None:
    """What is wrong with a name, relative to the model's folder, parts joined by `/`; None if fine.

    The answer continues the sentence "the name …".
    """
    if not name.isprintable():
        return "has control or unprintable characters"
    if "\\" in name or ":" in name:
        return "has a backslash or a colon"
    if name.startswith("/"):
        return "is absolute; it must be relative to the model's folder"
    parts = name.split("/")
    if ".." in parts:
        return "leads outside the model's folder (..)"
    if any(part in ("", ".") or part != part.strip() or part.endswith(".") for part in parts):
        return "has a part that is empty, `.`, or begins or ends with a space or ends with a dot"
    if len(parts) > DEPTH_MAX:
        return f"lies deeper than {DEPTH_MAX} folders"
    if len(name.encode()) > NAME_BYTES_MAX or max(len(p.encode()) for p in parts) > PART_BYTES_MAX:
        return f"is longer than {NAME_BYTES_MAX} bytes, or a part of it than {PART_BYTES_MAX}"
    return None


def same_file(name: str) -> str:
    """What two names have in common that some file systems take for the same: case, composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).casefold())
