"""Tensors as lists of numbers: `InferTensorContents`, a field for some datatypes each."""

import math

import numpy as np

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_inference.core.tensors import Datatype, Tensor
from weir_inference.rpc.oip.refusal import refusal

# The field, and the dtype of its numbers. FP16 and BF16 have none.
FIELDS: dict[Datatype, tuple[str, type[np.generic]]] = {
    Datatype.BOOL: ("bool_contents", np.bool_),
    Datatype.UINT8: ("uint_contents", np.uint32),
    Datatype.UINT16: ("uint_contents", np.uint32),
    Datatype.UINT32: ("uint_contents", np.uint32),
    Datatype.UINT64: ("uint64_contents", np.uint64),
    Datatype.INT8: ("int_contents", np.int32),
    Datatype.INT16: ("int_contents", np.int32),
    Datatype.INT32: ("int_contents", np.int32),
    Datatype.INT64: ("int64_contents", np.int64),
    Datatype.FP32: ("fp32_contents", np.float32),
    Datatype.FP64: ("fp64_contents", np.float64),
    Datatype.BYTES: ("bytes_contents", np.object_),
}


def tensor_of_contents(
    contents: pb.InferTensorContents, datatype: Datatype, shape: tuple[int, ...], field: str
) -> Tensor:
    """The tensor in `contents`.

    Raises `InvalidArgument` for `field`, or its field at fault, where that is not exactly such a
    tensor.
    """
    if datatype not in FIELDS:
        raise refusal(field, f"{datatype} is sent in raw_input_contents only")
    name, dtype = FIELDS[datatype]
    for other, _ in contents.ListFields():
        if other.name != name:
            raise refusal(f"{field}.{other.name}", f"{datatype} goes into {name}")
    values = getattr(contents, name)
    if len(values) != math.prod(shape):
        raise refusal(
            f"{field}.{name}",
            f"{len(values)} elements, {datatype} {list(shape)} has {math.prod(shape)}",
        )
    wide = np.fromiter(values, dtype, len(values))
    tensor = wide.astype(datatype.dtype, copy=False)
    if tensor.dtype != wide.dtype and not np.array_equal(tensor, wide):
        raise refusal(f"{field}.{name}", f"an element is out of {datatype}'s range")
    return tensor.reshape(shape)


def contents_of(tensor: Tensor) -> pb.InferTensorContents:
    """The tensor's elements. Raises KeyError for a datatype that is sent raw only."""
    name, _ = FIELDS[Datatype.of(tensor)]
    contents = pb.InferTensorContents()
    getattr(contents, name).extend(tensor.ravel().tolist())
    return contents
