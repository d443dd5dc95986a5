"""A tensor's elements in JSON ⇄ raw bytes: little-endian and row-major."""

import math
import struct
from typing import Any

from weir_gateway.rpc.oip.elements import elements_of, raw_of
from weir_kit.errors import Internal, InvalidArgument

DIMENSIONS_MAX = 32
SIZE_MAX = 1 << 31
BF16_BYTES = 2
# struct's letters. BF16 is in no library here: JSON has its numbers only on the way out.
LETTERS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b",
    "INT16": "h", "INT32": "i", "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
DATATYPES = (*LETTERS, "BF16", "BYTES")


def check_shape(shape: Any, field: str) -> list[int]:
    """The shape. Raises `InvalidArgument` for `field` if it is none."""
    if not isinstance(shape, list) or len(shape) > DIMENSIONS_MAX:
        raise wrong(field, f"a list of at most {DIMENSIONS_MAX} sizes")
    if not all(type(size) is int and 0 <= size < SIZE_MAX for size in shape):
        raise wrong(field, f"whole numbers, at least 0 and below {SIZE_MAX}")
    return shape


def check_raw(raw: bytes, datatype: str, shape: list[int], field: str) -> None:
    """Raises `InvalidArgument` for `field` unless `raw` is a tensor of that datatype and shape."""
    n_elements = math.prod(shape)
    if datatype == "BYTES":
        n_given = len(elements_of(raw, field))
        if n_given != n_elements:
            raise wrong(field, f"{n_given} elements, the shape has {n_elements}")
        return
    n_bytes = n_elements * _size_of(datatype)
    if len(raw) != n_bytes:
        raise wrong(field, f"{len(raw)} bytes, {datatype} {shape} has {n_bytes}")
    if datatype == "BOOL" and raw.strip(b"\0\1"):
        raise wrong(field, "a BOOL is a byte 0 or 1")


def raw_of_json(data: Any, datatype: str, shape: list[int], field: str) -> bytes:
    """The raw bytes of JSON's `data`: nested as the shape is, or flat.

    Raises `InvalidArgument` for `field`: of another shape or type, or out of the datatype's range.
    """
    values = _flat(data, shape, field)
    if datatype == "BYTES":
        return raw_of([_text(value, field) for value in values])
    if datatype == "BF16":
        raise wrong(field, "JSON has no BF16: send it as binary data")
    kinds = (bool,) if datatype == "BOOL" else (int, float) if datatype[:2] == "FP" else (int,)
    if not all(type(value) in kinds for value in values):
        word = {bool: "true and false", int: "whole numbers"}.get(kinds[-1], "numbers")
        raise wrong(field, f"{datatype} is {word}")
    try:
        return struct.pack(f"<{len(values)}{LETTERS[datatype]}", *values)
    except (struct.error, OverflowError):
        raise wrong(field, f"holds what is out of the range of {datatype}") from None


def json_of_raw(raw: bytes, datatype: str, shape: list[int], field: str) -> list[Any]:
    """The elements, flat. Raises `InvalidArgument` for BYTES that are no texts."""
    if datatype == "BYTES":
        try:
            return [element.decode() for element in elements_of(raw, field)]
        except UnicodeDecodeError:
            raise wrong(field, "is not text in UTF-8: ask for it as binary data") from None
    n_elements = math.prod(shape)
    if datatype not in DATATYPES or len(raw) != n_elements * _size_of(datatype):
        raise Internal("inference gave a tensor that does not fit its shape")
    if datatype == "BF16":  # the upper half of an FP32
        halves = struct.unpack(f"<{n_elements}H", raw)
        wide = struct.pack(f"<{n_elements}I", *(half << 16 for half in halves))
        return list(struct.unpack(f"<{n_elements}f", wide))
    return list(struct.unpack(f"<{n_elements}{LETTERS[datatype]}", raw))


def wrong(field: str, why: str) -> InvalidArgument:
    """An error about a field, which its message names too."""
    return InvalidArgument(f"{field}: {why}", field=field)


def _size_of(datatype: str) -> int:
    letter = LETTERS.get(datatype)
    return BF16_BYTES if letter is None else struct.calcsize(f"<{letter}")


def _flat(data: Any, shape: list[int], field: str) -> list[Any]:
    if not isinstance(data, list):
        raise wrong(field, "must be a list")
    values: list[Any] = data
    if any(isinstance(one, list) for one in data):
        values = [data]
        for size in shape:
            if not all(isinstance(row, list) and len(row) == size for row in values):
                raise wrong(field, f"is not nested as the shape {shape} says")
            values = [one for row in values for one in row]
    if len(values) != math.prod(shape):
        raise wrong(field, f"{len(values)} elements, the shape {shape} has {math.prod(shape)}")
    return values


def _text(value: Any, field: str) -> bytes:
    if not isinstance(value, str):
        raise wrong(field, "BYTES is strings; send what is no text as binary data")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise wrong(field, "holds half a surrogate pair, which is no character") from None
