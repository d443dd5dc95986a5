"""The tensors of models that generate: what they take and give, and reading and writing them."""

from typing import Any

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.core.ports import Model
from weir_gateway.rpc.oip.elements import elements_of, raw_of
from weir_gateway.rpc.oip.text_models import INPUTS, TEXT_OUTPUT
from weir_gateway.rpc.openai.fields import Fields
from weir_kit.errors import InvalidArgument

PLATFORM = "weir"
BOOLS = {b"\0": False, b"\1": True}
InputTensor = pb.ModelInferRequest.InferInputTensor


def metadata_of(model: Model) -> pb.ModelMetadataResponse:
    """What a model that generates takes and gives."""
    metadata = pb.ModelMetadataResponse(
        name=model.name, versions=[model.version] if model.version else [], platform=PLATFORM
    )
    for name, datatype in INPUTS.items():
        metadata.inputs.add(name=name, datatype=datatype, shape=[1])
    metadata.outputs.add(name=TEXT_OUTPUT, datatype="BYTES", shape=[1])
    return metadata


def fields_of(request: pb.ModelInferRequest) -> Fields:
    """The inputs, and the request's parameters beside them, as fields by their names.

    Raises `InvalidArgument` for what is not one element of its datatype.
    """
    values: dict[str, Any] = {
        name: getattr(one, one.WhichOneof("parameter_choice") or "string_param")
        for name, one in request.parameters.items()
    }
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise _wrong("raw_input_contents", "one for each of inputs, or none")
    for place, tensor in enumerate(request.inputs):
        if INPUTS.get(tensor.name) != tensor.datatype:
            takes = ", ".join(f"{name} {datatype}" for name, datatype in INPUTS.items())
            raise _wrong(f"inputs[{place}]", f"a model that generates takes {takes}")
        if len(tensor.shape) > 2 or any(size != 1 for size in tensor.shape):
            raise _wrong(f"inputs[{place}].shape", "[1]: one text at a time")
        if tensor.name in values:
            raise _wrong(f"inputs[{place}]", f"{tensor.name} is given twice")
        raw = raws[place] if raws else None
        values[tensor.name] = _value(tensor, raw, place)
    for place, output in enumerate(request.outputs):
        if output.name != TEXT_OUTPUT:
            raise _wrong(f"outputs[{place}].name", f"a model that generates gives {TEXT_OUTPUT}")
    return Fields(values)


def text_response(
    request: pb.ModelInferRequest, version: str, text: str, *, last: bool | None = None
) -> pb.ModelInferResponse:
    """A text as an answer, raw if the request was; `last`: of a stream, whether nothing follows."""
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=version, id=request.id
    )
    output = response.outputs.add(name=TEXT_OUTPUT, datatype="BYTES", shape=[1])
    if request.raw_input_contents:
        response.raw_output_contents.append(raw_of([text.encode()]))
    else:
        output.contents.bytes_contents.append(text.encode())
    if last is not None:
        response.parameters["triton_final_response"].bool_param = last
    return response


def _value(tensor: InputTensor, raw: bytes | None, place: int) -> str | bool:
    where = f"inputs[{place}]" if raw is None else f"raw_input_contents[{place}]"
    if tensor.datatype == "BOOL":
        bools = [*tensor.contents.bool_contents] if raw is None else [BOOLS.get(raw)]
        if len(bools) != 1 or bools[0] is None:
            raise _wrong(where, "one BOOL: raw, a byte 0 or 1")
        return bools[0]
    texts = [*tensor.contents.bytes_contents] if raw is None else elements_of(raw, where)
    if len(texts) != 1:
        raise _wrong(where, f"one text, not {len(texts)}")
    try:
        return texts[0].decode()
    except UnicodeDecodeError:
        raise _wrong(where, "a text in UTF-8") from None


def _wrong(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {why}", field=field)
