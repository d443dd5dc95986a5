"""`inference.GRPCInferenceService` at the gateway, over the local channel."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_contracts.oip.v2 import inference_pb2_grpc
from weir_gateway.rpc.oip.elements import raw_of
from weir_kit.errors import (
    ContentBlocked,
    Internal,
    InvalidApiKey,
    InvalidArgument,
    ModelNotFound,
    PermissionDenied,
    QueueFull,
)
from weir_kit.status import raising_weir_errors

METADATA = (("authorization", "Bearer weir_sk_test"),)
FLOATS = struct.pack("<6f", *range(6))
TEXT = "Once upon a time."


@pytest.fixture
def stub(gateway: Any) -> Any:
    return inference_pb2_grpc.GRPCInferenceServiceStub(gateway.channel)


def floats(**changes: Any) -> pb.ModelInferRequest:
    """Three rows of two numbers."""
    request = pb.ModelInferRequest(
        **{"model_name": "group/sums", "raw_input_contents": [FLOATS], **changes}
    )
    request.inputs.add(name="IN", datatype="FP32", shape=[3, 2])
    return request


def of_bytes(*elements: bytes, raw: bool = True) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="group/sums")
    tensor = request.inputs.add(name="IN", datatype="BYTES", shape=[len(elements)])
    if raw:
        request.raw_input_contents.append(raw_of(elements))
    else:
        tensor.contents.bytes_contents.extend(elements)
    return request


def story(raw: bool = True, **inputs: Any) -> pb.ModelInferRequest:
    """A request for text, as a client of Triton's vLLM backend makes it."""
    request = pb.ModelInferRequest(model_name="tales", id="c-1")
    for name, value in {"text_input": "tell", **inputs}.items():
        is_flag = isinstance(value, bool)
        datatype = "BOOL" if is_flag else "BYTES"
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[1])
        if raw:
            request.raw_input_contents.append(
                bytes([value]) if is_flag else raw_of([value.encode()])
            )
        elif is_flag:
            tensor.contents.bool_contents.append(value)
        else:
            tensor.contents.bytes_contents.append(value.encode())
    return request


def text_of(response: pb.ModelInferResponse) -> str:
    assert [(one.name, one.datatype, [*one.shape]) for one in response.outputs] == [
        ("text_output", "BYTES", [1])
    ]
    if response.raw_output_contents:
        return response.raw_output_contents[0][4:].decode()
    return response.outputs[0].contents.bytes_contents[0].decode()


async def test_the_server_tells_of_itself_without_a_key(stub: Any) -> None:
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (server.name, server.version) == ("weir", "0.1.0")


async def test_of_models_nothing_is_told_without_a_key(stub: Any) -> None:
    for call, request in (
        (stub.ModelReady, pb.ModelReadyRequest(name="tales")),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name="tales")),
        (stub.ModelStatistics, pb.ModelStatisticsRequest()),
        (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
        (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="tales")),
        (stub.ModelInfer, floats()),
    ):
        with pytest.raises(InvalidApiKey), raising_weir_errors():
            await call(request)
    with pytest.raises(InvalidApiKey), raising_weir_errors():
        await stub.ModelStreamInfer(iter([floats()])).read()


async def test_a_key_is_told_of_the_models_that_it_may_use(stub: Any, house: Any) -> None:
    house.allowed_models = ("tales", "moods")
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=METADATA)
    assert [(one.name, one.state) for one in index.models] == [
        ("moods", "READY"),
        ("tales", "READY"),
    ]
    stats = await stub.ModelStatistics(pb.ModelStatisticsRequest(), metadata=METADATA)
    assert [one.name for one in stats.model_stats] == ["moods"]
    hidden = "group/sums"
    ready = await stub.ModelReady(pb.ModelReadyRequest(name=hidden), metadata=METADATA)
    assert not ready.ready
    for call, request in (
        (stub.ModelMetadata, pb.ModelMetadataRequest(name=hidden)),
        (stub.ModelStatistics, pb.ModelStatisticsRequest(name=hidden)),
    ):
        with pytest.raises(ModelNotFound), raising_weir_errors():
            await call(request, metadata=METADATA)


async def test_a_key_without_a_list_is_told_of_all(stub: Any) -> None:
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=METADATA)
    assert {"asleep", "tales", "moods"} <= {one.name for one in index.models}
    ready = await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), metadata=METADATA)
    assert "asleep" not in {one.name for one in ready.models}


async def test_metadata_is_inference_s_or_that_of_text(stub: Any) -> None:
    metadata = await stub.ModelMetadata(
        pb.ModelMetadataRequest(name="group/sums"), metadata=METADATA
    )
    assert (metadata.platform, metadata.inputs[0].name) == ("onnxruntime_onnx", "IN")
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="tales"), metadata=METADATA)
    assert {one.name: (one.datatype, [*one.shape]) for one in metadata.inputs} == {
        "text_input": ("BYTES", [1]),
        "stream": ("BOOL", [1]),
        "sampling_parameters": ("BYTES", [1]),
        "exclude_input_in_output": ("BOOL", [1]),
    }
    assert [(one.name, one.datatype) for one in metadata.outputs] == [("text_output", "BYTES")]
    for name, version, ready in (
        ("tales", "", True),
        ("tales", "7", False),
        ("moods", "2", True),
        ("moods", "7", False),
        ("nosuch", "", False),
    ):
        request = pb.ModelReadyRequest(name=name, version=version)
        assert (await stub.ModelReady(request, metadata=METADATA)).ready is ready


async def test_only_operators_load_and_unload(stub: Any) -> None:
    for call, request in (
        (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="moods")),
        (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="moods")),
    ):
        with pytest.raises(PermissionDenied, match="weir models load"), raising_weir_errors():
            await call(request, metadata=METADATA)


async def test_tensors_go_through_untouched_and_their_rows_are_charged(
    stub: Any, house: Any
) -> None:
    asked = floats(id="mine", model_version="prod")
    asked.parameters["priority"].int64_param = 1
    response = await stub.ModelInfer(asked, metadata=METADATA)
    assert house.inferred == [asked]
    assert (response.id, response.model_version) == ("mine", "2")
    assert response.raw_output_contents[0] == FLOATS
    assert house.work == [WorkUsage(requests=1, items=3, compute_us=900)]
    assert house.reserved[0].max_work.items == 3
    told = response.parameters
    assert told["weir_request_id"].string_param == house.reserved[0].request_id
    assert (told["weir_items"].int64_param, told["weir_compute_us"].int64_param) == (3, 900)
    assert told["weir_cost_nanos"].int64_param == 300
    await house.until(lambda: house.records)
    assert (house.records[0].model, house.records[0].model_version) == ("group/sums", "2")
    assert house.records[0].outcome == "stop"


async def test_a_client_s_id_is_no_request_id(stub: Any, house: Any) -> None:
    for _ in range(2):
        assert (await stub.ModelInfer(floats(id="0"), metadata=METADATA)).id == "0"
    assert len({request.request_id for request in house.reserved}) == 2


@pytest.mark.parametrize("raw", [True, False])
async def test_rules_look_at_bytes_that_are_text(stub: Any, house: Any, raw: bool) -> None:
    elements = (b"first", "zweitens ä".encode(), b"\xff\xd8\xff", b"")
    await stub.ModelInfer(of_bytes(*elements, raw=raw), metadata=METADATA)
    assert [*house.admitted[0].texts.texts] == ["first", "zweitens ä"]
    assert house.inferred[0].inputs[0].shape == [4]


@pytest.mark.parametrize("raw", [True, False])
async def test_what_a_rule_would_redact_in_tensors_is_blocked_and_free(
    stub: Any, house: Any, raw: bool
) -> None:
    house.redact_texts = True
    with pytest.raises(ContentBlocked, match="redacts"), raising_weir_errors():
        await stub.ModelInfer(of_bytes(b"me@home", raw=raw), metadata=METADATA)
    await house.until(lambda: house.records)
    assert house.inferred == house.reserved == []
    assert house.records[0].outcome == "CONTENT_BLOCKED"


async def test_bytes_that_are_none_are_refused_by_name(stub: Any, house: Any) -> None:
    request = of_bytes(b"text")
    request.raw_input_contents[0] = b"\x05\0\0\0text"
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await stub.ModelInfer(request, metadata=METADATA)
    assert caught.value.field == "raw_input_contents[0]"
    assert house.admitted == []


async def test_a_call_whose_work_is_not_told_is_a_fault_and_free(stub: Any, house: Any) -> None:
    house.tells_work = False
    with pytest.raises(Internal), raising_weir_errors():
        await stub.ModelInfer(floats(), metadata=METADATA)
    await house.until(lambda: house.released and house.records)
    assert house.work == []


async def test_a_client_that_goes_pays_nothing(stub: Any, house: Any) -> None:
    house.predict_at = asyncio.Event()
    call = stub.ModelInfer(floats(), metadata=METADATA)
    await house.until(lambda: house.predicting)
    call.cancel()
    await house.until(lambda: not house.predicting and house.released and house.records)
    assert house.work == [] and house.records[0].outcome == "disconnected"


async def test_a_stream_answers_in_order_and_goes_on_after_an_error(stub: Any, house: Any) -> None:
    house.redact_texts = True
    requests = [floats(id="1"), of_bytes(b"me@home"), floats(id="3", model_name="nosuch")]
    requests += [story(), floats(id="5")]
    call = stub.ModelStreamInfer(iter(requests), metadata=METADATA)
    first, second, third, fourth, fifth = [answer async for answer in call]
    assert (first.infer_response.id, fifth.infer_response.id) == ("1", "5")
    assert "redacts" in second.error_message
    assert "'nosuch' does not exist" in third.error_message and third.infer_response.id == "3"
    assert text_of(fourth.infer_response) == "tell" + TEXT
    for answer in (first, fourth, fifth):
        assert answer.error_message == ""
        assert answer.infer_response.parameters["triton_final_response"].bool_param
    assert [work.items for work in house.work] == [3, 3] and len(house.settled) == 1


async def test_a_stream_that_is_left_frees_the_engine(stub: Any, house: Any) -> None:
    house.hold_at = 6

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        yield story(stream=True)
        await asyncio.Event().wait()

    call = stub.ModelStreamInfer(requests(), metadata=METADATA)
    text = ""
    while text != "Once u":
        text += text_of((await call.read()).infer_response)
    call.cancel()
    await house.until(lambda: house.engines == 0 and house.settled and house.records)
    assert house.settled[0].output_tokens == 6
    assert house.records[0].outcome == "disconnected"


@pytest.mark.parametrize("raw", [True, False])
async def test_text_comes_whole_after_its_input(stub: Any, house: Any, raw: bool) -> None:
    response = await stub.ModelInfer(story(raw), metadata=METADATA)
    assert text_of(response) == "tell" + TEXT and response.id == "c-1"
    assert bool(response.raw_output_contents) is raw
    told = response.parameters
    assert told["weir_finish_reason"].string_param == "stop"
    assert told["weir_output_tokens"].int64_param == 17
    response = await stub.ModelInfer(story(raw, exclude_input_in_output=True), metadata=METADATA)
    assert text_of(response) == TEXT
    assert [usage.output_tokens for usage in house.settled] == [17, 17]


async def test_text_is_streamed_and_the_last_response_says_so(stub: Any, house: Any) -> None:
    house.text = "mail me@home"
    call = stub.ModelStreamInfer(iter([story(stream=True)]), metadata=METADATA)
    responses = [answer.infer_response async for answer in call]
    assert "".join(map(text_of, responses)) == "mail me*home"
    finals = [one.parameters["triton_final_response"].bool_param for one in responses]
    assert finals == [False] * (len(responses) - 1) + [True] and len(responses) > 2
    assert responses[-1].parameters["weir_cost_nanos"].int64_param == 16
    assert {one.id for one in responses} == {"c-1"}


async def test_sampling_parameters_reach_the_engine(stub: Any, house: Any) -> None:
    sampling = {"max_tokens": 4, "temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 7}
    request = story(sampling_parameters=json.dumps(sampling), exclude_input_in_output=True)
    assert text_of(await stub.ModelInfer(request, metadata=METADATA)) == "Once"
    [generated] = house.generated
    assert (generated.sampling.temperature, generated.sampling.top_p) == (0, 0.5)
    assert (generated.sampling.top_k, generated.sampling.seed) == (3, 7)
    request = story(exclude_input_in_output=True)
    request.parameters["max_tokens"].int64_param = 4
    request.parameters["stop"].string_param = "ce"
    assert text_of(await stub.ModelInfer(request, metadata=METADATA)) == "On"


def changed(**changes: Any) -> pb.ModelInferRequest:
    request = story()
    for name, value in changes.items():
        setattr(request.inputs[0], name, value)
    return request


def of_version(version: str) -> pb.ModelInferRequest:
    request = story()
    request.model_version = version
    return request


def with_output(name: str) -> pb.ModelInferRequest:
    request = story()
    request.outputs.add(name=name)
    return request


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (changed(name="prompt"), "inputs[0]"),
        (changed(datatype="FP32"), "inputs[0]"),
        (story(sampling_parameters="{"), "sampling_parameters"),
        (story(sampling_parameters="[1]"), "sampling_parameters"),
        (story(sampling_parameters='{"temperature": 9}'), "sampling_parameters.temperature"),
        (story(sampling_parameters='{"max_tokens": 0}'), "sampling_parameters.max_tokens"),
        (story(sampling_parameters='{"beams": 2}'), "sampling_parameters.beams"),
        (story(sampling_parameters='{"n": 2}'), "sampling_parameters.n"),
        (story(stream=True), "stream"),
        (story(stream=True, exclude_input_in_output=False), "exclude_input_in_output"),
        (story(text_input=""), "text_input"),
        (with_output("logits"), "outputs[0].name"),
        (pb.ModelInferRequest(model_name="tales"), "text_input"),
        (
            pb.ModelInferRequest(
                model_name="tales", model_version="7", inputs=story(raw=False).inputs
            ),
            "model_version",
        ),
    ],
)
async def test_what_is_wrong_about_text_is_named(
    stub: Any, house: Any, request_: pb.ModelInferRequest, field: str
) -> None:
    try:
        with raising_weir_errors():
            await stub.ModelInfer(request_, metadata=METADATA)
        raise AssertionError("it was not refused")
    except (InvalidArgument, ModelNotFound) as error:
        assert error.field == field
    assert house.reserved == []


async def test_the_queue_s_refusal_keeps_its_status(stub: Any, house: Any) -> None:
    house.errors["ModelInfer"] = QueueFull("full", retry_after_s=1.0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(floats(), metadata=METADATA)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await house.until(lambda: house.released)
