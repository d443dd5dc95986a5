"""However and whenever a request ends: one settle or one release, of the right tokens; one record.

The peers in memory count every await that they make. Each test runs the same request again and
again, and ends it at another of these steps each time.
"""

import asyncio
import itertools
from typing import Any

import pytest

from weir_gateway.core.call import Outcome, Piece, Started, Usage
from weir_gateway.core.charge import Ending, charged_usage
from weir_kit.errors import Internal, QueueFull, Unavailable, WeirError

TEXT = "once upon a time"
MORE_TEXTS = ("long ago", "far away")
INPUT_TOKENS = 4


class Client:
    """Reads a generation to its end, and knows what was handed to it."""

    def __init__(self, world: Any, *, streamed: bool) -> None:
        self.world, self.streamed = world, streamed
        self.n = 1 + len(world.more_texts)
        self.texts, self.started, self.outcome = [""] * self.n, False, False

    async def read(self) -> None:
        call = self.world.call(streamed=self.streamed, n=self.n, max_output_tokens=30)
        generator = self.world.generation.generate(call)
        try:
            async for event in generator:
                self.take(event)
        finally:
            await generator.aclose()

    def take(self, event: Any) -> None:
        self.started |= isinstance(event, Started)
        self.outcome |= isinstance(event, Outcome)
        if isinstance(event, Piece):
            self.texts[event.output] += event.text

    def expected(self, ending: Ending) -> Usage | None:
        """The charge by the rule, from what the client saw.

        A token is a character here; tokens are counted where a message to the decoder ended.
        """
        released_tokens = 0
        for text in self.texts:
            for decoder in self.world.decoders if text else ():
                if decoder.text[0] == text[0]:  # the outputs begin differently
                    counted = [0, *itertools.accumulate(map(len, decoder.fed))]
                    released_tokens += max(count for count in counted if count <= len(text))
        return charged_usage(
            ending,
            engine_started=self.started,
            usage=Usage(INPUT_TOKENS),
            released_tokens=released_tokens if self.streamed else 0,
        )


def steps_of(world: Any, streamed: bool) -> int:
    """How many steps the request has when nothing happens to it."""
    asyncio.run(Client(world, streamed=streamed).read())
    return int(world.steps)


def new_world(world: Any, more_texts: tuple[str, ...] = ()) -> Any:
    return type(world)(more_texts=more_texts)


@pytest.mark.parametrize("more_texts", [(), MORE_TEXTS])
@pytest.mark.parametrize("tokens_a_delta", [1, 5])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_may_go_at_any_await(
    world: Any, streamed: bool, tokens_a_delta: int, more_texts: tuple[str, ...]
) -> None:
    for step in range(1, steps_of(new_world(world, more_texts), streamed) + 1):
        again = new_world(world, more_texts)
        again.tokens_a_delta = tokens_a_delta
        asyncio.run(_gone_at(again, step, streamed))


async def _gone_at(world: Any, at: int, streamed: bool) -> None:
    client = Client(world, streamed=streamed)
    reading = asyncio.create_task(client.read())
    world.on_step = lambda step, name: reading.cancel() if step == at else None
    await asyncio.wait([reading])
    await world.closings.drain()
    _check(world, client, Ending.DISCONNECTED)


@pytest.mark.parametrize("error", [Unavailable("away"), QueueFull("full"), RuntimeError("a fault")])
@pytest.mark.parametrize("more_texts", [(), MORE_TEXTS])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_peer_may_fail_at_any_await(
    world: Any, streamed: bool, error: Exception, more_texts: tuple[str, ...]
) -> None:
    for step in range(1, steps_of(new_world(world, more_texts), streamed) + 1):
        asyncio.run(_failed_at(new_world(world, more_texts), step, streamed, error))


async def _failed_at(world: Any, at: int, streamed: bool, error: Exception) -> None:
    closing = False

    def fail(step: int, name: str) -> None:
        nonlocal closing
        closing |= name in ("settle", "release", "record")
        if step == at and not closing:
            raise error

    client = Client(world, streamed=streamed)
    world.on_step = fail
    reading = asyncio.create_task(client.read())
    await asyncio.wait([reading])
    await world.closings.drain()
    if not reading.cancelled() and reading.exception() is None:
        assert client.outcome
    else:
        assert reading.exception() is error
    _check(world, client, Ending.FAILED)


async def test_a_generation_may_be_left_between_any_two_events(world: Any) -> None:
    n_events = len(await world.run())
    assert n_events > 4
    for events in range(1, n_events):
        left = new_world(world)
        generator = left.generation.generate(left.call())
        client = Client(left, streamed=True)
        for _ in range(events):
            client.take(await anext(generator))
        await generator.aclose()
        await left.closings.drain()
        _check(left, client, Ending.DISCONNECTED)


@pytest.mark.parametrize("name", ["settle", "settled", "record"])
def test_a_client_that_goes_while_money_is_closed_changes_nothing(world: Any, name: str) -> None:
    async def go() -> None:
        client = Client(world, streamed=True)
        reading = asyncio.create_task(client.read())
        world.on_step = lambda step, now: reading.cancel() if now == name else None
        await asyncio.wait([reading])
        await world.closings.drain()

    asyncio.run(go())
    assert world.settled == [Usage(INPUT_TOKENS, 0, len(TEXT))]
    assert [record.outcome for record in world.records] == ["stop"]


def _check(world: Any, client: Client, ending: Ending) -> None:
    """The promise, whatever happened."""
    states = list(world.holds.values())
    assert len(world.settled) + world.releases == len(states) <= 1
    assert "held" not in states
    assert world.engines_running == 0
    assert len(world.records) <= 1
    if world.holds:
        assert len(world.records) == 1
    finished = bool(world.settled) and world.records[0].outcome == "stop"
    if finished:
        n_tokens = len(TEXT) + sum(map(len, world.more_texts))
        assert world.settled == [Usage(INPUT_TOKENS, 0, n_tokens)]
    elif world.holds:
        expected = client.expected(ending)
        assert world.settled == ([] if expected is None else [expected])
        wanted = "disconnected" if ending is Ending.DISCONNECTED else None
        assert world.records[0].outcome == (wanted or world.records[0].outcome)


def test_errors_that_say_nothing_about_a_reservation_release_it(world: Any) -> None:
    """After `reserved` the hold exists; the answer is lost. It must not stay held."""

    async def lose(error: WeirError) -> Any:
        lost = new_world(world)

        def fail(step: int, name: str) -> None:
            if name == "reserved":
                raise error

        lost.on_step = fail
        with pytest.raises(type(error)):
            await lost.run()
        await lost.closings.drain()
        return lost

    for error in (Unavailable("lost"), Internal("fault")):
        assert asyncio.run(lose(error)).holds == {"req_1": "released"}


async def test_a_reservation_that_arrives_after_the_client_has_gone_is_released(
    world: Any,
) -> None:
    """As over a wire: billing goes on with a call whose caller has gone."""
    reserve = world.reserve

    async def arrive_late(*arguments: Any) -> bool:
        for _ in range(50):
            await asyncio.sleep(0)
        return bool(await reserve(*arguments))

    async def over_the_wire(*arguments: Any) -> bool:
        world.on_step(0, "reserving")
        return await asyncio.shield(asyncio.create_task(arrive_late(*arguments)))

    world.reserve = over_the_wire
    reading = asyncio.create_task(Client(world, streamed=True).read())
    world.on_step = lambda step, now: reading.cancel() if now == "reserving" else None
    await asyncio.wait([reading])
    await world.closings.drain()
    assert world.holds == {"req_1": "released"}
    assert [record.outcome for record in world.records] == ["disconnected"]
