"""What the gateway looks at of a call with tensors: how many rows it has, and its texts."""

from collections.abc import Iterator

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.core.prediction import Tensors
from weir_gateway.rpc.oip.elements import elements_of

BYTES = "BYTES"


def tensors_of(request: pb.ModelInferRequest) -> Tensors:
    """The call, as it came. Raises `InvalidArgument` for BYTES that are none."""
    shape = request.inputs[0].shape if request.inputs else ()
    n_items = max(1, shape[0]) if shape else 1
    return Tensors(request, tuple(_texts(request)), n_items)


def _texts(request: pb.ModelInferRequest) -> Iterator[str]:
    """Elements that are UTF-8, of both places where there may be some: no rule is got round so."""
    raws = request.raw_input_contents
    for place, tensor in enumerate(request.inputs):
        if tensor.datatype != BYTES:
            continue
        elements = [*tensor.contents.bytes_contents]
        if place < len(raws):
            elements += elements_of(raws[place], f"raw_input_contents[{place}]")
        for element in elements:
            try:
                text = element.decode()
            except UnicodeDecodeError:
                continue  # a picture, or the like
            if text:
                yield text
