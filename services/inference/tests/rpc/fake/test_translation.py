"""What the contract says reaches the engine, and what the engine says reaches the caller."""

import asyncio
from typing import Any

import pytest

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_inference.core.engine import Delta, Finished, Started
from weir_inference.core.grammar import GrammarSpec
from weir_inference.core.request import EndReason, Priority
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.errors import InvalidArgument
from weir_kit.status import raising_weir_errors

FakeBench = Any


async def finished(call: Any, bench: FakeBench, *events: Any) -> list[pb.GenerateResponse]:
    """The answers of a call for which the engine says this, then finishes."""

    async def tell() -> None:
        (await bench.engine.nth(0)).tell(Started(0.0), *events, Finished(EndReason.STOP))

    telling = asyncio.create_task(tell())
    with raising_weir_errors():
        try:
            return [answer async for answer in call]
        finally:
            telling.cancel()


async def test_every_field_of_a_request_reaches_the_engine(fake: FakeBench) -> None:
    sampling = pb.Sampling(
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        seed=9,
        ignore_eos=True,
        min_p=0.125,
        repetition_penalty=1.5,
        presence_penalty=-1.0,
        frequency_penalty=0.75,
        logit_bias={8: -100.0, 3: 2.5},
        stop_token_ids=[5, 6],
    )
    call = fake.generate(
        sampling=sampling, top_logprobs=0, prompt_top_logprobs=20, priority=pb.PRIORITY_LOW
    )
    await finished(call, fake)
    (generation,) = fake.engine.submitted
    request, chosen = generation.request, generation.request.sampling
    assert (request.request_id, request.max_output_tokens) == ("req_1", 8)
    assert (request.top_logprobs, request.prompt_top_logprobs) == (0, 20)
    assert (request.priority, request.adapter, request.grammar) == (Priority.LOW, None, None)
    assert (chosen.temperature, chosen.top_p, chosen.top_k, chosen.seed) == (0.5, 0.25, 7, 9)
    assert (chosen.ignore_eos, chosen.min_p, chosen.repetition_penalty) == (True, 0.125, 1.5)
    assert (chosen.presence_penalty, chosen.frequency_penalty) == (-1.0, 0.75)
    assert chosen.logit_bias == ((3, 2.5), (8, -100.0))
    assert chosen.stop_token_ids == (5, 6)


async def test_what_is_unset_is_cores_default_and_zero_is_zero(fake: FakeBench) -> None:
    await finished(fake.generate(sampling=pb.Sampling(temperature=0.0)), fake)
    (generation,) = fake.engine.submitted
    request, chosen = generation.request, generation.request.sampling
    assert (chosen.temperature, chosen.top_p, chosen.repetition_penalty) == (0.0, 1.0, 1.0)
    assert (request.top_logprobs, request.prompt_top_logprobs) == (None, None)
    assert request.priority is Priority.NORMAL


@pytest.mark.parametrize(
    ("grammar", "spec"),
    [
        (pb.Grammar(json_schema="{}"), GrammarSpec("json_schema", ("{}",))),
        (pb.Grammar(regex="a+"), GrammarSpec("regex", ("a+",))),
        (pb.Grammar(lark="start: x"), GrammarSpec("lark", ("start: x",))),
        (pb.Grammar(choices=pb.Choices(texts=["a", "b"])), GrammarSpec("choices", ("a", "b"))),
    ],
)
async def test_a_grammar_is_compiled_before_the_request_is_queued(
    fake: FakeBench, grammar: pb.Grammar, spec: GrammarSpec
) -> None:
    await finished(fake.generate(sampling=pb.Sampling(grammar=grammar), n=1), fake)
    assert fake.engine.compiled == [spec]
    assert fake.engine.submitted[0].request.grammar.spec == spec


async def test_a_grammar_that_does_not_compile_is_refused_unqueued(fake: FakeBench) -> None:
    fake.engine.refuses = InvalidArgument("no regex", field="sampling.grammar")
    grammar = pb.Grammar(regex="(")
    with pytest.raises(InvalidArgument):
        await finished(fake.generate(sampling=pb.Sampling(grammar=grammar)), fake)
    assert fake.engine.submitted == fake.notes.metered == []


async def test_log_probabilities_come_with_their_tokens(fake: FakeBench) -> None:
    told = TokenLogprob(7, -0.5, ((7, -0.5), (8, -1.25)))
    stream = await finished(fake.generate(top_logprobs=2), fake, Delta((7,), (told,)))
    (one,) = stream[1].delta.logprobs
    assert (one.token_id, one.logprob) == (7, -0.5)
    assert [(top.token_id, top.logprob) for top in one.top] == [(7, -0.5), (8, -1.25)]


def grammar_of(**kind: Any) -> pb.Sampling:
    return pb.Sampling(grammar=pb.Grammar(**kind))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 17}, "n"),
        ({"n": -1}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": -1}, "top_logprobs"),
        ({"prompt_top_logprobs": 21}, "prompt_top_logprobs"),
        ({"priority": 9}, "priority"),
        ({"sampling": pb.Sampling(logit_bias={50: 1.0})}, "sampling.logit_bias"),
        ({"sampling": pb.Sampling(logit_bias={5: 101.0})}, "sampling.logit_bias"),
        ({"sampling": pb.Sampling(stop_token_ids=[50])}, "sampling.stop_token_ids"),
        ({"sampling": pb.Sampling(min_p=float("nan"))}, "sampling.min_p"),
        ({"sampling": pb.Sampling(repetition_penalty=0)}, "sampling.repetition_penalty"),
        ({"sampling": pb.Sampling(grammar=pb.Grammar())}, "sampling.grammar"),
        ({"sampling": grammar_of(regex="é" * 32769)}, "sampling.grammar.regex"),
        ({"sampling": grammar_of(choices=pb.Choices())}, "sampling.grammar.choices"),
        (
            {"sampling": grammar_of(choices=pb.Choices(texts=["a"] * 1025))},
            "sampling.grammar.choices",
        ),
    ],
)
async def test_a_bad_field_is_named_before_anything_is_compiled_or_queued(
    fake: FakeBench, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await finished(fake.generate(**fields), fake)
    assert refused.value.field == field
    assert fake.engine.compiled == fake.engine.submitted == fake.notes.metered == []


async def test_too_many_log_probabilities_for_one_message_are_refused(fake: FakeBench) -> None:
    call = fake.generate(prompt_token_ids=[3] * 50_000, prompt_top_logprobs=20)
    with pytest.raises(InvalidArgument) as refused:
        await finished(call, fake)
    assert refused.value.field == "prompt_top_logprobs"


async def test_get_load_tells_every_counter(fake: FakeBench) -> None:
    load = await fake.inference.GetLoad(pb.GetLoadRequest(), timeout=10)
    told = {field.name: value for field, value in load.ListFields()}
    assert len(told) == len(pb.GetLoadResponse.DESCRIPTOR.fields)
    assert told["queued_tokens"] == 2
    assert told["accepted_draft_tokens"] == 13
    assert told["queue_s"] == 11.0
