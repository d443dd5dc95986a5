"""`ModelInfer`: its messages and core's calls."""

import math
from collections.abc import Collection

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_inference.core.tensor_engine import InferRequest
from weir_inference.core.tensor_models import InferAnswer, InferCall
from weir_inference.core.tensors import Datatype, Tensor
from weir_inference.rpc.oip.contents import FIELDS, contents_of, tensor_of_contents
from weir_inference.rpc.oip.parameters import check_parameters, priority_of, timeout_s_of
from weir_inference.rpc.oip.raw import raw_of, tensor_of_raw
from weir_inference.rpc.oip.refusal import refusal
from weir_inference.rpc.oip.shape import shape_of

# Python takes these one by one, on the event loop: a million numbers in 20 ms, of BYTES in 200 ms.
# Raw numbers need no bound but the message's.
LISTED_ELEMENTS_MAX = 1 << 21
BYTES_ELEMENTS_MAX = 1 << 18
TENSORS_MAX = 1024
NAME_CHARS_MAX = 256


def call_of(
    request: pb.ModelInferRequest, admission_token: str, now_s: float, remaining_s: float | None
) -> InferCall:
    """The call in `request`; `now_s` is of the monotonic clock, `remaining_s` until its deadline.

    Raises `InvalidArgument`, naming the field at fault.
    """
    check_parameters(request.parameters, "parameters")
    for field, n_tensors in (("inputs", len(request.inputs)), ("outputs", len(request.outputs))):
        if n_tensors > TENSORS_MAX:
            raise refusal(field, f"at most {TENSORS_MAX}, not {n_tensors}")
    times_s = [
        seconds
        for seconds in (remaining_s, timeout_s_of(request.parameters))
        if seconds is not None
    ]
    return InferCall(
        admission_token=admission_token,
        request_id=request.id,
        model=request.model_name,
        version=request.model_version,
        request=InferRequest(
            inputs=_inputs(request),
            outputs=_outputs(request),
            priority=priority_of(request.parameters),
            deadline_s=now_s + min(times_s) if times_s else None,
        ),
    )


def response_of(request: pb.ModelInferRequest, answer: InferAnswer) -> pb.ModelInferResponse:
    """The answer to `request`: raw unless it came in contents, and where FP16 or BF16 is in it.

    Raises KeyError where the result lacks an output asked for, or has a dtype of its own.
    """
    outputs = answer.result.outputs
    names = [output.name for output in request.outputs] or list(outputs)
    tensors = {name: outputs[name] for name in names}
    in_contents = any(one.HasField("contents") for one in request.inputs) and all(
        Datatype.of(tensor) in FIELDS for tensor in tensors.values()
    )
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=answer.version, id=request.id
    )
    for name, tensor in tensors.items():
        response.outputs.add(
            name=name,
            datatype=Datatype.of(tensor),
            shape=tensor.shape,
            contents=contents_of(tensor) if in_contents else None,
        )
        if not in_contents:
            response.raw_output_contents.append(raw_of(tensor))
    return response


def _outputs(request: pb.ModelInferRequest) -> tuple[str, ...] | None:
    names: dict[str, None] = {}
    for n, output in enumerate(request.outputs):
        check_parameters(output.parameters, f"outputs[{n}].parameters")
        _check_name(output.name, names, f"outputs[{n}].name")
        names[output.name] = None
    return tuple(names) or None


def _inputs(request: pb.ModelInferRequest) -> dict[str, Tensor]:
    for n, one in enumerate(request.inputs):
        check_parameters(one.parameters, f"inputs[{n}].parameters")
    _check_place(request)
    raws = request.raw_input_contents
    tensors: dict[str, Tensor] = {}
    n_bytes, n_listed = 0, 0
    for n, one in enumerate(request.inputs):
        field = f"inputs[{n}]"
        _check_name(one.name, tensors, f"{field}.name")
        datatype, shape = _datatype(one, field), shape_of(one.shape, f"{field}.shape")
        if datatype is Datatype.BYTES:
            n_bytes += math.prod(shape)
        elif not raws:
            n_listed += math.prod(shape)
        if n_bytes > BYTES_ELEMENTS_MAX or n_listed > LISTED_ELEMENTS_MAX:
            raise refusal(
                f"{field}.shape",
                f"a request has at most {BYTES_ELEMENTS_MAX} elements of BYTES and "
                f"{LISTED_ELEMENTS_MAX} in contents; others go into raw_input_contents",
            )
        tensors[one.name] = (
            tensor_of_raw(raws[n], datatype, shape, f"raw_input_contents[{n}]")
            if raws
            else tensor_of_contents(one.contents, datatype, shape, f"{field}.contents")
        )
    return tensors


def _check_place(request: pb.ModelInferRequest) -> None:
    """The data of all inputs is in one place."""
    n_raw = len(request.raw_input_contents)
    if n_raw not in (0, len(request.inputs)):
        raise refusal(
            "raw_input_contents",
            f"{n_raw} for {len(request.inputs)} inputs: give one for each, or none",
        )
    for n, one in enumerate(request.inputs):
        if n_raw and one.contents.ByteSize():
            raise refusal(
                f"inputs[{n}].contents", "leave it empty: the data is in raw_input_contents"
            )


def _check_name(name: str, earlier: Collection[str], field: str) -> None:
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        raise refusal(field, f"a name has 1 to {NAME_CHARS_MAX} characters")
    if name in earlier:
        raise refusal(field, f"{name!r} is named twice")


def _datatype(one: pb.ModelInferRequest.InferInputTensor, field: str) -> Datatype:
    try:
        return Datatype(one.datatype)
    except ValueError:
        raise refusal(f"{field}.datatype", f"one of {', '.join(Datatype)}") from None
