"""Tensors as raw bytes: little-endian, as the machines are that we run on, and row-major."""

import math
import struct

import numpy as np

from weir_inference.core.tensors import Datatype, Tensor
from weir_inference.rpc.oip.refusal import refusal

LENGTH = struct.Struct("<I")  # before each element of BYTES


def tensor_of_raw(raw: bytes, datatype: Datatype, shape: tuple[int, ...], field: str) -> Tensor:
    """The tensor in `raw`: a read-only view of it, copied only for BYTES.

    Raises `InvalidArgument` for `field` where `raw` is not exactly such a tensor.
    """
    if datatype is Datatype.BYTES:
        elements = _elements(raw, math.prod(shape), field)
        return np.fromiter(elements, np.object_, len(elements)).reshape(shape)
    n_wanted = math.prod(shape) * datatype.dtype.itemsize
    if len(raw) != n_wanted:
        raise refusal(field, f"{len(raw)} bytes, {datatype} {list(shape)} is {n_wanted}")
    if datatype is Datatype.BOOL and np.frombuffer(raw, np.uint8).max(initial=0) > 1:
        raise refusal(field, "a BOOL is a byte 0 or 1")
    return np.frombuffer(raw, datatype.dtype).reshape(shape)


def raw_of(tensor: Tensor) -> bytes:
    """The tensor's elements."""
    if tensor.dtype != np.object_:
        return tensor.tobytes()
    return b"".join(part for one in tensor.flat for part in (LENGTH.pack(len(one)), one))


def _elements(raw: bytes, n_elements: int, field: str) -> list[bytes]:
    elements, at = list[bytes](), 0
    for n in range(n_elements):
        start = at + LENGTH.size
        if start > len(raw):
            raise refusal(
                field,
                f"ends before element {n} of {n_elements}; each is its length (4 bytes, "
                "little-endian) and its bytes",
            )
        (length,) = LENGTH.unpack_from(raw, at)
        at = start + length
        if at > len(raw):
            raise refusal(
                field, f"element {n} has a length of {length} bytes, {len(raw) - start} are left"
            )
        elements.append(raw[start:at])
    if at < len(raw):
        raise refusal(field, f"{len(raw) - at} bytes follow the last of {n_elements} elements")
    return elements
