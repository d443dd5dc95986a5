"""Both clients do the same: each test runs over each of them."""

import asyncio
from typing import Any

import pytest

import weir
from weir.errors import (
    DeadlineExceeded,
    InvalidApiKey,
    InvalidArgument,
    RateLimited,
    Unavailable,
)
from weir_contracts.inference.v1.inference_pb2 import PRIORITY_LOW

FINDING = weir.Finding("email", "redact", "output", 1, 5)
LOGPROBS = (
    weir.TokenLogprob("Once", None, (("Once", -0.5),), 0),
    weir.TokenLogprob(" upon", -0.25, (), 4),
)
EXPECTED = weir.Generation(
    request_id="req_1",
    model="weir-tales",
    choices=(
        weir.Choice("Once upon", weir.FinishReason.LENGTH, LOGPROBS, (FINDING,)),
        weir.Choice("Long ago", weir.FinishReason.STOP),
    ),
    usage=weir.Usage(3, 1, 2),
    cost_nanos=4500,
    currency="USD",
    findings=(FINDING,),
)
PIECES = [
    weir.Piece(0, "Once", LOGPROBS[:1]),
    weir.Piece(1, "Long ago"),
    weir.Piece(0, " upon", LOGPROBS[1:]),
]


async def test_a_text_is_generated_at_once(client: Any) -> None:
    generation = await client.generate("weir-tales", "tell")
    assert generation == EXPECTED
    assert (generation.text, generation.finish_reason) == ("Once upon", weir.FinishReason.LENGTH)
    assert generation.logprobs == LOGPROBS


async def test_pieces_of_all_choices_come_with_log_probabilities(client: Any) -> None:
    assert await client.pieces("weir-tales", "tell", n=2, top_logprobs=1) == PIECES


async def test_a_text_is_streamed_and_its_result_is_there_at_the_end(client: Any) -> None:
    texts, stream = await client.told("weir-tales", "tell")
    assert texts == ["Once", " upon"]
    assert stream.result == EXPECTED and stream.request_id == "req_1"


async def test_every_option_is_sent(client: Any, room: Any) -> None:
    messages = [weir.Message("system", "be brief"), weir.Message("user", "tell")]
    await client.generate(
        "weir-tales",
        messages,
        request_id="mine",
        max_output_tokens=9,
        temperature=0.0,
        top_p=0.5,
        top_k=0,
        seed=0,
        stop="end",
        ignore_eos=True,
        min_p=0.0,
        repetition_penalty=1.5,
        presence_penalty=0.0,
        frequency_penalty=-0.5,
        logit_bias={7: -100.0},
        stop_token_ids=[3],
        json_schema={"type": "object"},
        n=2,
        top_logprobs=0,
        echo=True,
        priority="low",
    )
    await client.generate("weir-tales", "tell", temperature=None)
    full, bare = room.specs
    assert [(m.role, m.content) for m in full.chat.messages] == [
        ("system", "be brief"),
        ("user", "tell"),
    ]
    assert full.max_output_tokens == 9 and list(full.stop) == ["end"]
    sampling = full.sampling
    assert all(sampling.HasField(name) for name in ("temperature", "top_p", "top_k", "seed"))
    assert sampling.ignore_eos
    assert all(sampling.HasField(name) for name in ("min_p", "presence_penalty"))
    assert (sampling.repetition_penalty, sampling.frequency_penalty) == (1.5, -0.5)
    assert dict(sampling.logit_bias) == {7: -100.0} and list(sampling.stop_token_ids) == [3]
    assert sampling.grammar.json_schema == '{"type": "object"}'
    assert (full.n, full.top_logprobs, full.echo, full.priority) == (2, 0, True, PRIORITY_LOW)
    assert full.HasField("top_logprobs") and not bare.HasField("top_logprobs")
    assert not bare.sampling.HasField("grammar")
    assert bare.prompt == "tell" and not bare.HasField("max_output_tokens")
    assert not bare.sampling.HasField("temperature")


async def test_a_grammar_is_given_in_one_way(client: Any, room: Any) -> None:
    for options in ({"regex": "a+"}, {"lark": "a+"}, {"one_of": ["a", "b"]}, {"json_schema": "{}"}):
        await client.generate("weir-tales", "tell", **options)
    grammars = [spec.sampling.grammar for spec in room.specs]
    assert [grammar.WhichOneof("kind") for grammar in grammars] == [
        "regex",
        "lark",
        "choices",
        "json_schema",
    ]
    assert list(grammars[2].choices.texts) == ["a", "b"]
    with pytest.raises(InvalidArgument) as caught:
        await client.generate("weir-tales", "tell", regex="a", lark="b")
    assert caught.value.field == "lark"


async def test_a_result_without_a_cost_says_so(client: Any, room: Any) -> None:
    room.has_cost = False
    generation = await client.generate("weir-tales", "tell")
    assert (generation.cost_nanos, generation.currency) == (None, None)


async def test_tokens_are_counted_and_models_listed(client: Any) -> None:
    assert await client.count_tokens("weir-tales", "four") == 4
    assert await client.count_tokens("weir-tales", [weir.Message("user", "tell me")]) == 7
    assert await client.models() == [weir.Model("weir-digits", 0, 7, "image-classification", "2")]


async def test_an_error_is_its_type_with_all_that_it_says(client: Any, room: Any) -> None:
    room.error = RateLimited("slow down", retry_after_s=1.5)
    for call in (client.generate, client.told, client.count_tokens):
        with pytest.raises(RateLimited, match="slow down") as caught:
            await call("weir-tales", "tell")
        assert caught.value.retry_after_s == 1.5


async def test_leaving_a_stream_cancels_it(client: Any, room: Any) -> None:
    room.hangs = True
    texts, stream = await client.told("weir-tales", "tell", take=1)
    async with asyncio.timeout(5):
        await room.cancelled.wait()
    assert texts == ["Once"]
    with pytest.raises(RuntimeError, match="not ended"):
        _ = stream.result


async def test_a_deadline_ends_a_call(client: Any, room: Any) -> None:
    room.hangs = True
    for call in (client.generate, client.told):
        with pytest.raises(DeadlineExceeded):
            await call("weir-tales", "tell", deadline_s=0.2)


async def test_values_that_cannot_be_sent_are_refused_before_they_are(client: Any) -> None:
    for options in (
        {"max_output_tokens": 2**40},
        {"seed": -1},
        {"temperature": "hot"},
        {"priority": "urgent"},
    ):
        with pytest.raises(InvalidArgument):
            await client.generate("weir-tales", "tell", **options)
    with pytest.raises(InvalidArgument):
        await client.generate("weir-tales", "\ud800")


async def test_a_wrong_key_is_refused(room: Any) -> None:
    async with weir.AsyncClient(room.address, "weir_sk_other") as client:
        with pytest.raises(InvalidApiKey):
            await client.models()
    for key in ("", "with\nnewline", "schlüssel"):
        with pytest.raises(InvalidArgument):
            weir.Client(room.address, key)


def test_a_gateway_that_is_not_there_is_named() -> None:
    away = pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 cannot be reached")
    with weir.Client("127.0.0.1:1", "weir_sk_test") as client, away:
        client.generate("weir-tales", "tell")
