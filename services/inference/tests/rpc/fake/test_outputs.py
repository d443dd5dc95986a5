"""Several outputs of one call: one stream, one prompt, one meter record."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_inference.core.engine import Delta, Finished, PromptScored, Started
from weir_inference.core.request import EndReason
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.errors import AlreadyExists, Internal, QueueFull, Unavailable, WeirError
from weir_kit.status import raising_weir_errors

FakeBench = Any
REASONS = {"stop": pb.FINISH_REASON_STOP, "length": pb.FINISH_REASON_LENGTH}


async def answers(call: Any) -> list[pb.GenerateResponse]:
    with raising_weir_errors():
        return [answer async for answer in call]


# For each output the deltas it makes; then in which order the outputs make them.
Tale = tuple[list[list[tuple[int, ...]]], list[int]]


@st.composite
def tales(draw: st.DrawFn) -> Tale:
    deltas = st.lists(st.integers(0, 49), min_size=1, max_size=4).map(tuple)
    outputs = draw(st.lists(st.lists(deltas, max_size=4), min_size=1, max_size=5))
    turns = [n for n, deltas in enumerate(outputs) for _ in range(len(deltas) + 1)]
    return outputs, draw(st.permutations(turns))


@given(tale=tales(), reason=st.sampled_from([EndReason.STOP, EndReason.LENGTH]))
@settings(max_examples=60, deadline=None)
async def test_every_output_comes_whole_and_in_order_whatever_the_interleaving(
    opened_fake: Any, tale: Tale, reason: EndReason
) -> None:
    outputs, turns = tale
    async with opened_fake() as bench:
        got = asyncio.create_task(answers(bench.generate(n=len(outputs))))
        first = await bench.engine.nth(0)
        first.tell(Started(0.25, cached_tokens=2))
        left = [[*map(Delta, deltas), Finished(reason)] for deltas in outputs]
        first.tell(left[0].pop(0))  # only now are the others asked for
        turns.remove(0)
        started = {0}
        for turn in turns:
            generation = await bench.engine.nth(turn)
            if turn not in started:
                generation.tell(Started(0.0, cached_tokens=3))
                started.add(turn)
            generation.tell(left[turn].pop(0))
        stream = await got

        assert [answer.WhichOneof("event") for answer in stream].count("started") == 1
        assert stream[0].started.queue_ms == 250
        assert stream[-1].WhichOneof("event") == "finished"
        n_output = 0
        for number, deltas in enumerate(outputs):
            told = [
                getattr(answer, kind)
                for answer in stream
                if (kind := answer.WhichOneof("event")) in ("delta", "finished")
                and getattr(answer, kind).output == number
            ]
            assert [tuple(one.token_ids) for one in told[:-1]] == deltas
            assert told[-1].reason == REASONS[reason]
            n_output += sum(map(len, deltas))
        usage = stream[-1].usage
        assert (usage.input_tokens, usage.cached_input_tokens) == (3, 2)
        assert usage.output_tokens == n_output
        assert all(generation.closed for generation in bench.engine.submitted)
        (record,) = bench.notes.metered
        assert (record.input_tokens, record.output_tokens) == (3, n_output)
        assert (record.reason, record.tenant_id) == (reason, "ten_1")


async def test_the_others_wait_for_the_prompt_and_are_seeded_one_after_the_other(
    fake: FakeBench,
) -> None:
    got = asyncio.create_task(answers(fake.generate(n=3, prompt_top_logprobs=1)))
    first = await fake.engine.nth(0)
    first.tell(Started(0.0), PromptScored((TokenLogprob(4, -1.0), TokenLogprob(5, -2.0))))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(fake.engine.submitted) == 1
    first.tell(Delta((7,)))
    await fake.engine.nth(2)
    requests = [generation.request for generation in fake.engine.submitted]
    assert [request.output for request in requests] == [0, 1, 2]
    assert [request.sampling.seed for request in requests] == [2**64 - 2, 2**64 - 1, 0]
    assert [request.prompt_top_logprobs for request in requests] == [1, None, None]
    assert {request.tenant_id for request in requests} == {"ten_1"}
    for generation in fake.engine.submitted:
        generation.tell(Finished(EndReason.STOP))
    stream = await got
    assert [one.token_id for one in stream[1].prompt_scored.logprobs] == [4, 5]


async def test_a_caller_who_leaves_frees_every_output_and_pays_for_all(fake: FakeBench) -> None:
    call = fake.generate(n=3)
    events = aiter(call)
    first = await fake.engine.nth(0)
    first.tell(Started(0.0), Delta((7, 8)))
    await fake.engine.nth(2)
    fake.engine.submitted[1].tell(Delta((9,)))
    for _ in range(3):
        await anext(events)
    call.cancel()
    async with asyncio.timeout(10):
        while not fake.notes.metered:
            await asyncio.sleep(0)
    assert all(generation.closed for generation in fake.engine.submitted)
    (record,) = fake.notes.metered
    assert (record.output_tokens, record.reason) == (3, EndReason.CANCELLED)


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_one_outputs_error_ends_them_all(fake: FakeBench, failing: int) -> None:
    got = asyncio.create_task(answers(fake.generate(n=3)))
    (await fake.engine.nth(0)).tell(Started(0.0), Delta((7,)))
    await fake.engine.nth(2)
    fake.engine.submitted[failing].tell(Internal("the engine failed to compute a step"))
    with pytest.raises(Internal):
        await got
    assert all(generation.closed for generation in fake.engine.submitted)
    (record,) = fake.notes.metered
    assert (record.output_tokens, record.reason) == (1, EndReason.ERROR)


async def test_an_engine_that_stops_meanwhile_refuses_the_others_and_frees_the_first(
    fake: FakeBench,
) -> None:
    got = asyncio.create_task(answers(fake.generate(n=2)))
    first = await fake.engine.nth(0)
    fake.engine.refuses = Unavailable("the engine is stopping")
    first.tell(Started(0.0), Delta((7,)))
    with pytest.raises(Unavailable):
        await got
    assert first.closed
    (record,) = fake.notes.metered
    assert record.reason is EndReason.CANCELLED


@pytest.mark.parametrize("refusal", [AlreadyExists("in use"), QueueFull("full", retry_after_s=2)])
async def test_what_was_never_queued_is_not_metered(fake: FakeBench, refusal: WeirError) -> None:
    fake.engine.refuses = refusal
    with pytest.raises(type(refusal)):
        await answers(fake.generate())
    assert fake.notes.metered == []
