"""Why a model's files are refused."""

from weir_kit.errors import Conflict, InvalidArgument


class BadModelFolder(InvalidArgument):
    """A model's files are not what they must be. `reason` says why, `file` names the one at fault.

    On the wire it is an `InvalidArgument` of the field `source`.
    """

    def __init__(self, reason: str, file: str | None = None) -> None:
        self.reason = reason
        self.file = file
        super().__init__(reason if file is None else f"{shown(file)}: {reason}", field="source")


class UnsafeFile(BadModelFolder):
    """A file that could run code, or whose name or link leads elsewhere."""


class TooLarge(BadModelFolder):
    """More bytes or files than the limits allow."""


class SourceNotFound(BadModelFolder):
    """There is nothing at the source that could be read."""


class CacheFull(Conflict):
    """The cache's folder holds only versions in use, and no more fits."""


def shown(name: str) -> str:
    """A name as a message may hold it: in one printable line."""
    told = name if name.isprintable() else ascii(name)
    return told if len(told) <= 200 else f"{told[:200]}…"
