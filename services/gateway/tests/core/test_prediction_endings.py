"""However and whenever a prediction ends: one settle or one release, and one record.

As `test_endings`: each test ends the same request at another await each time.
"""

import asyncio
from typing import Any

import pytest

from weir_gateway.core.call import Work
from weir_gateway.core.charge import Ending, charged_work
from weir_kit.errors import Internal, QueueFull, Unavailable

WORK = Work(1, 2, 700)


def steps_of(world: Any) -> int:
    """How many steps a prediction has when nothing happens to it."""
    other = type(world)()
    asyncio.run(other.ask())
    return int(other.steps)


def test_a_client_may_go_at_any_await(world: Any) -> None:
    for step in range(1, steps_of(world) + 1):
        asyncio.run(_gone_at(type(world)(), step))


async def _gone_at(world: Any, at: int) -> None:
    asking = asyncio.create_task(world.predictions.predict(world.prediction()))
    world.on_step = lambda step, name: asking.cancel() if step == at else None
    await asyncio.wait([asking])
    await world.closings.drain()
    _check(world, "disconnected")


@pytest.mark.parametrize("error", [Unavailable("away"), QueueFull("full"), RuntimeError("a fault")])
def test_a_peer_may_fail_at_any_await(world: Any, error: Exception) -> None:
    for step in range(1, steps_of(world) + 1):
        asyncio.run(_failed_at(type(world)(), step, error))


async def _failed_at(world: Any, at: int, error: Exception) -> None:
    closing = False

    def fail(step: int, name: str) -> None:
        nonlocal closing
        closing |= name in ("settle", "release", "record")
        if step == at and not closing:
            raise error

    world.on_step = fail
    asking = asyncio.create_task(world.predictions.predict(world.prediction()))
    await asyncio.wait([asking])
    await world.closings.drain()
    assert asking.exception() in (error, None)
    _check(world, "stop" if asking.exception() is None else None)


def test_billing_may_be_away_at_the_end(world: Any) -> None:
    async def ask() -> Any:
        def fail(step: int, name: str) -> None:
            if name == "settle":
                raise Unavailable("away")

        world.on_step = fail
        return await world.ask()

    assert asyncio.run(ask()).cost is None
    assert world.holds == {"req_1": "held"}  # its sweeper's, by the meter
    assert [(record.used, record.charged) for record in world.records] == [(WORK, None)]


def test_an_answer_to_a_reservation_that_is_lost_releases_it(world: Any) -> None:
    async def ask() -> None:
        def fail(step: int, name: str) -> None:
            if name == "reserved":
                raise Internal("lost")

        world.on_step = fail
        with pytest.raises(Internal):
            await world.ask()
        await world.closings.drain()

    asyncio.run(ask())
    assert world.holds == {"req_1": "released"}


def test_only_an_answer_is_charged() -> None:
    assert charged_work(Ending.FINISHED, WORK) == WORK
    assert charged_work(Ending.DISCONNECTED, WORK) is None
    assert charged_work(Ending.FAILED, WORK) is None


def _check(world: Any, outcome: str | None) -> None:
    """The promise, whatever happened; a prediction is charged whole or not at all."""
    states = list(world.holds.values())
    assert len(world.settled) + world.releases == len(states) <= 1
    assert "held" not in states
    assert world.engines_running == 0
    assert len(world.records) <= 1
    if states:
        assert len(world.records) == 1
    if world.records:
        [record] = world.records
        if record.outcome == "stop":
            assert world.settled == [WORK] == [record.used]
        else:
            assert world.settled == [] and record.used is None
            assert outcome is None or record.outcome == outcome
