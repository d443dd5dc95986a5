"""Tensors come and go without a bit changed, or the field at fault is named."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_inference.core.request import Priority
from weir_inference.core.tensor_engine import InferResult
from weir_inference.core.tensor_models import InferAnswer, InferCall
from weir_inference.core.tensors import Datatype, Tensor
from weir_inference.core.work import Work
from weir_inference.rpc.oip.codec import (
    BYTES_ELEMENTS_MAX,
    LISTED_ELEMENTS_MAX,
    TENSORS_MAX,
    call_of,
    response_of,
)
from weir_inference.rpc.oip.contents import FIELDS, contents_of
from weir_inference.rpc.oip.raw import raw_of
from weir_kit.errors import InvalidArgument

Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor


@st.composite
def tensors(draw: st.DrawFn, datatypes: Any = tuple(Datatype)) -> Tensor:
    """Any elements (numbers of any bits, NaN too) in any shape, also scalar or empty."""
    datatype = draw(st.sampled_from(list(datatypes)))
    shape = draw(st.lists(st.integers(0, 3), max_size=4).map(tuple))
    n = math.prod(shape)
    if datatype is Datatype.BYTES:
        elements = draw(st.lists(st.binary(max_size=6), min_size=n, max_size=n))
        return np.fromiter(elements, np.object_, n).reshape(shape)
    if datatype is Datatype.BOOL:
        truths = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        return np.array(truths, np.bool_).reshape(shape)
    n_bytes = n * datatype.dtype.itemsize
    bits = draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    return np.frombuffer(bits, datatype.dtype).reshape(shape)


def named(given: list[Tensor]) -> dict[str, Tensor]:
    return {f"x{n}": tensor for n, tensor in enumerate(given)}


def request_of(inputs: dict[str, Tensor], *, raw: bool) -> pb.ModelInferRequest:
    """As a client would make it."""
    return pb.ModelInferRequest(
        model_name="m",
        id="call_1",
        inputs=[
            Input(
                name=name,
                datatype=Datatype.of(tensor),
                shape=tensor.shape,
                contents=None if raw else contents_of(tensor),
            )
            for name, tensor in inputs.items()
        ],
        raw_input_contents=[raw_of(tensor) for tensor in inputs.values()] if raw else [],
    )


def called(request: pb.ModelInferRequest, remaining_s: float | None = None) -> InferCall:
    return call_of(request, "token", 100.0, remaining_s)


def same(one: Tensor, other: Tensor) -> bool:
    """Bit by bit: a NaN is the same NaN."""
    bits = [raw_of(tensor) for tensor in (one, other)]
    return (one.dtype, one.shape, bits[0]) == (other.dtype, other.shape, bits[1])


def answer(version: str = "3", **outputs: Tensor) -> InferAnswer:
    return InferAnswer(version, InferResult(outputs, 0.0, 0.0, 1), Work())


@given(st.lists(tensors(), min_size=1, max_size=3).map(named))
def test_raw_tensors_of_every_datatype_and_shape_come_and_go_as_they_are(
    inputs: dict[str, Tensor],
) -> None:
    request = request_of(inputs, raw=True)
    got = called(request).request.inputs
    assert list(got) == list(inputs)
    assert all(same(got[name], inputs[name]) for name in inputs)
    response = response_of(request, answer(**got))
    assert list(response.raw_output_contents) == list(request.raw_input_contents)
    for put, back in zip(request.inputs, response.outputs, strict=True):
        assert (put.name, put.datatype, put.shape) == (back.name, back.datatype, back.shape)
        assert not back.HasField("contents")


# A float32 that is a signalling NaN becomes a quiet one on its way through Python's float.
QUIET = [datatype for datatype in FIELDS if datatype not in (Datatype.FP32, Datatype.FP64)]


@given(st.lists(tensors(QUIET), min_size=1, max_size=3).map(named))
def test_tensors_in_contents_come_and_go_as_they_are(inputs: dict[str, Tensor]) -> None:
    request = request_of(inputs, raw=False)
    got = called(request).request.inputs
    assert all(same(got[name], inputs[name]) for name in inputs)
    response = response_of(request, answer(**got))
    assert not response.raw_output_contents
    assert [one.contents for one in response.outputs] == [one.contents for one in request.inputs]


@given(tensors([Datatype.FP32, Datatype.FP64]))
def test_floats_in_contents_come_and_go_as_they_are(tensor: Tensor) -> None:
    request = request_of({"x": tensor}, raw=False)
    got = called(request).request.inputs["x"]
    assert got.dtype == tensor.dtype
    assert np.array_equal(got, tensor, equal_nan=True)
    assert np.array_equal(np.signbit(got), np.signbit(tensor))


def test_raw_numbers_are_not_copied() -> None:
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = called(request_of({"x": tensor}, raw=True)).request.inputs["x"]
    assert not got.flags.owndata and not got.flags.writeable


@pytest.mark.parametrize("datatype", [Datatype.FP16, Datatype.BF16])
def test_an_output_that_has_no_contents_makes_the_answer_raw(datatype: Datatype) -> None:
    request = request_of({"x": np.ones(2, np.int32)}, raw=False)
    half = np.ones(2, datatype.dtype)
    response = response_of(request, answer(wide=np.ones(2, np.float32), half=half))
    assert list(response.raw_output_contents) == [raw_of(np.ones(2, np.float32)), raw_of(half)]
    assert [one.datatype for one in response.outputs] == ["FP32", datatype]
    assert not any(one.HasField("contents") for one in response.outputs)


def test_outputs_come_in_the_order_asked_for_and_no_others() -> None:
    request = request_of({"x": np.ones(2, np.int32)}, raw=True)
    request.outputs.extend([Output(name="c"), Output(name="a")])
    assert called(request).request.outputs == ("c", "a")
    outputs = {name: np.full(1, ord(name), np.int32) for name in "abc"}
    response = response_of(request, answer("7", **outputs))
    assert [one.name for one in response.outputs] == ["c", "a"]
    assert list(response.raw_output_contents) == [raw_of(outputs["c"]), raw_of(outputs["a"])]
    assert (response.id, response.model_name, response.model_version) == ("call_1", "m", "7")


@pytest.mark.parametrize(
    ("parameters", "remaining_s", "priority", "deadline_s"),
    [
        ({}, None, Priority.NORMAL, None),
        ({"priority": 0, "timeout": 0}, 8.0, Priority.NORMAL, 108.0),
        ({"priority": 1, "timeout": 2_500_000}, 8.0, Priority.HIGH, 102.5),
        ({"priority": 2, "timeout": 9_000_000}, 8.0, Priority.NORMAL, 108.0),
        ({"priority": 3, "timeout": 1}, None, Priority.LOW, 100.000001),
    ],
)
@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
def test_priority_and_timeout_are_the_calls(
    kind: str,
    parameters: dict[str, int],
    remaining_s: float | None,
    priority: Priority,
    deadline_s: float | None,
) -> None:
    request = request_of({"x": np.ones(1)}, raw=True)
    for name, value in parameters.items():
        setattr(request.parameters[name], kind, value)
    request.parameters["colour"].string_param = "for some other server"
    got = called(request, remaining_s).request
    assert (got.priority, got.deadline_s) == (priority, deadline_s)


def raw_input(raw: bytes, datatype: str, *shape: int) -> dict[str, Any]:
    return {
        "inputs": [Input(name="x", datatype=datatype, shape=shape)],
        "raw_input_contents": [raw],
    }


def typed_input(datatype: str, *shape: int, **contents: Any) -> dict[str, Any]:
    one = Input(name="x", datatype=datatype, shape=shape, contents=contents)
    return {"inputs": [one]}


def parameter(**value: Any) -> pb.InferParameter:
    return pb.InferParameter(**value)


LENGTH_2 = struct.pack("<I", 2)
ONE = raw_input(b"\0", "INT8", 1)
WRONG = [
    ("raw_input_contents[0]", raw_input(b"\0\0\0", "FP32", 1)),
    ("raw_input_contents[0]", raw_input(b"\0" * 8, "FP32", 1)),
    ("raw_input_contents[0]", raw_input(b"\0", "FP32", 0, 3)),
    ("raw_input_contents[0]", raw_input(b"\0\1\2", "BOOL", 3)),
    ("raw_input_contents[0]", raw_input(b"\2\0", "BYTES", 1)),
    ("raw_input_contents[0]", raw_input(LENGTH_2 + b"a", "BYTES", 1)),
    ("raw_input_contents[0]", raw_input(LENGTH_2 + b"aab", "BYTES", 1)),
    ("raw_input_contents[0]", raw_input(b"\xff\xff\xff\xff", "BYTES", 1)),
    ("raw_input_contents[0]", raw_input(LENGTH_2 + b"aa", "BYTES", 2)),
    ("raw_input_contents[0]", raw_input(LENGTH_2 + b"aa", "BYTES", 0)),
    ("raw_input_contents", ONE | {"raw_input_contents": [b"\0", b"\0"]}),
    ("raw_input_contents", {"raw_input_contents": [b""]}),
    ("raw_input_contents", {"inputs": [Input()] * 2, "raw_input_contents": [b""]}),
    (
        "inputs[0].contents",
        typed_input("INT8", 1, int_contents=[0]) | {"raw_input_contents": [b""]},
    ),
    ("inputs[0].shape", raw_input(b"", "FP32", -1)),
    ("inputs[0].shape", raw_input(b"", "FP32", 0, 2**62, 2**62)),
    ("inputs[0].shape", raw_input(b"", "FP32", *[1] * 33)),
    ("inputs[0].shape", raw_input(b"", "BYTES", BYTES_ELEMENTS_MAX + 1)),
    ("inputs[0].shape", typed_input("INT8", LISTED_ELEMENTS_MAX + 1)),
    ("inputs[0].datatype", raw_input(b"", "FP8", 0)),
    ("inputs[0].datatype", raw_input(b"", "fp32", 0)),
    ("inputs[0].datatype", raw_input(b"", "", 0)),
    ("inputs[0].name", {"inputs": [Input(datatype="FP32", shape=[0])]}),
    ("inputs[0].name", {"inputs": [Input(name="x" * 257, datatype="FP32", shape=[0])]}),
    ("inputs[1].name", {"inputs": [Input(name="x", datatype="FP32", shape=[0])] * 2}),
    ("inputs", {"inputs": [Input(name="x")] * (TENSORS_MAX + 1)}),
    ("inputs[0].contents", typed_input("FP16", 1, fp32_contents=[1])),
    ("inputs[0].contents", typed_input("BF16", 0)),
    ("inputs[0].contents.fp64_contents", typed_input("FP32", 1, fp64_contents=[1])),
    (
        "inputs[0].contents.uint_contents",
        typed_input("INT8", 1, int_contents=[1], uint_contents=[1]),
    ),
    ("inputs[0].contents.int_contents", typed_input("INT8", 2, int_contents=[1])),
    ("inputs[0].contents.int_contents", typed_input("INT8", 1, int_contents=[1, 2])),
    ("inputs[0].contents.int_contents", typed_input("INT8", 1, int_contents=[128])),
    ("inputs[0].contents.int_contents", typed_input("INT16", 1, int_contents=[-32769])),
    ("inputs[0].contents.uint_contents", typed_input("UINT8", 1, uint_contents=[256])),
    ("inputs[0].contents.fp32_contents", {"inputs": [Input(name="x", datatype="FP32")]}),
    (
        "inputs[0].parameters.shared_memory_region",
        {"inputs": [Input(parameters={"shared_memory_region": parameter(string_param="r")})]},
    ),
    (
        "outputs[0].parameters.classification",
        {"outputs": [Output(parameters={"classification": parameter(int64_param=3)})]},
    ),
    ("outputs[0].name", {"outputs": [Output()]}),
    ("outputs[1].name", {"outputs": [Output(name="y"), Output(name="y")]}),
    ("parameters.sequence_id", {"parameters": {"sequence_id": parameter(int64_param=1)}}),
    ("parameters.priority", {"parameters": {"priority": parameter(uint64_param=4)}}),
    ("parameters.priority", {"parameters": {"priority": parameter(string_param="high")}}),
    ("parameters.timeout", {"parameters": {"timeout": parameter(int64_param=-1)}}),
    ("parameters.timeout", {"parameters": {"timeout": parameter()}}),
]


@pytest.mark.parametrize(("field", "fields"), WRONG)
def test_what_is_wrong_is_named(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        called(pb.ModelInferRequest(**fields))
    assert refused.value.field == field
    assert refused.value.message.startswith(f"{field}: ")
    assert len(refused.value.message) < 300


@given(st.lists(tensors(), max_size=3).map(named), st.booleans(), st.data(), st.binary(max_size=4))
def test_a_damaged_request_is_refused_or_taken_and_never_breaks(
    inputs: dict[str, Tensor], raw: bool, data: st.DataObject, patch: bytes
) -> None:
    typed = {name: one for name, one in inputs.items() if Datatype.of(one) in FIELDS}
    wire = bytearray(request_of(inputs if raw else typed, raw=raw).SerializeToString())
    at = data.draw(st.integers(0, len(wire)))
    wire[at : at + data.draw(st.integers(0, 4))] = patch
    read(bytes(wire))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_taken_and_never_break(wire: bytes) -> None:
    read(wire)


SIZES = st.integers(-2, 3) | st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)])
ODD_INPUTS = st.builds(
    Input,
    name=st.sampled_from("xyz"),
    datatype=st.sampled_from([*Datatype, "FP8"]),
    shape=st.lists(SIZES, max_size=4),
    contents=st.none()
    | st.builds(pb.InferTensorContents, int_contents=st.lists(st.integers(0, 300))),
)


@given(st.lists(ODD_INPUTS, max_size=3), st.lists(st.binary(max_size=24), max_size=3))
def test_any_tensors_are_refused_or_have_the_shape_they_say(
    inputs: list[Input], raws: list[bytes]
) -> None:
    read(pb.ModelInferRequest(inputs=inputs, raw_input_contents=raws).SerializeToString())


def read(wire: bytes) -> None:
    """What can be read and taken is as it says; nothing but `InvalidArgument` is raised."""
    try:
        request = pb.ModelInferRequest.FromString(wire)
        got = called(request).request.inputs
    except (DecodeError, InvalidArgument):
        return
    for one in request.inputs:
        assert got[one.name].shape == tuple(one.shape)
        assert got[one.name].dtype == Datatype(one.datatype).dtype
