"""Tensors by name, as models take and give them: the datatypes of the Open Inference Protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from weir_kit.errors import InvalidArgument

ANY = -1  # a dimension of any size

# Of BYTES: an array of dtype object, whose elements are `bytes`.
Tensor = NDArray[Any]
Tensors = Mapping[str, Tensor]


class Datatype(StrEnum):
    """Open Inference Protocol v2, "Tensor Data Types"."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Its numpy dtype; `object` for BYTES."""
        return DTYPES[self]

    @classmethod
    def of(cls, tensor: Tensor) -> "Datatype":
        """That of an array. Raises KeyError for a dtype that the protocol has not."""
        return DATATYPES[tensor.dtype]


DTYPES: dict[Datatype, "np.dtype[Any]"] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
    Datatype.BF16: np.dtype(ml_dtypes.bfloat16),
    Datatype.BYTES: np.dtype(np.object_),
}
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorSpec:
    """What a model takes or gives under a name. `shape` holds sizes, or `ANY`.

    `optional` inputs may be left out.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    optional: bool = False

    def check(self, tensor: Tensor) -> None:
        """Raises `InvalidArgument` where the tensor does not fit; the field is `inputs.NAME`."""
        field = f"inputs.{self.name}"
        if tensor.dtype != self.datatype.dtype:
            given = DATATYPES.get(tensor.dtype)
            raise InvalidArgument(
                f"input {self.name!r} has datatype {given or tensor.dtype}, "
                f"this model takes {self.datatype}",
                field=field,
            )
        fits = len(tensor.shape) == len(self.shape) and all(
            wanted in (ANY, size) for wanted, size in zip(self.shape, tensor.shape, strict=True)
        )
        if not fits:
            raise InvalidArgument(
                f"input {self.name!r} has shape {list(tensor.shape)}, "
                f"this model takes {list(self.shape)} ({ANY}: any)",
                field=field,
            )


def check_inputs(specs: Sequence[TensorSpec], inputs: Tensors) -> None:
    """Raises `InvalidArgument` for inputs that are missing, unknown, or do not fit their specs."""
    known = {spec.name: spec for spec in specs}
    for name in inputs:
        if name not in known:
            raise InvalidArgument(
                f"this model has no input {name!r}; it takes {sorted(known)}",
                field=f"inputs.{name}",
            )
    for name, spec in known.items():
        if name in inputs:
            spec.check(inputs[name])
        elif not spec.optional:
            raise InvalidArgument(f"input {name!r} is missing", field=f"inputs.{name}")
