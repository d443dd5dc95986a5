"""An engine on an upstream that answers well: what it asks for, and what comes of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from weir_inference.core.engine import Delta, Event, Finished, Generation, Started
from weir_inference.core.grammar import GrammarSpec
from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.clock import SystemClock
from weir_kit.errors import DeadlineExceeded, InvalidArgument, Unavailable
from weir_kit.telemetry import ring, span

EOS, SPECIAL = 2, 1


def request(name: str = "req", n_max: int = 8, **changes: Any) -> Request:
    return Request(name, (1, 5, 6), n_max, **{"sampling": Sampling(seed=1), **changes})


async def events_of(generation: Generation) -> list[Event]:
    return [event async for event in generation.events()]


def tokens_of(events: list[Event]) -> list[int]:
    return [i for event in events if isinstance(event, Delta) for i in event.token_ids]


async def test_the_upstreams_own_tokens_come_out(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.answers(
        upstream.tokens(9),
        upstream.tokens(SPECIAL, 10),
        upstream.tokens(11, EOS, reason="stop"),
        upstream.usage(3, 5),
    )
    generation = engine.submit(request())
    events = await events_of(generation)
    assert isinstance(events[0], Started)
    assert tokens_of(events) == [9, SPECIAL, 10, 11]
    assert events[-1] == Finished(EndReason.STOP)
    ending = generation.close()
    assert (ending.reason, ending.input_tokens, ending.output_tokens) == (EndReason.STOP, 3, 4)
    assert engine.usage_mismatches == 0
    assert engine.load().running_requests == 0
    (received,) = upstream.received
    assert received.path == "/v1/completions"
    assert received.body == {
        "model": "big",
        "prompt": [1, 5, 6],
        "max_tokens": 8,
        "temperature": 1.0,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }


async def test_text_in_and_out_becomes_tokens(
    upstream: Any, open_engine: Any, tokenizer: Path
) -> None:
    engine, theirs = await open_engine(token_ids=False), Tokenizer.from_file(str(tokenizer))
    upstream.answers(upstream.text(" hello"), upstream.text(", 中", reason="length"))
    prompt = tuple(theirs.encode("hello").ids)
    generation = engine.submit(Request("a", prompt, 20, Sampling()))
    events = await events_of(generation)
    assert upstream.received[0].body["prompt"] == "hello"
    assert "return_token_ids" not in upstream.received[0].body
    token_ids = tokens_of(events)
    assert theirs.decode([*prompt, *token_ids]) == "hello hello, 中"
    assert generation.close().output_tokens == len(token_ids) == 1 + 2 + 3
    assert events[-1] == Finished(EndReason.LENGTH)


async def test_every_parameter_is_passed_on(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.answers(upstream.tokens(9, reason="length"))
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=(1 << 64) - 1,
        ignore_eos=True,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.3,
        logit_bias=((7, -1.0),),
        stop_token_ids=(8,),
    )
    await events_of(engine.submit(request(sampling=sampling)))
    body = upstream.received[0].body
    assert {key: body[key] for key in body.keys() - {"prompt", "model", "stream_options"}} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": (1 << 63) - 1,
        "ignore_eos": True,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "logit_bias": {"7": -1.0},
        "stop_token_ids": [8],
        "max_tokens": 8,
        "stream": True,
        "return_token_ids": True,
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sampling": Sampling(top_k=4)}, "sampling.top_k"),
        ({"sampling": Sampling(min_p=0.1)}, "sampling.min_p"),
        ({"sampling": Sampling(ignore_eos=True)}, "sampling.ignore_eos"),
        ({"sampling": Sampling(stop_token_ids=(3,))}, "sampling.stop_token_ids"),
        ({"sampling": Sampling(repetition_penalty=1.1)}, "sampling.repetition_penalty"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"prompt_top_logprobs": 1}, "prompt_top_logprobs"),
    ],
)
async def test_what_an_upstream_of_texts_cannot_do_is_refused(
    upstream: Any, open_engine: Any, changes: dict[str, Any], field: str
) -> None:
    engine = await open_engine(token_ids=False)
    with pytest.raises(InvalidArgument) as told:
        engine.submit(request(**changes))
    assert told.value.field == field
    assert not upstream.received
    with pytest.raises(InvalidArgument) as told:
        await engine.compile_grammar(GrammarSpec("regex", ("a+",)))
    assert told.value.field == "sampling.grammar.regex"


async def test_log_probabilities_come_with_their_tokens(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    logprobs = {
        "tokens": ["token_id:9", f"token_id:{EOS}"],
        "token_logprobs": [-2.0, -0.1],
        "top_logprobs": [{"token_id:9": -2.0, "token_id:7": -0.5}, {f"token_id:{EOS}": -0.1}],
    }
    upstream.answers(upstream.tokens(9, EOS, reason="stop", logprobs=logprobs))
    events = await events_of(engine.submit(request(top_logprobs=1)))
    assert events[1] == Delta((9,), (TokenLogprob(9, -2.0, ((7, -0.5),)),))
    body = upstream.received[0].body
    assert (body["logprobs"], body["return_tokens_as_token_ids"]) == (1, True)
    upstream.answers(upstream.tokens(9, reason="length"))
    with pytest.raises(InvalidArgument) as told:
        await events_of(engine.submit(request(top_logprobs=1)))
    assert told.value.field == "top_logprobs"


async def test_an_answer_longer_than_asked_for_is_cut(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()

    async def babbles(answer: Any) -> None:
        await answer.head()
        await answer.chunks(upstream.tokens(5, 6), upstream.tokens(7, 8))
        await answer.until_gone()
        upstream.gone.set()

    upstream.plays(babbles)
    generation = engine.submit(request(n_max=3))
    events = await events_of(generation)
    assert tokens_of(events) == [5, 6, 7]
    assert events[-1] == Finished(EndReason.LENGTH)
    assert generation.close().output_tokens == 3
    await upstream.gone.wait()


async def test_closing_stops_the_upstream(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.plays(upstream.holds)
    generation = engine.submit(request())
    async for event in generation.events():
        if isinstance(event, Delta):
            break
    assert engine.load().running_requests == 1
    assert generation.close().reason is EndReason.CANCELLED
    await asyncio.wait_for(upstream.gone.wait(), 10)
    assert engine.load().running_requests == 0


async def test_a_deadline_stops_the_upstream(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.plays(upstream.holds)
    deadline_s = SystemClock().monotonic_s() + 0.2
    generation = engine.submit(request(deadline_s=deadline_s))
    with pytest.raises(DeadlineExceeded):
        await events_of(generation)
    assert generation.close().reason is EndReason.DEADLINE
    await asyncio.wait_for(upstream.gone.wait(), 10)


async def test_stopping_ends_what_is_under_way(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.plays(upstream.holds)
    generation = engine.submit(request())
    events = generation.events()
    assert isinstance(await anext(events), Started)
    await engine._requests.stop()
    with pytest.raises(Unavailable):
        async for _ in events:
            pass
    await asyncio.wait_for(upstream.gone.wait(), 10)


async def test_requests_run_side_by_side_and_reuse_connections(
    upstream: Any, open_engine: Any
) -> None:
    engine = await open_engine()
    both = asyncio.Barrier(2)

    async def meets(answer: Any) -> None:
        await answer.head()
        await answer.chunks(upstream.tokens(5))
        await both.wait()
        await answer.chunks(upstream.tokens(6, reason="length"))
        await answer.bytes(b"data: [DONE]\n\n")
        await answer.end()

    upstream.plays(meets)
    for _ in range(2):
        generations = [engine.submit(request(name)) for name in ("a", "b")]
        for events in await asyncio.gather(*map(events_of, generations)):
            assert tokens_of(events) == [5, 6]
    assert upstream.connections == 2


async def test_the_upstream_joins_the_trace(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.answers(upstream.tokens(9, reason="length"))
    with span("call") as call:
        await events_of(engine.submit(request()))
    (ours,) = [one for one in ring.of_trace(call.context.trace_id) if one.name == "upstream"]
    assert (ours.parent_span_id, ours.kind, ours.status) == (call.context.span_id, "client", "OK")
    assert upstream.received[0].headers["traceparent"] == f"00-{ours.trace_id}-{ours.span_id}-01"
