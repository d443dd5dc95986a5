"""Calls join, each gets its own, and none spoils or outlives another."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.core.batcher import Batcher, BatchLimits, open_batcher
from weir_inference.core.request import Priority
from weir_inference.core.tensor_engine import InferRequest, InferResult
from weir_inference.core.tensors import Tensors
from weir_kit.clock import ManualClock
from weir_kit.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    QueueFull,
    Unavailable,
    WeirError,
)

LIMITS = BatchLimits(max_rows=4, max_queued_rows=8)
POISON = -1.0


@dataclass
class Model:
    """Doubles its input `x`; a batch with POISON in it fails. Held, it computes when let go."""

    batches: list[list[float]] = field(default_factory=list)
    held: list["asyncio.Future[None]"] | None = None
    error: Exception = field(default_factory=lambda: ValueError("the secret in the input"))

    async def compute(self, requests: Sequence[InferRequest]) -> list[Tensors]:
        self.batches.append([float(request.inputs["x"][0]) for request in requests])
        if self.held is not None:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.held.append(gate)
            await gate
        if any(POISON in request.inputs["x"] for request in requests):
            raise self.error
        return [{"y": request.inputs["x"] * 2} for request in requests]

    def let_go(self) -> None:
        """Finish the batch that has run longest."""
        assert self.held
        self.held.pop(0).set_result(None)


def request(
    value: float,
    rows: int = 1,
    priority: Priority = Priority.NORMAL,
    deadline_s: float | None = None,
) -> InferRequest:
    return InferRequest({"x": np.full(rows, value)}, None, priority, deadline_s)


def send(batcher: Batcher, one: InferRequest, kind: str = "") -> "asyncio.Task[InferResult]":
    return asyncio.create_task(batcher.infer(one, len(one.inputs["x"]), kind))


async def settle() -> None:
    """Let everything happen that can without a gate being opened."""
    for _ in range(8):
        await asyncio.sleep(0)


async def test_calls_that_come_while_the_model_is_busy_are_computed_together() -> None:
    model, clock = Model(held=[]), ManualClock()
    async with open_batcher(model.compute, LIMITS, clock) as batcher:
        calls = [send(batcher, request(0))]
        await settle()
        assert model.batches == [[0]], "a lone call does not wait"
        calls += [send(batcher, request(value)) for value in (1, 2, 3, 4, 5)]
        await settle()
        clock.advance(2)
        model.let_go()
        await settle()
        clock.advance(1)
        model.let_go()
        await settle()
        model.let_go()
        results = await asyncio.gather(*calls)
    assert model.batches == [[0], [1, 2, 3, 4], [5]]
    assert [float(result.outputs["y"][0]) for result in results] == [0, 2, 4, 6, 8, 10]
    second = results[1]
    assert (second.queue_s, second.compute_s, second.batch_rows) == (2, 1, 4)
    load = batcher.load()
    assert (load.requests, load.batches, load.rows, load.failures) == (6, 3, 6, 0)
    assert (load.queue_s, load.compute_s) == (2 * 4 + 3, 3)


async def test_calls_of_one_moment_join_though_the_model_is_free() -> None:
    model = Model()
    async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
        await settle()
        await asyncio.gather(*(send(batcher, request(value)) for value in (1, 2, 3)))
    assert model.batches == [[1, 2, 3]]


async def test_as_many_batches_run_at_once_as_there_are_instances() -> None:
    model = Model(held=[])
    limits = BatchLimits(max_rows=1, max_queued_rows=8, n_instances=2)
    async with open_batcher(model.compute, limits, ManualClock()) as batcher:
        calls = [send(batcher, request(value)) for value in (1, 2, 3)]
        await settle()
        assert (model.batches, batcher.load().running_batches) == ([[1], [2]], 2)
        for _ in calls:
            model.let_go()
            await settle()
        await asyncio.gather(*calls)
    assert model.batches == [[1], [2], [3]]


async def test_a_batch_waits_a_little_for_as_many_as_came_together_lately() -> None:
    model, clock = Model(held=[]), ManualClock()
    limits = BatchLimits(max_rows=4, max_queued_rows=8, n_instances=2, max_delay_s=0.001)
    async with open_batcher(model.compute, limits, clock) as batcher:
        calls = [send(batcher, request(1))]
        await settle()
        assert model.batches == [[1]], "a lone call waits for nobody"
        calls.append(send(batcher, request(2)))
        await settle()
        assert model.batches == [[1], [2]], "two are about, and both have come"
        for _ in range(2):
            model.let_go()
        await asyncio.gather(*calls)
        calls = [send(batcher, request(3))]
        await settle()
        assert len(model.batches) == 2, "the other may come"
        calls.append(send(batcher, request(4)))
        await settle()
        assert model.batches[2:] == [[3, 4]], "it came"
        model.let_go()
        await asyncio.gather(*calls)
        calls = [send(batcher, request(5))]
        await settle()
        assert len(model.batches) == 3
        clock.advance(0.002)
        while len(model.batches) < 4:
            await asyncio.sleep(0)
        assert model.batches[3:] == [[5]], "it did not come in time"
        model.let_go()
        await asyncio.gather(*calls)
        clock.advance(1)
        calls = [send(batcher, request(6))]
        await settle()
        assert model.batches[4:] == [[6]], "nobody else was here lately"
        model.let_go()
        await asyncio.gather(*calls)


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    model = Model(held=[])
    async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
        running = send(batcher, request(0))
        await settle()
        waiting = [send(batcher, request(1, rows=4)) for _ in range(2)]
        await settle()
        with pytest.raises(QueueFull) as refused:
            await batcher.infer(request(2), 1, "")
        assert refused.value.retry_after_s is not None
        for _ in range(3):
            model.let_go()
            await settle()
        await asyncio.gather(running, *waiting)


async def test_a_late_call_is_told_so_and_never_computed() -> None:
    model, clock = Model(held=[]), ManualClock()
    async with open_batcher(model.compute, LIMITS, clock) as batcher:
        running = send(batcher, request(0))
        await settle()
        late = send(batcher, request(1, deadline_s=clock.monotonic_s() + 1))
        await settle()
        clock.advance(1)
        model.let_go()
        with pytest.raises(DeadlineExceeded):
            await late
        await running
    assert model.batches == [[0]]


async def test_a_call_that_goes_away_while_it_waits_is_not_computed() -> None:
    model = Model(held=[])
    async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
        running = send(batcher, request(0))
        await settle()
        gone, stays = send(batcher, request(1)), send(batcher, request(2))
        await settle()
        gone.cancel()
        await settle()
        assert batcher.load().queued_rows == 1
        model.let_go()
        await settle()
        model.let_go()
        await asyncio.gather(running, stays)
        assert gone.cancelled()
    assert model.batches == [[0], [2]]


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("a secret"), Internal), (InvalidArgument("bad", field="x"), InvalidArgument)],
)
async def test_of_a_batch_that_fails_only_who_is_at_fault_fails(
    error: Exception, told: type[WeirError], caplog: pytest.LogCaptureFixture
) -> None:
    model = Model(error=error)
    async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
        calls = [send(batcher, request(value)) for value in (1, POISON, 3)]
        good, bad, also_good = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(good, InferResult) and isinstance(also_good, InferResult)
        assert also_good.outputs["y"] == [6]
        assert isinstance(bad, told) and "secret" not in bad.message
        assert batcher.load().failures == 1
    assert model.batches == [[1, POISON, 3], [1], [POISON], [3]]
    assert "secret" not in caplog.text


async def test_a_batch_that_takes_too_long_is_not_tried_again() -> None:
    model = Model(error=TimeoutError())
    async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
        calls = [send(batcher, request(value)) for value in (POISON, 1)]
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, DeadlineExceeded)
    assert model.batches == [[POISON, 1]]


async def test_of_a_failed_batch_who_went_away_or_is_late_is_not_tried_again() -> None:
    model, clock = Model(held=[]), ManualClock()
    async with open_batcher(model.compute, LIMITS, clock) as batcher:
        late = send(batcher, request(2, deadline_s=clock.monotonic_s() + 1))
        gone, bad = send(batcher, request(1)), send(batcher, request(POISON))
        await settle()
        gone.cancel()
        clock.advance(1)
        model.let_go()
        await settle()
        model.let_go()
        with pytest.raises(DeadlineExceeded):
            await late
        with pytest.raises(Internal):
            await bad
    assert model.batches == [[2, 1, POISON], [POISON]]


async def test_closing_computes_what_waits_and_takes_nothing_new() -> None:
    model = Model(held=[])
    async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
        calls = [send(batcher, request(value, rows=4)) for value in (1, 2)]
        await settle()
        batcher.close()
        with pytest.raises(Unavailable):
            await batcher.infer(request(3), 1, "")
        model.let_go()
        await settle()
        model.let_go()
        await asyncio.gather(*calls)
    assert model.batches == [[1], [2]]


async def test_giving_up_closing_fails_who_is_left() -> None:
    model = Model(held=[])
    calls: list[asyncio.Task[InferResult]] = []

    async def serve() -> None:
        async with open_batcher(model.compute, LIMITS, ManualClock()) as batcher:
            calls.extend(send(batcher, request(value, rows=4)) for value in (1, 2))
            await settle()

    serving = asyncio.create_task(serve())
    await settle()
    await settle()
    serving.cancel()
    for result in await asyncio.gather(serving, *calls, return_exceptions=True):
        assert isinstance(result, Unavailable | asyncio.CancelledError)
    assert [call.cancelled() for call in calls] == [False, False]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("send"),
            st.integers(1, 4),
            st.sampled_from("ab"),
            st.sampled_from(Priority),
            st.none() | st.floats(0.1, 3),
            st.booleans(),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("let go")),
        st.tuples(st.just("advance"), st.floats(0, 2)),
        st.tuples(st.just("pace"), st.integers(1, 4)),
    ),
    max_size=30,
)


@given(ACTIONS, st.integers(1, 3))
def test_each_call_gets_its_own_rows_or_a_reason_whatever_happens(
    actions: list[tuple[object, ...]], n_instances: int
) -> None:
    """Every call ends; bounds hold at every moment; nothing is left behind."""
    asyncio.run(_whatever_happens(actions, n_instances))


async def _whatever_happens(actions: list[tuple[object, ...]], n_instances: int) -> None:
    model, clock = Model(held=[]), ManualClock()
    assert model.held is not None
    limits = BatchLimits(max_rows=4, max_queued_rows=12, n_instances=n_instances)
    sent: list[tuple[InferRequest, asyncio.Task[InferResult]]] = []
    async with open_batcher(model.compute, limits, clock) as batcher:
        for action in actions:
            match action:
                case ("send", int(rows), str(kind), Priority() as priority, patience_s, bool(bad)):
                    late_s = patience_s and clock.monotonic_s() + patience_s  # type: ignore[operator]
                    value = POISON if bad else float(len(sent) + 1)
                    one = request(value, rows, priority, late_s)
                    sent.append((one, send(batcher, one, kind)))
                case ("cancel", int(which)) if which < len(sent):
                    sent[which][1].cancel()
                case ("let go",) if model.held:
                    model.let_go()
                case ("advance", float(seconds)):
                    clock.advance(seconds)
                case ("pace", int(rows)):
                    batcher.batch_rows = rows
            await settle()
            load = batcher.load()
            assert load.running_batches == len(model.held) <= n_instances
            assert load.queued_rows <= limits.max_queued_rows
        gates, model.held = model.held, None
        for gate in gates:
            gate.set_result(None)
        for one, task in sent:
            with suppress(asyncio.CancelledError):
                _check_end(one, (await asyncio.gather(task, return_exceptions=True))[0])
    load = batcher.load()
    assert (load.queued_requests, load.queued_rows, load.running_batches) == (0, 0, 0)
    assert len(asyncio.all_tasks()) == 1, "nobody is left"


def _check_end(one: InferRequest, end: InferResult | BaseException) -> None:
    x = one.inputs["x"]
    if isinstance(end, InferResult):
        assert np.array_equal(end.outputs["y"], 2 * x)
        assert end.batch_rows <= 4
        assert POISON not in x
    elif isinstance(end, DeadlineExceeded):
        assert one.deadline_s is not None
    elif isinstance(end, Internal):
        assert POISON in x
    else:
        assert isinstance(end, QueueFull | asyncio.CancelledError)
