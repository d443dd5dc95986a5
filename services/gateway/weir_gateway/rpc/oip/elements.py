"""The elements of a BYTES tensor in raw bytes: each after its length, 4 bytes, little-endian."""

import struct
from collections.abc import Iterable

from weir_kit.errors import InvalidArgument

LENGTH = struct.Struct("<I")


def elements_of(raw: bytes, field: str) -> list[bytes]:
    """All elements. Raises `InvalidArgument` for `field` if that is not what `raw` holds."""
    elements, at = list[bytes](), 0
    while at < len(raw):
        start = at + LENGTH.size
        if start > len(raw):
            raise _wrong(field, len(elements))
        at = start + LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise _wrong(field, len(elements))
        elements.append(raw[start:at])
    return elements


def raw_of(elements: Iterable[bytes]) -> bytes:
    """The elements as raw bytes."""
    return b"".join(part for one in elements for part in (LENGTH.pack(len(one)), one))


def _wrong(field: str, n: int) -> InvalidArgument:
    return InvalidArgument(
        f"{field}: ends within element {n}; each element of BYTES is its length (4 bytes, "
        "little-endian) and its bytes",
        field=field,
    )
