"""Requests whose tokens something else streams: bounded, closed at once, accounted for."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from weir_inference.core.engine import Delta, Event, Finished, ModelDescription, Started
from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.streamed_requests import StreamedRequests
from weir_kit.clock import ManualClock
from weir_kit.errors import (
    AlreadyExists,
    ContextLengthExceeded,
    DeadlineExceeded,
    Internal,
    QueueFull,
    Unavailable,
    WeirError,
)

MODEL = ModelDescription("far", "openai", "", 16, 100, 0, "", 0.0)
CANARY = "the prompt itself"


def request(name: str, output: int = 0, deadline_s: float | None = None) -> Request:
    return Request(name, (3, 4, 5), 4, Sampling(seed=1), deadline_s, output)


class Source:
    """Streams what it is given; waits at None until it is closed."""

    def __init__(self, *news: Event | Exception | None) -> None:
        self.news = news
        self.waits = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self) -> AsyncGenerator[Event, None]:
        try:
            for one in self.news:
                if one is None:
                    self.waits.set()
                    await asyncio.Event().wait()
                elif isinstance(one, Exception):
                    raise one
                else:
                    yield one
        finally:
            self.closed.set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def requests(clock: ManualClock) -> AsyncIterator[StreamedRequests]:
    requests = StreamedRequests(MODEL, 2, clock)
    yield requests
    await requests.stop()


async def test_a_request_is_streamed_and_accounted_for(requests: StreamedRequests) -> None:
    source = Source(Started(0.5, 2), Delta((7,)), Delta((8,)), Finished(EndReason.STOP))
    generation = requests.submit(request("a"), source.stream)
    events = [event async for event in generation.events()]
    assert events == [Started(0.5, 2), Delta((7, 8)), Finished(EndReason.STOP)]
    ending = generation.close()
    assert (ending.reason, ending.input_tokens, ending.output_tokens) == (EndReason.STOP, 3, 2)
    assert ending.started_at_s == ending.queued_at_s + 0.5
    load = requests.load()
    assert (load.input_tokens, load.cached_tokens, load.output_tokens) == (3, 2, 2)
    assert (load.queued_requests, load.running_requests) == (0, 0)


async def test_closing_ends_the_stream(requests: StreamedRequests) -> None:
    source = Source(Started(0.0), Delta((7,)), None)
    generation = requests.submit(request("a"), source.stream)
    await source.waits.wait()
    assert requests.load().running_requests == 1
    assert generation.close().reason is EndReason.CANCELLED
    assert generation.close().output_tokens == 1
    await source.closed.wait()
    requests.submit(request("a"), Source(None).stream)


async def test_a_deadline_ends_the_stream(requests: StreamedRequests, clock: ManualClock) -> None:
    source = Source(None)
    deadline_s = clock.monotonic_s() + 0.01
    generation = requests.submit(request("a", deadline_s=deadline_s), source.stream)
    with pytest.raises(DeadlineExceeded):
        await anext(generation.events())
    assert source.closed.is_set()
    assert generation.close().reason is EndReason.DEADLINE


async def test_a_caller_gone_by_its_deadline_is_a_deadline(
    requests: StreamedRequests, clock: ManualClock
) -> None:
    generation = requests.submit(
        request("a", deadline_s=clock.monotonic_s() + 60), Source(None).stream
    )
    clock.advance(59.99)
    assert generation.close().reason is EndReason.DEADLINE


@pytest.mark.parametrize(
    ("news", "kind"),
    [
        ((Unavailable("away"),), Unavailable),
        ((TimeoutError(CANARY),), Internal),
        ((RuntimeError(CANARY),), Internal),
        ((Started(0.0),), Internal),
    ],
)
async def test_what_goes_wrong_ends_the_request_and_tells_nothing_of_it(
    requests: StreamedRequests,
    caplog: pytest.LogCaptureFixture,
    news: tuple[Event | Exception, ...],
    kind: type[WeirError],
) -> None:
    caplog.set_level(logging.DEBUG)
    generation = requests.submit(request("a"), Source(*news).stream)
    with pytest.raises(kind) as told:
        async for _ in generation.events():
            pass
    assert CANARY not in caplog.text + told.value.message
    assert generation.close().reason is EndReason.ERROR


async def test_the_bound_is_for_calls_not_for_their_outputs(requests: StreamedRequests) -> None:
    for name in ("a", "b"):
        requests.submit(request(name), Source(None).stream)
    with pytest.raises(QueueFull) as told:
        requests.submit(request("c"), Source().stream)
    assert told.value.retry_after_s
    requests.submit(request("a", output=1), Source(None).stream)
    assert requests.load().queued_requests == 3
    with pytest.raises(AlreadyExists):
        requests.submit(request("a", output=1), Source().stream)


async def test_what_cannot_fit_is_refused(requests: StreamedRequests) -> None:
    long = Request("a", (3,) * 13, 4, Sampling(seed=1))
    with pytest.raises(ContextLengthExceeded):
        requests.submit(long, Source().stream)


async def test_stopping_fails_what_is_live_and_closes_it(requests: StreamedRequests) -> None:
    source = Source(Started(0.0), None)
    generation = requests.submit(request("a"), source.stream)
    await source.waits.wait()
    await requests.stop()
    assert source.closed.is_set()
    with pytest.raises(Unavailable):
        async for _ in generation.events():
            pass
    with pytest.raises(Unavailable):
        requests.submit(request("b"), source.stream)
