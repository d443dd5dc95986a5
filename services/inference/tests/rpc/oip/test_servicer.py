"""What clients ask reaches the models, and what the models say reaches the clients."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_inference.core.request import Priority
from weir_kit.admission import METADATA_KEY
from weir_kit.errors import (
    Internal,
    InvalidArgument,
    ModelNotFound,
    QueueFull,
    Unauthenticated,
    WeirError,
)
from weir_kit.status import raising_weir_errors

Bench = Any
ADMITTED = ((METADATA_KEY, "yes"),)


def request(value: int = 7, *, model: str = "echo", **fields: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(
        model_name=model,
        id=f"call_{value}",
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT32", shape=[1])],
        raw_input_contents=[value.to_bytes(4, "little")],
        **fields,
    )


async def infer(
    oip: Bench, asked: pb.ModelInferRequest, metadata: Any = ADMITTED
) -> pb.ModelInferResponse:
    with raising_weir_errors():
        return await oip.stub.ModelInfer(asked, metadata=metadata, timeout=10)


async def work_of(oip: Bench, asked: pb.ModelInferRequest) -> dict[str, str]:
    """What the trailing metadata tells."""
    calling: Any = oip.stub.ModelInfer(asked, metadata=ADMITTED, timeout=10)
    await calling
    return dict(await calling.trailing_metadata())


async def test_a_call_reaches_the_model_with_its_admission_and_its_answer_comes_back(
    oip: Bench,
) -> None:
    asked = request(model_version="2")
    asked.parameters["priority"].uint64_param = 1
    asked.parameters["timeout"].int64_param = 500_000
    answer = await infer(oip, asked)
    assert (answer.id, answer.model_name, answer.model_version) == ("call_7", "echo", "2")
    assert list(answer.raw_output_contents) == list(asked.raw_input_contents)
    (call,) = oip.models.calls
    assert (call.admission_token, call.request_id) == ("yes", "call_7")
    assert (call.model, call.version) == ("echo", "2")
    assert call.request.priority is Priority.HIGH
    assert call.request.deadline_s == oip.clock.monotonic_s() + 0.5
    assert np.array_equal(call.request.inputs["x"], np.array([7], np.int32))


async def test_the_work_is_told_beside_the_answer(oip: Bench) -> None:
    work = await work_of(oip, request())
    assert (work["weir-items"], work["weir-compute-us"]) == ("2", "350")


async def test_the_deadline_is_the_calls_where_that_is_sooner(oip: Bench) -> None:
    asked = request()
    asked.parameters["timeout"].int64_param = 60_000_000
    await infer(oip, asked)
    left_s = oip.models.calls[0].request.deadline_s - oip.clock.monotonic_s()
    assert 0 < left_s <= 10


async def test_no_version_asks_for_the_default_one_and_the_answer_names_it(oip: Bench) -> None:
    assert (await infer(oip, request())).model_version == "3"
    assert oip.models.calls[0].version == ""


@pytest.mark.parametrize(
    ("asked", "metadata", "error", "field"),
    [
        (request(), (), Unauthenticated, None),
        (request(model="gone"), ADMITTED, ModelNotFound, "model_name"),
        (request(model="full"), ADMITTED, QueueFull, None),
        (request(model="broken"), ADMITTED, Internal, None),
        (pb.ModelInferRequest(raw_input_contents=[b""]), (), InvalidArgument, "raw_input_contents"),
    ],
)
async def test_an_error_is_the_calls_status(
    oip: Bench,
    asked: pb.ModelInferRequest,
    metadata: Any,
    error: type[WeirError],
    field: str | None,
) -> None:
    with pytest.raises(error) as refused:
        await infer(oip, asked, metadata)
    assert type(refused.value) is error
    assert refused.value.field == field
    assert "secret" not in refused.value.message


async def streamed(
    oip: Bench, requests: Sequence[pb.ModelInferRequest]
) -> list[pb.ModelStreamInferResponse]:
    async def sent() -> AsyncIterator[pb.ModelInferRequest]:
        for one in requests:
            yield one

    with raising_weir_errors():
        call = oip.stub.ModelStreamInfer(sent(), metadata=ADMITTED, timeout=10)
        return [answer async for answer in call]


async def test_a_stream_answers_each_request_in_order_and_outlives_errors(oip: Bench) -> None:
    requests = [request(n) for n in range(100)]
    requests[3] = request(3, model="full")
    requests[5].raw_input_contents.append(b"")
    answers = await streamed(oip, requests)
    assert [one.infer_response.id for one in answers] == [one.id for one in requests]
    failed = {n: one.error_message for n, one in enumerate(answers) if one.error_message}
    assert failed[3] == "the queue is full"
    assert failed[5].startswith("raw_input_contents: ")
    assert len(failed) == 2
    for n in set(range(100)) - set(failed):
        answer = answers[n].infer_response
        assert list(answer.raw_output_contents) == [n.to_bytes(4, "little")]
        assert answer.parameters["triton_final_response"].bool_param


async def test_a_fault_of_ours_ends_the_stream(oip: Bench) -> None:
    with pytest.raises(Internal):
        await streamed(oip, [request(), request(model="broken")])


async def test_a_stream_that_the_client_leaves_ends_what_it_runs(oip: Bench) -> None:
    running, ended = asyncio.Event(), asyncio.Event()

    async def never(call: Any) -> Any:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    oip.models.infer = never

    async def sent() -> AsyncIterator[pb.ModelInferRequest]:
        yield request()
        await asyncio.Event().wait()

    call = oip.stub.ModelStreamInfer(sent(), metadata=ADMITTED, timeout=10)
    async with asyncio.timeout(10):
        await running.wait()
        call.cancel()
        await ended.wait()


async def test_health_and_metadata(oip: Bench) -> None:
    stub = oip.stub
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    oip.models.ready = False
    assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="echo"))).ready
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="echo", version="4"))).ready
    server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (server.name, server.version) == ("weir", "1.2.3")
    assert "model_repository" in server.extensions
    model = await stub.ModelMetadata(pb.ModelMetadataRequest(name="echo"))
    assert (model.name, list(model.versions), model.platform) == ("echo", ["2", "3"], "fake")
    for (one,) in (model.inputs, model.outputs):
        assert (one.name, one.datatype, list(one.shape)) == ("x", "BF16", [-1, 4])
    with pytest.raises(ModelNotFound):
        await _raised(stub.ModelMetadata(pb.ModelMetadataRequest(name="gone")))


async def test_the_index_tells_of_all_or_of_what_is_ready(oip: Bench) -> None:
    index = await oip.stub.RepositoryIndex(pb.RepositoryIndexRequest())
    assert [(one.name, one.version, one.state, one.reason) for one in index.models] == [
        ("echo", "3", "READY", ""),
        ("slow", "1", "LOADING", "it is large"),
    ]
    ready = await oip.stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
    assert [one.name for one in ready.models] == ["echo"]


async def test_a_model_is_loaded_and_unloaded_by_tritons_field_or_by_kserves(oip: Bench) -> None:
    for fields in ({"model_name": "echo"}, {"repository_name": "echo"}):
        loaded = await oip.stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(**fields))
        assert (loaded.model_name, loaded.isLoaded) == ("echo", True)
        asked = pb.RepositoryModelUnloadRequest(**fields)
        asked.parameters["unload_dependents"].bool_param = False
        unloaded = await oip.stub.RepositoryModelUnload(asked)
        assert (unloaded.model_name, unloaded.isUnloaded) == ("echo", True)
    assert oip.models.changes == ["load echo", "unload echo"] * 2


CONFIG = {"config": pb.ModelRepositoryParameter(string_param="{}")}


@pytest.mark.parametrize(
    ("method", "asked", "error", "field"),
    [
        (
            "RepositoryIndex",
            pb.RepositoryIndexRequest(repository_name="r"),
            InvalidArgument,
            "repository_name",
        ),
        (
            "RepositoryModelLoad",
            pb.RepositoryModelLoadRequest(repository_name="r", model_name="echo"),
            InvalidArgument,
            "repository_name",
        ),
        (
            "RepositoryModelLoad",
            pb.RepositoryModelLoadRequest(model_name="echo", parameters=CONFIG),
            InvalidArgument,
            "parameters",
        ),
        (
            "RepositoryModelUnload",
            pb.RepositoryModelUnloadRequest(model_name="gone"),
            ModelNotFound,
            "model_name",
        ),
    ],
)
async def test_what_the_repository_cannot_do_is_refused(
    oip: Bench, method: str, asked: Any, error: type[WeirError], field: str
) -> None:
    with pytest.raises(error) as refused:
        await _raised(getattr(oip.stub, method)(asked))
    assert refused.value.field == field
    assert oip.models.changes == []


async def test_statistics_tell_how_often_and_how_long(oip: Bench) -> None:
    asked = pb.ModelStatisticsRequest(name="echo", version="3")
    (one,) = (await oip.stub.ModelStatistics(asked)).model_stats
    assert oip.models.asked_statistics == [("echo", "3")]
    assert (one.name, one.version, one.last_inference) == ("echo", "3", 1_800_000_000_250)
    assert (one.inference_count, one.execution_count) == (21, 4)
    stats = one.inference_stats
    assert (stats.success.count, stats.success.ns) == (7, 1_750_000_000)
    assert (stats.fail.count, stats.queue.count, stats.queue.ns) == (2, 9, 500_000_000)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (4, 1_250_000_000)


async def _raised(call: Any) -> Any:
    with raising_weir_errors():
        return await call
