"""The Open Inference Protocol's bodies over HTTP ⇄ its messages over gRPC.

With the extension for binary tensors: after the JSON, whose length is in a header, come the bytes
of those tensors that say so, in order. Bytes are handed on as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.rpc.oip.json_tensors import (
    DATATYPES,
    check_raw,
    check_shape,
    json_of_raw,
    raw_of_json,
    wrong,
)
from weir_gateway.rpc.openai.answers import to_json
from weir_gateway.rpc.openai.fields import Fields, parse_object
from weir_kit.errors import Internal

LENGTH_HEADER = "inference-header-content-length"
BINARY_SIZE = "binary_data_size"
BINARY = "binary_data"
BINARY_OUTPUTS = "binary_data_output"
TENSORS_MAX = 1024
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Form:
    """Which outputs the client wants as binary data."""

    every: bool = False
    by_name: Mapping[str, bool] = field(default_factory=dict)

    def is_binary(self, name: str) -> bool:
        """Whether it wants this one so."""
        return self.by_name.get(name, self.every)


def read_request(
    body: bytes, json_length: str | None, model: str, version: str
) -> tuple[pb.ModelInferRequest, Form]:
    """A body; `json_length` is the header. Raises `InvalidArgument` naming the field."""
    head, binary = _parted(body, json_length)
    fields = Fields(parse_object(head))
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    request.id = fields.text("id") or ""
    for name, in_path in (("model_name", model), ("model_version", version)):
        if fields.text(name) not in (None, "", in_path):  # KServe's client sends them too
            raise fields.wrong(name, "is not what the path says")
    every = _read_parameters(fields, request.parameters).flag(BINARY_OUTPUTS)
    at = 0
    for one in _objects(fields, "inputs"):
        at = _read_input(one, request, binary, at)
    if at < len(binary):
        raise wrong("inputs", f"{len(binary) - at} bytes of binary data belong to no input")
    by_name = dict(_read_output(one, request, every) for one in _objects(fields, "outputs"))
    fields.refuse_rest(frozenset(), {})
    return request, Form(every, by_name)


def write_response(response: pb.ModelInferResponse, form: Form) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON if binary data follows."""
    raws = response.raw_output_contents
    if len(raws) != len(response.outputs):
        raise Internal("inference gave an output without its elements")
    outputs, binary = [], list[bytes]()
    for tensor, raw in zip(response.outputs, raws, strict=True):
        shape = [*tensor.shape]
        output = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape}
        parameters = _parameters_json(tensor.parameters)
        if form.is_binary(tensor.name):
            parameters[BINARY_SIZE] = len(raw)
            binary.append(raw)
        else:
            output["data"] = json_of_raw(raw, tensor.datatype, shape, f"outputs.{tensor.name}")
        outputs.append({**output, "parameters": parameters} if parameters else output)
    content = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        **({"id": response.id} if response.id else {}),
        "parameters": _parameters_json(response.parameters),
        "outputs": outputs,
    }
    head = to_json(content)
    return b"".join((head, *binary)), len(head) if binary else None


def _parted(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 10):
        raise wrong(LENGTH_HEADER, "must be the number of bytes of the JSON")
    n_bytes = int(json_length)
    if n_bytes > len(body):
        raise wrong(LENGTH_HEADER, f"{n_bytes}, the body has {len(body)} bytes")
    return body[:n_bytes], body[n_bytes:]


def _objects(fields: Fields, name: str) -> list[Fields]:
    values = fields.take(name)
    if values is None and name == "outputs":
        return []
    if not isinstance(values, list) or len(values) > TENSORS_MAX:
        raise fields.wrong(name, f"must be a list of at most {TENSORS_MAX} tensors")
    for place, value in enumerate(values):
        if not isinstance(value, dict):
            raise fields.wrong(f"{name}[{place}]", "must be an object")
    return [Fields(value, f"{name}[{place}].") for place, value in enumerate(values)]


def _read_input(fields: Fields, request: pb.ModelInferRequest, binary: bytes, at: int) -> int:
    """Add an input; where the binary data of the next one begins."""
    tensor = request.inputs.add()
    tensor.name, tensor.datatype = _name(fields), fields.text("datatype") or ""
    if tensor.datatype not in DATATYPES:
        raise fields.wrong("datatype", f"must be one of {', '.join(DATATYPES)}")
    shape = check_shape(fields.take("shape"), fields.path("shape"))
    tensor.shape.extend(shape)
    size = _read_parameters(fields, tensor.parameters).integer(BINARY_SIZE, 0, INT64_MAX)
    data = fields.take("data")
    if (size is None) == (data is None):
        raise fields.wrong("data", f"or parameters.{BINARY_SIZE}: give one of them")
    if size is None:
        raw = raw_of_json(data, tensor.datatype, shape, fields.path("data"))
    else:
        where = fields.path(f"parameters.{BINARY_SIZE}")
        raw = binary[at : at + size]
        if len(raw) < size:
            raise wrong(where, f"{size} bytes, the body has {len(raw)} more")
        check_raw(raw, tensor.datatype, shape, where)
        at += size
    request.raw_input_contents.append(raw)
    fields.refuse_rest(frozenset(), {})
    return at


def _read_output(fields: Fields, request: pb.ModelInferRequest, every: bool) -> tuple[str, bool]:
    output = request.outputs.add()
    output.name = _name(fields)
    binary = _read_parameters(fields, output.parameters).take(BINARY)
    if binary is not None and not isinstance(binary, bool):
        raise fields.wrong(f"parameters.{BINARY}", "must be true or false")
    fields.refuse_rest(frozenset(), {})
    return output.name, every if binary is None else binary


def _name(fields: Fields) -> str:
    name = fields.text("name")
    if not name:
        raise fields.wrong("name", "is missing")
    return name


def _read_parameters(fields: Fields, parameters: Any) -> Fields:
    """Add parameters to the message's, but those about binary data: they are handed back."""
    values = fields.take("parameters") or {}
    if not isinstance(values, dict):
        raise fields.wrong("parameters", "must be an object")
    about_binary = {}
    for name, value in values.items():
        fields.checked(f"parameters.{name[:64]}", name)
        if name in (BINARY_SIZE, BINARY, BINARY_OUTPUTS):
            about_binary[name] = value
            continue
        where = f"parameters.{name}"
        match value:
            case bool():
                parameters[name].bool_param = value
            case int() if INT64_MIN <= value <= INT64_MAX:
                parameters[name].int64_param = value
            case float():
                parameters[name].double_param = value
            case str():
                parameters[name].string_param = fields.checked(where, value)
            case _:
                raise fields.wrong(where, "must be true, false, a text or a number of 64 bits")
    return Fields(about_binary, fields.path("parameters."))


def _parameters_json(parameters: Mapping[str, Message]) -> dict[str, Any]:
    return {
        name: getattr(one, one.WhichOneof("parameter_choice") or "string_param")
        for name, one in parameters.items()
    }
