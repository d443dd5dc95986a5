"""What an upstream does wrong: told to the caller by kind, to the operator in numbers."""

import asyncio
import logging
from typing import Any

import pytest

from weir_inference.core.engine import Delta, Event, Finished, Generation
from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_kit.clock import ManualClock
from weir_kit.errors import (
    ContentBlocked,
    ContextLengthExceeded,
    Internal,
    InvalidArgument,
    QueueFull,
    Unavailable,
    WeirError,
)

SAID = "words of the prompt"


def request(name: str = "req") -> Request:
    return Request(name, (1, 5, 6), 8, Sampling(seed=1))


async def events_of(generation: Generation) -> list[Event]:
    return [event async for event in generation.events()]


async def error_of(generation: Generation) -> WeirError:
    with pytest.raises(WeirError) as told:
        await events_of(generation)
    assert generation.close().reason is EndReason.ERROR
    return told.value


@pytest.mark.parametrize(
    ("status", "body", "kind", "field"),
    [
        (400, b'{"error": {"message": "words of the prompt"}}', InvalidArgument, None),
        (400, b'{"error": {"param": "top_p"}}', InvalidArgument, "sampling.top_p"),
        (422, b"words of the prompt", InvalidArgument, None),
        (
            400,
            b'{"error": {"code": "context_length_exceeded"}}',
            ContextLengthExceeded,
            "prompt_token_ids",
        ),
        (413, b"", ContextLengthExceeded, "prompt_token_ids"),
        (401, b"words of the prompt", Internal, None),
        (403, b"words of the prompt", Internal, None),
        (404, b'{"error": {"message": "words of the prompt"}}', Unavailable, None),
        (429, b"words of the prompt", QueueFull, None),
        (500, b"words of the prompt" * 10_000, Unavailable, None),
        (503, b"[" * 10_000, Unavailable, None),
        (400, b"[" * 60_000, InvalidArgument, None),
        (204, b"", Unavailable, None),
    ],
)
async def test_an_error_by_status_is_told_by_kind_alone(
    upstream: Any,
    open_engine: Any,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
    kind: type[WeirError],
    field: str | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = await open_engine()
    upstream.plays(lambda answer: answer.error(status, body))
    error = await error_of(engine.submit(request()))
    assert type(error) is kind
    assert error.field == field
    assert SAID not in error.message + caplog.text
    assert f"status {status}" in caplog.text
    assert (error.retry_after_s is not None) == (kind in (QueueFull, Unavailable))


async def test_a_redirect_is_not_followed(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine(retries=2)
    upstream.plays(
        lambda answer: answer.error(307, location=f"http://127.0.0.1:{upstream.port}/v1")
    )
    assert type(await error_of(engine.submit(request()))) is Unavailable
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    "fault",
    [
        b"data: {\n\n",
        b'data: {"choices": [{"token_ids": [99999]}]}\n\n',
        b'data: {"choices": [{"text": "a", "finish_reason": "tired"}]}\n\n',
        b"data: \xff\n\n",
        b"data: " + b"x" * 300_000,
        b": keep\n" * 100_000,
        b'data: {"error": {"message": "words of the prompt", "code": 500}}\n\n',
        b"data: [DONE]\n\n",
        b"",
    ],
)
async def test_an_answer_gone_wrong_ends_the_request_after_what_was_good(
    upstream: Any, open_engine: Any, caplog: pytest.LogCaptureFixture, fault: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = await open_engine(retries=2)

    async def goes_wrong(answer: Any) -> None:
        await answer.head()
        await answer.chunks(upstream.tokens(5))
        await answer.bytes(*([fault] if fault else []))
        await answer.end()

    upstream.plays(goes_wrong)
    generation = engine.submit(request())
    found: list[Event] = []
    with pytest.raises(Unavailable) as told:
        async for event in generation.events():
            found.append(event)
    assert found[1:] == [Delta((5,))]
    assert generation.close().output_tokens == 1
    assert SAID not in told.value.message + caplog.text
    assert len(upstream.received) == 1, "nothing is tried again after the first token"


@pytest.mark.parametrize(
    "headers",
    [{"content_type": "application/json"}, {"content_encoding": "gzip"}],
)
async def test_an_answer_of_another_kind_is_refused(
    upstream: Any, open_engine: Any, headers: dict[str, str]
) -> None:
    engine = await open_engine()

    async def answers(answer: Any) -> None:
        await answer.head(**headers)
        await answer.chunks(upstream.tokens(5, reason="length"))
        await answer.end()

    upstream.plays(answers)
    assert type(await error_of(engine.submit(request()))) is Unavailable


async def test_a_body_without_end_is_cut(
    upstream: Any, open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await open_engine()

    async def never_ends(answer: Any) -> None:
        await answer.head()
        while True:
            await answer.bytes(b"data: {}\n\n" * 5000)

    upstream.plays(never_ends)
    assert type(await error_of(engine.submit(request()))) is Unavailable
    assert "an answer is larger than" in caplog.text


async def test_a_connection_lost_half_way_ends_the_request(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine(retries=2)

    async def dies(answer: Any) -> None:
        await answer.head()
        await answer.chunks(upstream.tokens(5))
        await answer.bytes(b'data: {"choi')
        answer.die()

    upstream.plays(dies)
    assert type(await error_of(engine.submit(request()))) is Unavailable
    assert len(upstream.received) == 1


async def test_a_connection_lost_after_the_last_token_is_no_loss(
    upstream: Any, open_engine: Any
) -> None:
    engine = await open_engine()

    async def dies(answer: Any) -> None:
        await answer.head()
        await answer.chunks(upstream.tokens(5, reason="length"))
        answer.die()

    upstream.plays(dies)
    events = await events_of(engine.submit(request()))
    assert events[1:] == [Delta((5,)), Finished(EndReason.LENGTH)]


@pytest.mark.parametrize("n_tokens", [0, 1])
async def test_silence_ends_the_request(upstream: Any, open_engine: Any, n_tokens: int) -> None:
    limits = {"first_token_timeout_s": 30.0, "read_timeout_s": 0.05}
    if n_tokens == 0:
        limits = {"first_token_timeout_s": 0.2, "read_timeout_s": 30.0}
    engine = await open_engine(**limits)

    async def is_silent(answer: Any) -> None:
        await answer.head()
        await answer.chunks(*[upstream.tokens(5)] * n_tokens)
        drips = asyncio.create_task(drip(answer))
        await answer.until_gone()
        drips.cancel()
        upstream.gone.set()

    async def drip(answer: Any) -> None:
        while True:  # comments are no tokens: they do not count as life
            await answer.bytes(b": keep\n\n")
            await asyncio.sleep(0.01)

    upstream.plays(is_silent)
    generation = engine.submit(request())
    assert type(await error_of(generation)) is Unavailable
    assert generation.close().output_tokens == n_tokens
    await asyncio.wait_for(upstream.gone.wait(), 10)


async def test_another_count_is_told_in_numbers(
    upstream: Any, open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await open_engine()
    upstream.answers(upstream.tokens(5, 6, reason="length"), upstream.usage(3, 7))
    generation = engine.submit(request())
    await events_of(generation)
    assert generation.close().output_tokens == 2
    assert engine.usage_mismatches == 1
    assert "counts 3 tokens in and 7 out, Weir 3 and 2" in caplog.text


async def test_a_content_filter_is_told(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine()
    upstream.answers(upstream.tokens(5, reason="content_filter"))
    assert type(await error_of(engine.submit(request()))) is ContentBlocked


@pytest.mark.parametrize("status", [429, 502, 503])
async def test_a_busy_upstream_is_tried_again(upstream: Any, open_engine: Any, status: int) -> None:
    engine = await open_engine(retries=2)
    refuses = [lambda answer: answer.error(status, retry_after="0.01")] * 2
    upstream.plays(*refuses, lambda answer: answer.whole(upstream.tokens(5, reason="length")))
    events = await events_of(engine.submit(request()))
    assert events[1] == Delta((5,))
    assert len(upstream.received) == 3
    assert upstream.connections == 1


async def test_a_long_retry_after_is_passed_on_and_not_waited_for(
    upstream: Any, open_engine: Any
) -> None:
    engine = await open_engine(retries=2)
    upstream.plays(lambda answer: answer.error(429, retry_after="30"))
    error = await error_of(engine.submit(request()))
    assert (type(error), error.retry_after_s) == (QueueFull, 30.0)
    assert len(upstream.received) == 1


async def test_tries_have_an_end(upstream: Any, open_engine: Any) -> None:
    engine = await open_engine(retries=2)
    upstream.plays(lambda answer: answer.error(503))
    assert type(await error_of(engine.submit(request()))) is Unavailable
    assert len(upstream.received) == 3


async def test_a_dead_upstream_is_left_alone_and_found_again(
    upstream: Any, open_engine: Any
) -> None:
    clock = ManualClock()
    engine = await open_engine(clock=clock)
    upstream.plays(lambda answer: answer.error(500))
    for n in range(5):
        await error_of(engine.submit(request(f"{n}")))
    error = await error_of(engine.submit(request("early")))
    assert isinstance(error, Unavailable)
    assert error.retry_after_s
    assert len(upstream.received) == 5
    clock.advance(error.retry_after_s)
    upstream.answers(upstream.tokens(5, reason="length"))
    await events_of(engine.submit(request("probe")))
    await events_of(engine.submit(request("after")))
    assert len(upstream.received) == 7
