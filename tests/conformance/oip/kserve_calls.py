"""What users of KServe's `InferenceGRPCClient` do. Run by `test_clients.py`, as the others."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest, InferResponse
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput

NUMBERS = np.array([[0, 1, 2], [100, 3, 1]])
TENSORS = {
    "BOOL": NUMBERS.astype(np.bool_),
    **{f"INT{bits}": -NUMBERS.astype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": NUMBERS.astype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "FP16": NUMBERS.astype(np.float16) / 8,
    "FP32": NUMBERS.astype(np.float32) / 7,
    "FP64": NUMBERS.astype(np.float64) / 7,
    "BYTES": np.array([[b"", b"\x00\xff"], ["größer".encode(), b"a" * 300]], np.object_),
}


def with_client(work: Callable[[InferenceGRPCClient], Awaitable[Any]]) -> Any:
    async def working() -> Any:
        async with InferenceGRPCClient(os.environ["OIP_ADDRESS"], retries=0) as client:
            return await work(client)

    return asyncio.run(working())


def infer(model: str, inputs: list[InferInput], **fields: Any) -> InferResponse:
    return with_client(lambda client: client.infer(InferRequest(model, inputs, **fields)))


def raw_input(tensor: Any, datatype: str, name: str = "x") -> InferInput:
    made = InferInput(name, list(tensor.shape), datatype)
    made.set_data_from_numpy(tensor)
    return made


@pytest.mark.parametrize("datatype", TENSORS)
def test_raw_tensors_come_back_as_they_are_and_raw(datatype):
    tensor = TENSORS[datatype]
    answer = infer(f"identity_{datatype.lower()}", [raw_input(tensor, datatype)], request_id="r1")
    (output,) = answer.outputs
    assert (answer.id, answer.model_version, output.name) == ("r1", "2", "y")
    assert (output.datatype, output.shape) == (datatype, list(tensor.shape))
    assert output.as_numpy().tolist() == tensor.tolist()
    assert output._raw_data is not None


@pytest.mark.parametrize("datatype", [one for one in TENSORS if one != "FP16"])
def test_lists_come_back_as_they_are_and_as_lists(datatype):
    tensor = TENSORS[datatype]
    values = tensor.ravel().tolist()
    put = InferInput("x", list(tensor.shape), datatype, data=values)
    (output,) = infer(f"identity_{datatype.lower()}", [put]).outputs
    assert output.data == values
    assert output._raw_data is None


def test_the_outputs_asked_for():
    inputs = [InferInput(name, [1], "INT32", data=[3]) for name in ("a", "b")]
    wanted = [RequestedOutput("sum", parameters={"binary_data": True})]
    (output,) = infer("add_sub", inputs, request_outputs=wanted, model_version="1").outputs
    assert (output.name, output.data) == ("sum", [6])


@pytest.mark.parametrize(
    ("model", "datatype", "code", "says"),
    [
        ("gone", "INT32", grpc.StatusCode.NOT_FOUND, "gone"),
        ("identity_fp32", "INT32", grpc.StatusCode.INVALID_ARGUMENT, "INT32"),
        ("identity_fp32", "FP8", grpc.StatusCode.INVALID_ARGUMENT, "datatype: one of BOOL"),
    ],
)
def test_an_error_has_its_status_and_says_why(model, datatype, code, says):
    put = InferInput("x", [1, 1], datatype)
    put._raw_data = b"\0" * 4
    with pytest.raises(grpc.aio.AioRpcError, match=says) as refused:
        infer(model, [put])
    assert refused.value.code() is code


def test_health():
    async def work(client: InferenceGRPCClient) -> list[bool]:
        return [
            await client.is_server_live(),
            await client.is_server_ready(),
            await client.is_model_ready("add_sub"),
            await client.is_model_ready("gone"),
        ]

    assert with_client(work) == [True, True, True, False]


def test_metadata_and_the_repository_by_kserves_messages():
    with grpc.insecure_channel(os.environ["OIP_ADDRESS"]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "weir"
        model = stub.ModelMetadata(pb.ModelMetadataRequest(name="identity_bytes"))
        assert (model.inputs[0].datatype, list(model.inputs[0].shape)) == ("BYTES", [-1, -1])
        name = "identity_int16"
        gone = stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name))
        ready = stub.ModelReady(pb.ModelReadyRequest(name=name)).ready
        back = stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name))
        assert (gone.model_name, gone.isUnloaded, ready) == (name, True, False)
        assert (back.model_name, back.isLoaded) == (name, True)
        assert stub.ModelReady(pb.ModelReadyRequest(name=name)).ready
