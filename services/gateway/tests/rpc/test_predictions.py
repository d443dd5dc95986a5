"""`weir.gateway.v1.PredictionService` over the local channel."""

import asyncio
from typing import Any

import grpc
import pytest

from weir_contracts.common.v1 import prediction_pb2 as common
from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_contracts.gateway.v1 import generation_pb2, generation_pb2_grpc, prediction_pb2_grpc
from weir_contracts.gateway.v1 import prediction_pb2 as pb
from weir_kit import telemetry
from weir_kit.errors import (
    Conflict,
    InvalidApiKey,
    InvalidArgument,
    ModelNotFound,
    QueueFull,
)
from weir_kit.status import raising_weir_errors

METADATA = (("authorization", "Bearer weir_sk_test"),)
WORK = WorkUsage(requests=1, items=2, compute_us=700)


@pytest.fixture
def stub(gateway: Any) -> Any:
    return prediction_pb2_grpc.PredictionServiceStub(gateway.channel)


def texts(*all_texts: str) -> common.PredictionInput:
    return common.PredictionInput(texts=common.Texts(texts=all_texts))


def ask(**changes: Any) -> pb.PredictRequest:
    return pb.PredictRequest(**{"model": "moods", "input": texts("a", "b"), **changes})


async def test_every_item_is_answered_and_the_work_is_charged(stub: Any, house: Any) -> None:
    response = await stub.Predict(ask(request_id="mine-1", version="prod"), metadata=METADATA)
    assert (response.request_id, response.model, response.version) == ("mine-1", "moods", "2")
    assert [one.classes.classes[0].label for one in response.predictions] == ["good", "good"]
    assert response.usage == WORK and house.work == [WORK]
    assert (response.cost.nanos, response.cost.currency_code) == (200, "USD")
    await house.until(lambda: house.records)
    [record] = house.records
    assert (record.outcome, record.model_version, record.work) == ("stop", "2", WORK)
    assert not record.HasField("usage") and record.charged.nanos == 200
    reserved = house.reserved[0]
    assert reserved.max_work == WorkUsage(requests=1, items=2, compute_us=20_000_000)
    assert reserved.ttl_s == 50 and reserved.input_tokens == 0


USER = common.User(history=["m"], excluded=["n"])
OF_EVERY_KIND = [
    ("vectors", texts("a")),
    ("animals", common.PredictionInput(pictures=common.Pictures(pictures=[b"\xff\xd8"]))),
    ("moods", common.PredictionInput(blobs=common.Blobs(blobs=[b"", b"%PDF"]))),
    ("ranks", common.PredictionInput(rerank=common.RerankQuery(query="q", documents=["a", "b"]))),
    ("films", common.PredictionInput(users=common.Users(users=[USER]))),
]


@pytest.mark.parametrize(("model", "asked"), OF_EVERY_KIND)
async def test_each_kind_of_input_and_the_options_reach_the_model(
    stub: Any, house: Any, model: str, asked: common.PredictionInput
) -> None:
    options = common.PredictionOptions(top_k=3, min_score=0.0, dimensions=2)
    await stub.Predict(ask(model=model, input=asked, options=options), metadata=METADATA)
    [request] = house.predicted
    assert (request.input, request.options) == (asked, options)


async def test_rules_look_at_each_text_and_the_model_reads_what_they_left(
    stub: Any, house: Any
) -> None:
    house.redact_texts = True
    response = await stub.Predict(ask(input=texts("me@home", "b")), metadata=METADATA)
    assert list(house.admitted[0].texts.texts) == ["me@home", "b"]
    assert list(house.predicted[0].input.texts.texts) == ["me*home", "b"]
    assert [finding.rule for finding in response.findings] == ["at"]


async def test_pictures_have_no_text_for_rules(stub: Any, house: Any) -> None:
    [(model, asked)] = [one for one in OF_EVERY_KIND if one[0] == "animals"]
    await stub.Predict(ask(model=model, input=asked), metadata=METADATA)
    assert house.admitted[0].HasField("texts") and not house.admitted[0].texts.texts


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ask(input=None), "input"),
        (ask(input=texts()), "input.texts.texts"),
        (ask(input=texts("a", "")), "input.texts.texts[1]"),
        (ask(options=common.PredictionOptions(top_k=-1)), "options.top_k"),
        (ask(options=common.PredictionOptions(min_score=float("nan"))), "options.min_score"),
        (ask(model="tales"), "model"),
    ],
)
async def test_a_wrong_field_is_named(
    stub: Any, house: Any, request_: pb.PredictRequest, field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await stub.Predict(request_, metadata=METADATA)
    assert caught.value.field == field
    assert house.reserved == []


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("input.texts[1]", "input.texts.texts[1]"),
        ("input.rerank.documents[1]", "input.rerank.documents[1]"),
        ("input.users[0].history[2]", "input.users.users[0].history[2]"),
        ("options.dimensions", "options.dimensions"),
        ("version", "version"),
    ],
)
async def test_what_the_model_refuses_names_the_gateway_s_field(
    stub: Any, house: Any, theirs: str, ours: str
) -> None:
    house.errors["Predict"] = InvalidArgument("not so", field=theirs)
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await stub.Predict(ask(), metadata=METADATA)
    assert caught.value.field == ours


async def test_generation_asked_of_a_classifier_is_refused(gateway: Any, house: Any) -> None:
    stub: Any = generation_pb2_grpc.GenerationServiceStub(gateway.channel)
    spec = generation_pb2.GenerationSpec(model="moods", prompt="tell")
    request = generation_pb2.GenerateRequest(spec=spec)
    with pytest.raises(InvalidArgument, match="text-class") as caught, raising_weir_errors():
        await stub.Generate(request, metadata=METADATA)
    assert caught.value.field == "spec.model"
    assert house.encoded == house.reserved == []


async def test_without_a_key_or_a_model_nothing_is_asked(stub: Any, house: Any) -> None:
    with pytest.raises(InvalidApiKey), raising_weir_errors():
        await stub.Predict(ask())
    with pytest.raises(ModelNotFound) as caught, raising_weir_errors():
        await stub.Predict(ask(model="nosuch"), metadata=METADATA)
    assert caught.value.field == "model"
    assert house.predicted == []


async def test_what_failed_is_free(stub: Any, house: Any) -> None:
    house.errors["Predict"] = QueueFull("full", retry_after_s=2.0)
    with pytest.raises(QueueFull) as caught, raising_weir_errors():
        await stub.Predict(ask(request_id="mine"), metadata=METADATA)
    assert caught.value.retry_after_s == 2.0
    await house.until(lambda: house.records)
    assert house.released == ["mine"] and house.work == []
    assert house.records[0].outcome == "QUEUE_FULL"


async def test_one_id_never_runs_twice_at_once_and_who_goes_pays_nothing(
    stub: Any, house: Any
) -> None:
    house.predict_at = asyncio.Event()
    first = stub.Predict(ask(request_id="mine"), metadata=METADATA)
    await house.until(lambda: house.predicting)
    with pytest.raises(Conflict), raising_weir_errors():
        await stub.Predict(ask(request_id="mine"), metadata=METADATA)
    first.cancel()
    await house.until(lambda: not house.predicting and house.released and house.records)
    assert house.work == [] and house.records[0].outcome == "disconnected"


async def test_the_client_s_deadline_is_the_request_s(stub: Any, house: Any) -> None:
    house.predict_at = asyncio.Event()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Predict(ask(), metadata=METADATA, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await house.until(lambda: not house.predicting and house.released and house.records)
    assert house.reserved[0].max_work.compute_us <= 200_000


async def test_the_request_id_leads_to_the_trace_and_no_content_is_in_it(
    stub: Any, house: Any
) -> None:
    response = await stub.Predict(ask(input=texts("secret")), metadata=METADATA)
    await house.until(lambda: house.records)
    spans = telemetry.ring.of_request(response.request_id)
    names = {span.name for span in spans}
    assert {"predict", "weir.inference.v1.PredictionService/Predict"} <= names
    assert {span.trace_id for span in spans} == {house.records[0].trace_id}
    assert "secret" not in repr(spans) and "weir_sk" not in repr(spans)
