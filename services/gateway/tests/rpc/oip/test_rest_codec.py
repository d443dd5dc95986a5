"""Bodies of the Open Inference Protocol over HTTP ⇄ its messages, for any tensor and any bytes."""

import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.rpc.oip.elements import elements_of, raw_of
from weir_gateway.rpc.oip.json_tensors import LETTERS
from weir_gateway.rpc.oip.rest_codec import Form, read_request, write_response
from weir_kit.errors import InvalidArgument

INTEGERS = {
    name: (0 if name[0] == "U" else -(2 ** (bits - 1)), 2 ** (bits - (name[0] != "U")) - 1)
    for name in LETTERS
    if "INT" in name
    for bits in [int(name.rpartition("T")[2])]
}
WIDTHS: dict[str, Any] = {"FP16": 16, "FP32": 32, "FP64": 64}
WAYS = ["flat", "nested", "binary"]
SHAPES = st.lists(st.integers(0, 3), max_size=3)


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    if datatype == "BYTES":
        return st.text(st.characters(codec="utf-8"), max_size=5)
    if datatype == "BOOL":
        return st.booleans()
    if datatype in WIDTHS:
        return st.floats(width=WIDTHS[datatype], allow_nan=False, allow_infinity=False)
    return st.integers(*INTEGERS[datatype])


def nested(flat: list[Any], shape: list[int]) -> list[Any]:
    if len(shape) <= 1:
        return flat
    size = math.prod(shape[1:])
    return [nested(flat[n * size : (n + 1) * size], shape[1:]) for n in range(shape[0])]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, list[int], list[Any]]:
    datatype = draw(st.sampled_from([*LETTERS, "BYTES"]))
    shape = draw(SHAPES)
    n = math.prod(shape)
    return datatype, shape, draw(st.lists(values_of(datatype), min_size=n, max_size=n))


def raw_of_values(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return raw_of([value.encode() for value in values])
    return struct.pack(f"<{len(values)}{LETTERS[datatype]}", *values)


def body(inputs: list[Any], binary: bytes = b"", **more: Any) -> tuple[bytes, str]:
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + binary, str(len(head))


@given(st.lists(st.tuples(tensors(), st.sampled_from(WAYS)), min_size=1, max_size=3))
def test_tensors_come_out_as_they_went_in_however_they_were_sent(sent: list[Any]) -> None:
    inputs, raws = [], []
    binary = b""
    for place, ((datatype, shape, values), how) in enumerate(sent):
        raw = raw_of_values(datatype, values)
        raws.append(raw)
        tensor: dict[str, Any] = {"name": f"in{place}", "datatype": datatype, "shape": shape}
        if how == "binary":
            tensor["parameters"] = {"binary_data_size": len(raw)}
            binary += raw
        else:
            tensor["data"] = nested(values, shape) if how == "nested" else values
        inputs.append(tensor)
    content, length = body(inputs, binary, id="c-1")
    request, form = read_request(content, length, "sums", "2")
    assert (request.model_name, request.model_version, request.id) == ("sums", "2", "c-1")
    assert [(one.datatype, [*one.shape]) for one in request.inputs] == [
        (datatype, shape) for (datatype, shape, _), _ in sent
    ]
    assert [*request.raw_input_contents] == raws

    response = pb.ModelInferResponse(model_name="sums", raw_output_contents=raws)
    for one in request.inputs:
        response.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
    answer, json_length = write_response(response, form)
    assert json_length is None
    outputs = json.loads(answer)["outputs"]
    assert [output["data"] for output in outputs] == [values for (_, _, values), _ in sent]
    answer, json_length = write_response(response, Form(every=True))
    assert answer[json_length:] == b"".join(raws)
    sizes = [
        one["parameters"]["binary_data_size"] for one in json.loads(answer[:json_length])["outputs"]
    ]
    assert sizes == [len(raw) for raw in raws]


@given(st.binary(max_size=200), st.none() | st.text(max_size=4))
def test_any_bytes_are_read_or_refused(content: bytes, length: str | None) -> None:
    with suppress(InvalidArgument):
        read_request(content, length, "sums", "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["name", "datatype", "shape", "data", "parameters", "binary_data_size"])
TENSORS = st.lists(st.dictionaries(NAMES, JSON | st.sampled_from(["INT8", "BYTES"])), max_size=2)


@given(
    st.fixed_dictionaries(
        {"inputs": TENSORS | JSON}, optional={"outputs": TENSORS | JSON, "parameters": JSON}
    ),
    st.binary(max_size=9),
)
def test_any_json_is_read_or_refused(content: dict[str, Any], binary: bytes) -> None:
    head = json.dumps(content).encode()
    with suppress(InvalidArgument):
        read_request(head + binary, str(len(head)), "sums", "")


@given(st.lists(st.binary(max_size=5)))
def test_elements_come_out_as_they_went_in(elements: list[bytes]) -> None:
    raw = raw_of(elements)
    assert elements_of(raw, "x") == elements
    if raw:
        with suppress(InvalidArgument):
            assert elements_of(raw[:-1], "x") != elements


def tensor(**changes: Any) -> dict[str, Any]:
    plain = {"name": "in", "datatype": "INT8", "shape": [2], "data": [1, 2]}
    return {name: value for name, value in {**plain, **changes}.items() if value is not None}


def sized(n_bytes: Any, **changes: Any) -> dict[str, Any]:
    return tensor(data=None, parameters={"binary_data_size": n_bytes}, **changes)


@pytest.mark.parametrize(
    ("inputs", "binary", "field"),
    [
        ([tensor(name=None)], b"", "inputs[0].name"),
        ([tensor(datatype="INT4")], b"", "inputs[0].datatype"),
        ([tensor(shape=[3])], b"", "inputs[0].data"),
        ([tensor(shape=[-2])], b"", "inputs[0].shape"),
        ([tensor(shape=[True, 2])], b"", "inputs[0].shape"),
        ([tensor(shape=[1] * 33)], b"", "inputs[0].shape"),
        ([tensor(data=[1, 128])], b"", "inputs[0].data"),
        ([tensor(data=[1, 2.0])], b"", "inputs[0].data"),
        ([tensor(data=[1, True])], b"", "inputs[0].data"),
        ([tensor(data="12")], b"", "inputs[0].data"),
        ([tensor(data=[[1], [2]])], b"", "inputs[0].data"),
        ([tensor(shape=[2, 2], data=[[1, 2], [3]])], b"", "inputs[0].data"),
        ([tensor(datatype="BOOL")], b"", "inputs[0].data"),
        ([tensor(datatype="FP32", data=[1e39, 0])], b"", "inputs[0].data"),
        ([tensor(datatype="FP16", data=[65_520, 0])], b"", "inputs[0].data"),
        ([tensor(datatype="BF16")], b"", "inputs[0].data"),
        ([tensor(datatype="BYTES", data=["a", 1])], b"", "inputs[0].data"),
        ([tensor(data=None)], b"", "inputs[0].data"),
        ([tensor(parameters={"binary_data_size": 2})], b"ab", "inputs[0].data"),
        ([sized(2)], b"a", "inputs[0].parameters.binary_data_size"),
        ([sized(1)], b"a", "inputs[0].parameters.binary_data_size"),
        ([sized("2")], b"ab", "inputs[0].parameters.binary_data_size"),
        ([sized(2)], b"abc", "inputs"),
        ([sized(2, datatype="BOOL")], b"\0\2", "inputs[0].parameters.binary_data_size"),
        ([sized(5, datatype="BYTES")], b"\1\0\0\0a", "inputs[0].parameters.binary_data_size"),
        ([tensor(extra=1)], b"", "inputs[0].extra"),
        ([tensor(parameters={"a": [1]})], b"", "inputs[0].parameters.a"),
        ([tensor(parameters={"a": 2**63})], b"", "inputs[0].parameters.a"),
        (["in"], b"", "inputs[0]"),
        ({}, b"", "inputs"),
    ],
)
def test_what_does_not_fit_is_named(inputs: Any, binary: bytes, field: str) -> None:
    content, length = body(inputs, binary)
    with pytest.raises(InvalidArgument) as caught:
        read_request(content, length, "sums", "")
    assert caught.value.field == field


def test_a_model_named_in_the_body_is_the_path_s() -> None:
    content, length = body([tensor()], model_name="sums", model_version="2")
    assert read_request(content, length, "sums", "2")[0].model_name == "sums"
    for model, version, field in (("sums", "1", "model_version"), ("other", "2", "model_name")):
        with pytest.raises(InvalidArgument) as caught:
            read_request(content, length, model, version)
        assert caught.value.field == field


@pytest.mark.parametrize("length", ["x", "-1", "9999", "1.0", ""])
def test_a_wrong_length_of_the_json_is_named(length: str) -> None:
    content, _ = body([tensor()])
    with pytest.raises(InvalidArgument) as caught:
        read_request(content, length, "sums", "")
    assert caught.value.field == "inference-header-content-length"


def test_each_output_comes_in_the_form_that_was_asked_for() -> None:
    wanted = [
        {"name": "a", "parameters": {"binary_data": False, "other": 1}},
        {"name": "b"},
    ]
    content, length = body([tensor()], outputs=wanted, parameters={"binary_data_output": True})
    request, form = read_request(content, length, "sums", "")
    assert [one.name for one in request.outputs] == ["a", "b"]
    assert [*request.outputs[0].parameters] == ["other"] and not request.parameters
    assert (form.is_binary("a"), form.is_binary("b")) == (False, True)


def test_bf16_is_told_in_json_and_what_is_no_text_is_not() -> None:
    raw = struct.pack("<f", -1.5)[2:]
    response = pb.ModelInferResponse(raw_output_contents=[raw])
    response.outputs.add(name="out", datatype="BF16", shape=[1])
    answer, _ = write_response(response, Form())
    assert json.loads(answer)["outputs"][0]["data"] == [-1.5]
    response.raw_output_contents[0] = raw_of([b"\xff"])
    response.outputs[0].datatype = "BYTES"
    with pytest.raises(InvalidArgument, match="binary") as caught:
        write_response(response, Form())
    assert caught.value.field == "outputs.out"
