"""`weir.gateway.v1` over the local channel."""

import asyncio
from typing import Any

import grpc
import pytest

from weir_contracts.common.v1.chat_pb2 import Chat, ChatMessage
from weir_contracts.gateway.v1 import generation_pb2 as pb
from weir_contracts.gateway.v1 import generation_pb2_grpc, model_pb2, model_pb2_grpc
from weir_contracts.inference.v1.inference_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    PRIORITY_HIGH,
    Choices,
    Grammar,
    Sampling,
)
from weir_kit import telemetry
from weir_kit.errors import (
    Conflict,
    ContextLengthExceeded,
    InvalidApiKey,
    InvalidArgument,
    ModelNotAllowed,
    ModelNotFound,
    QueueFull,
)
from weir_kit.status import raising_weir_errors

METADATA = (("authorization", "Bearer weir_sk_test"),)
TEXT = "Once upon a time."
CHAT = Chat(messages=[ChatMessage(role="user", content="tell")])


@pytest.fixture
def stub(gateway: Any) -> Any:
    return generation_pb2_grpc.GenerationServiceStub(gateway.channel)


def spec(**changes: Any) -> pb.GenerationSpec:
    return pb.GenerationSpec(**{"model": "tales", "chat": CHAT, **changes})


async def test_a_text_is_generated_at_once(stub: Any, house: Any) -> None:
    request = pb.GenerateRequest(spec=spec(max_output_tokens=4), request_id="mine-1")
    response = await stub.Generate(request, metadata=METADATA)
    assert (response.request_id, response.model, response.text) == ("mine-1", "tales", "Once")
    assert response.result.finish_reason == FINISH_REASON_LENGTH
    assert (response.result.usage.input_tokens, response.result.usage.output_tokens) == (4, 4)
    assert (response.result.cost.nanos, response.result.cost.currency_code) == (8, "USD")
    assert len(house.settled) == 1


async def test_a_stream_starts_goes_on_and_finishes(stub: Any, house: Any) -> None:
    house.text = "mail me@home"
    call = stub.StreamGenerate(pb.StreamGenerateRequest(spec=spec()), metadata=METADATA)
    events = [event async for event in call]
    assert events[0].started.request_id.startswith("req_")
    assert "".join(event.delta.text for event in events[1:-1]) == "mail me*home"
    assert all(event.delta.text for event in events[1:-1])
    result = events[-1].finished
    assert result.finish_reason == FINISH_REASON_STOP
    assert [finding.rule for finding in result.findings] == ["at"]
    assert result.cost.nanos == 16


async def test_sampling_and_stop_reach_the_peers(stub: Any, house: Any) -> None:
    sampling = Sampling(
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        seed=0,
        ignore_eos=True,
        min_p=0.0,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        logit_bias={0: 0.0},
        stop_token_ids=[0],
        grammar=Grammar(choices=Choices(texts=["a"])),
    )
    request = pb.GenerateRequest(spec=spec(sampling=sampling, stop=[" upon"]))
    assert (await stub.Generate(request, metadata=METADATA)).text == "Once"
    assert house.generated[0].sampling == sampling
    assert list(house.decoder_options[0].stop) == [" upon"]


async def test_choices_have_their_texts_tokens_and_findings(stub: Any, house: Any) -> None:
    house.text, house.more_texts = "Once", ("me@home",)
    wanted = spec(n=2, top_logprobs=1, prompt="tell ", echo=True, priority=PRIORITY_HIGH)
    response = await stub.Generate(pb.GenerateRequest(spec=wanted), metadata=METADATA)
    first, second = response.result.choices
    assert response.text == first.text == "tell Once" and second.text == "tell me*home"
    assert "".join(token.text for token in first.logprobs) == "tell Once"
    assert "tell me".startswith("".join(token.text for token in second.logprobs))
    assert not first.logprobs[0].HasField("logprob") and first.logprobs[1].logprob == -0.5
    assert [(top.text, top.logprob) for top in first.logprobs[5].top] == [("O", -0.5)]
    assert first.logprobs[5].start == 5
    assert not first.findings and [finding.rule for finding in second.findings] == ["at"]
    assert first.finish_reason == FINISH_REASON_STOP
    assert response.result.usage.output_tokens == 4 + 7
    assert house.generated[0].priority == PRIORITY_HIGH


async def test_a_stream_s_deltas_say_whose_they_are(stub: Any, house: Any) -> None:
    house.more_texts = ("Long ago.",)
    request = pb.StreamGenerateRequest(spec=spec(n=2, top_logprobs=0))
    texts, told = ["", ""], ["", ""]
    async for event in stub.StreamGenerate(request, metadata=METADATA):
        texts[event.delta.choice] += event.delta.text
        told[event.delta.choice] += "".join(token.text for token in event.delta.logprobs)
        result = event.finished
    assert texts == told == [TEXT, "Long ago."]
    assert [choice.finish_reason for choice in result.choices] == [FINISH_REASON_STOP] * 2


async def test_unset_sampling_stays_unset(stub: Any, house: Any) -> None:
    await stub.Generate(pb.GenerateRequest(spec=spec(prompt="tell")), metadata=METADATA)
    assert house.generated[0].sampling == Sampling()
    assert house.encoded[0].texts.texts == ["tell"]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("spec.model", {"model": ""}),
        ("spec.input", {"chat": None}),
        ("spec.prompt", {"prompt": ""}),
        ("spec.chat.messages", {"chat": Chat()}),
        ("spec.chat.messages[0].role", {"chat": Chat(messages=[ChatMessage(content="x")])}),
        ("spec.max_output_tokens", {"max_output_tokens": 0}),
        ("spec.sampling.temperature", {"sampling": Sampling(temperature=3)}),
        ("spec.sampling.top_p", {"sampling": Sampling(top_p=0)}),
        ("spec.sampling.logit_bias", {"sampling": Sampling(logit_bias={1: 200})}),
        ("spec.sampling.grammar", {"sampling": Sampling(grammar=Grammar(regex=""))}),
        ("spec.n", {"n": 17}),
        ("spec.top_logprobs", {"top_logprobs": 21}),
        ("spec.echo", {"echo": True}),
        ("spec.priority", {"priority": 9}),
        ("spec.stop", {"stop": [""]}),
    ],
)
async def test_a_wrong_field_is_named_as_the_request_has_it(
    stub: Any, field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await stub.Generate(pb.GenerateRequest(spec=spec(**changes)), metadata=METADATA)
    assert caught.value.field == field


async def test_errors_keep_their_type_over_the_wire(stub: Any, house: Any) -> None:
    async def generate(request_id: str = "", metadata: Any = METADATA, **changes: Any) -> None:
        request = pb.GenerateRequest(spec=spec(**changes), request_id=request_id)
        with raising_weir_errors():
            await stub.Generate(request, metadata=metadata)

    with pytest.raises(InvalidApiKey):
        await generate(metadata=())
    with pytest.raises(InvalidApiKey):
        await generate(metadata=(("authorization", "Bearer weir_sk_other"),))
    with pytest.raises(ModelNotFound) as no_model:
        await generate(model="nosuch")
    assert no_model.value.field == "spec.model"
    with pytest.raises(ContextLengthExceeded) as too_long:
        await generate(max_output_tokens=600)
    assert too_long.value.field == "spec.max_output_tokens"
    with pytest.raises(InvalidArgument):
        await generate(request_id="not an id")
    house.errors["Generate"] = QueueFull("full", retry_after_s=2.0)
    with pytest.raises(QueueFull) as full:
        await generate()
    assert full.value.retry_after_s == 2.0


async def test_one_id_never_runs_twice_at_once(stub: Any, house: Any) -> None:
    house.hold_at = 3
    request = pb.StreamGenerateRequest(spec=spec(), request_id="mine")
    first = stub.StreamGenerate(request, metadata=METADATA)
    await first.read()
    with pytest.raises(Conflict), raising_weir_errors():
        await stub.Generate(pb.GenerateRequest(spec=spec(), request_id="mine"), metadata=METADATA)
    first.cancel()
    await house.until(lambda: house.settled)


async def test_cancelling_frees_the_engine_and_settles_what_was_released(
    stub: Any, house: Any
) -> None:
    house.hold_at = 6
    call = stub.StreamGenerate(pb.StreamGenerateRequest(spec=spec()), metadata=METADATA)
    text = ""
    while text != "Once u":
        text += (await call.read()).delta.text
    call.cancel()
    await house.until(lambda: house.engines == 0 and house.settled and house.records)
    [usage] = house.settled
    assert (usage.input_tokens, usage.output_tokens) == (4, 6)
    assert house.records[0].outcome == "disconnected"


async def test_the_client_s_deadline_is_the_request_s(stub: Any, house: Any) -> None:
    house.hold_at = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(pb.GenerateRequest(spec=spec()), metadata=METADATA, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await house.until(lambda: house.engines == 0 and house.records)
    assert len(house.settled) + len(house.released) == 1
    assert all(usage.output_tokens == 0 for usage in house.settled)


async def test_tokens_are_counted_free_of_charge(stub: Any, house: Any) -> None:
    request = pb.CountTokensRequest(model="tales", chat=CHAT)
    assert (await stub.CountTokens(request, metadata=METADATA)).input_tokens == 4
    house.allowed_models = ("group/rhymes",)
    with pytest.raises(ModelNotAllowed), raising_weir_errors():
        await stub.CountTokens(request, metadata=METADATA)
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await stub.CountTokens(pb.CountTokensRequest(model="tales"), metadata=METADATA)
    assert caught.value.field == "input"
    assert house.reserved == []


async def test_models_are_listed_as_far_as_the_key_may_use_them(gateway: Any, house: Any) -> None:
    stub: Any = model_pb2_grpc.ModelServiceStub(gateway.channel)
    listed = await stub.ListModels(model_pb2.ListModelsRequest(), metadata=METADATA)
    told = {model.name: (model.task, model.version) for model in listed.models}
    assert [*told] == sorted(told)
    assert told["tales"] == told["group/rhymes"] == ("generation", "")
    assert told["moods"] == ("text-classification", "2")
    house.allowed_models = ("tales",)
    listed = await stub.ListModels(model_pb2.ListModelsRequest(), metadata=METADATA)
    assert [(model.name, model.context_tokens) for model in listed.models] == [("tales", 512)]
    with pytest.raises(ModelNotFound) as caught, raising_weir_errors():
        await stub.GetModel(model_pb2.GetModelRequest(name="group/rhymes"), metadata=METADATA)
    assert caught.value.field == "name"
    got = await stub.GetModel(model_pb2.GetModelRequest(name="tales"), metadata=METADATA)
    assert got.model.created_at_s == 1_700_000_000


async def test_the_request_id_leads_to_the_trace(stub: Any, house: Any) -> None:
    response = await stub.Generate(pb.GenerateRequest(spec=spec()), metadata=METADATA)
    await house.until(lambda: house.records)
    await asyncio.sleep(0)
    spans = telemetry.ring.of_request(response.request_id)
    names = {span.name for span in spans if span.service == "gateway"}
    assert {"generate", "weir.gateway.v1.GenerationService/Generate"} <= names
    assert {span.trace_id for span in spans} == {house.records[0].trace_id}
