"""The loop on its thread: responsive, asleep when idle, not to be killed by a bad step."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from weir_inference.core.engine import (
    Delta,
    Event,
    Finished,
    ModelDescription,
    PromptScored,
    Started,
)
from weir_inference.core.engine_loop import EngineLoop, SubmittedRequest
from weir_inference.core.request import EndReason, Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.scheduler import Limits, Scheduler
from weir_inference.core.step_plan import Advance, Slice, SliceResult, StepPlan
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.clock import Clock, ManualClock, SystemClock
from weir_kit.errors import AlreadyExists, DeadlineExceeded, Internal, Unavailable

MODEL = ModelDescription("toy", "torch", "llama", 64, 100, 1, "fp32", 0.0)
LIMITS = Limits(
    n_blocks=16, block_size=4, context_tokens=64, max_running=4, max_queued=4, step_tokens=8
)
POISON = 13


def result_of(one: Slice) -> SliceResult:
    token_ids = tuple(range(50 + one.n_output, 50 + one.n_output + one.n_sampled))
    logprobs = tuple(TokenLogprob(token_id, -0.5) for token_id in token_ids)
    n_scored = max(0, min(one.end, one.sequence.n_prompt - 1) - one.start)
    scores = (TokenLogprob(0, -1.0),) * n_scored
    return SliceResult(token_ids, logprobs if one.request.top_logprobs is not None else (), scores)


class CountingRunner:
    """Samples 50, 51, …; fails for prompts that begin with POISON; can be held at a gate.

    Where it `overlaps`, it computes a step only when its results are asked for.
    """

    overlaps = False

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.steps = 0

    def start(self, plan: StepPlan) -> Callable[[], list[SliceResult]]:
        self.steps += 1
        if self.overlaps:
            return partial(self.compute, plan)
        results = self.compute(plan)
        return lambda: results

    def compute(self, plan: StepPlan) -> list[SliceResult]:
        self.inside.set()
        assert self.gate.wait(10)
        if any(one.request.prompt_token_ids[0] == POISON for one in plan.slices):
            raise RuntimeError("poisoned")
        return [result_of(one) for one in plan.slices]


@pytest.fixture(autouse=True, params=[False, True], ids=["one by one", "overlapping"])
def overlaps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(CountingRunner, "overlaps", request.param)
    return bool(request.param)


@asynccontextmanager
async def running(runner: CountingRunner, clock: Clock | None = None) -> AsyncIterator[EngineLoop]:
    engine = EngineLoop(MODEL, Scheduler(LIMITS, [2]), runner, clock or SystemClock())
    turning = asyncio.get_running_loop().run_in_executor(None, engine.run)
    try:
        yield engine
    finally:
        runner.gate.set()
        engine.stop()
        await turning


def request(
    name: str, n_output: int = 4, first: int = 3, deadline_s: float | None = None
) -> Request:
    return Request(name, (first, 4, 5), n_output, Sampling(seed=1), deadline_s)


async def events_of(generation: SubmittedRequest) -> list[Event]:
    return [event async for event in generation.events()]


def tokens_of(events: list[Event]) -> list[int]:
    return [i for event in events if isinstance(event, Delta) for i in event.token_ids]


async def test_a_request_starts_streams_and_finishes() -> None:
    async with running(CountingRunner()) as engine:
        generation = engine.submit(request("a"))
        events = await events_of(generation)
        assert isinstance(events[0], Started)
        assert events[-1] == Finished(EndReason.LENGTH)
        assert tokens_of(events) == [50, 51, 52, 53]
        ending = generation.close()
        assert (ending.reason, ending.input_tokens, ending.output_tokens) == (
            EndReason.LENGTH,
            3,
            4,
        )
        load = engine.load()
        assert (load.steps, load.input_tokens, load.output_tokens) == (4, 3, 4)
        assert (load.queued_requests, load.running_requests, load.kv_blocks_held) == (0, 0, 0)


async def test_a_failing_step_ends_the_request_at_fault_and_no_other() -> None:
    runner = CountingRunner()
    runner.gate.clear()
    async with running(runner) as engine:
        first = engine.submit(request("first", n_output=6))
        assert await asyncio.to_thread(runner.inside.wait, 10)
        poisoned = engine.submit(request("bad", first=POISON))
        good = engine.submit(request("good"))
        runner.gate.set()
        with pytest.raises(Internal):
            await events_of(poisoned)
        assert poisoned.close().reason is EndReason.ERROR
        assert tokens_of(await events_of(first)) == [50, 51, 52, 53, 54, 55]
        assert tokens_of(await events_of(good)) == [50, 51, 52, 53]
        assert engine.load().kv_blocks_held == 0
        assert not engine.broken


class ForgetfulRunner(CountingRunner):
    def compute(self, plan: StepPlan) -> list[SliceResult]:
        return super().compute(plan)[1:]


async def test_a_runner_that_answers_too_little_fails_its_step_only() -> None:
    async with running(ForgetfulRunner()) as engine:
        with pytest.raises(Internal):
            await events_of(engine.submit(request("a")))
        assert not engine.broken


class WatchfulRunner(CountingRunner):
    """Notes how many steps have started when one is computed; misleads each third follower."""

    def __init__(self) -> None:
        super().__init__()
        self.n_ahead: list[int] = []
        self.n_computed = 0

    def compute(self, plan: StepPlan) -> list[SliceResult]:
        results = super().compute(plan)
        self.n_computed += 1
        self.n_ahead.append(self.steps - self.n_computed)
        if self.n_computed % 3 == 0 and self.overlaps:
            self.n_computed += 1  # the follower is never asked
            return [replace(result, misled=True) for result in results]
        return results


async def test_a_step_starts_before_the_one_before_it_is_over(overlaps: bool) -> None:
    runner = WatchfulRunner()
    async with running(runner) as engine:
        streams = [engine.submit(request(name, n_output=8)) for name in "abc"]
        for stream in streams:
            assert tokens_of(await events_of(stream)) == list(range(50, 58))
        assert engine.load().kv_blocks_held == 0
    assert set(runner.n_ahead) == ({0, 1} if overlaps else {0})
    assert runner.n_ahead.count(1) >= 4 * overlaps


async def test_what_a_failing_follower_computed_is_computed_again_one_by_one() -> None:
    class Refusing(CountingRunner):
        def start(self, plan: StepPlan) -> Callable[[], list[SliceResult]]:
            if plan.follows:
                raise RuntimeError("no followers")
            return super().start(plan)

    async with running(Refusing()) as engine:
        streams = [engine.submit(request(name)) for name in "ab"]
        for stream in streams:
            assert tokens_of(await events_of(stream)) == [50, 51, 52, 53]


class BrokenScheduler(Scheduler):
    """Breaks down when it takes in a step, and then does nothing any more."""

    broken = False

    def commit(self, *_: object) -> list[Advance]:
        self.broken = True
        raise RuntimeError("a fault of the scheduler")

    def end(self, *arguments: Any) -> None:
        if self.broken:
            raise RuntimeError("a fault of the scheduler")
        super().end(*arguments)


async def test_a_scheduler_that_breaks_down_ends_all_and_the_engine_says_so() -> None:
    engine = EngineLoop(MODEL, BrokenScheduler(LIMITS, [2]), CountingRunner(), SystemClock())
    generation = engine.submit(request("a"))
    with pytest.raises(RuntimeError):
        await asyncio.get_running_loop().run_in_executor(None, engine.run)
    assert engine.broken
    assert engine.stalled_s() == math.inf
    with pytest.raises(Unavailable):
        await events_of(generation)
    assert generation.close().reason is EndReason.ERROR
    with pytest.raises(Unavailable):
        engine.submit(request("b"))


async def test_a_step_under_way_tells_for_how_long() -> None:
    runner, clock = CountingRunner(), ManualClock()
    async with running(runner, clock) as engine:
        assert engine.stalled_s() == 0
        runner.gate.clear()
        generation = engine.submit(request("a", n_output=1))
        assert await asyncio.to_thread(runner.inside.wait, 10)
        clock.advance(7)
        assert engine.stalled_s() == 7
        runner.gate.set()
        await events_of(generation)
        while engine.stalled_s() > 0:  # the news may be here before the step is over
            await asyncio.sleep(0)
    assert engine.stalled_s() == 0


async def test_outputs_of_one_request_are_told_apart_and_all_scores_told() -> None:
    async with running(CountingRunner()) as engine:
        outputs = [
            engine.submit(replace(request("a", 2), output=i, top_logprobs=0, prompt_top_logprobs=0))
            for i in range(2)
        ]
        for output in outputs:
            events = await events_of(output)
            assert isinstance(events[0], Started)
            assert events[1] == PromptScored((TokenLogprob(0, -1.0),) * 2)
            deltas = [event for event in events if isinstance(event, Delta)]
            logprobs = [one for delta in deltas for one in delta.logprobs]
            assert logprobs == [TokenLogprob(50, -0.5), TokenLogprob(51, -0.5)]


async def test_the_load_tells_of_cache_hits_and_of_waiting_tokens() -> None:
    runner = CountingRunner()
    async with running(runner) as engine:
        prompt = tuple(range(3, 12))
        await events_of(engine.submit(replace(request("a"), prompt_token_ids=prompt)))
        hit = engine.submit(replace(request("b"), prompt_token_ids=prompt))
        events = await events_of(hit)
        assert isinstance(events[0], Started)
        assert events[0].cached_tokens == hit.close().cached_tokens == 8
        assert engine.load().cached_tokens == 8
        runner.gate.clear()
        runner.inside.clear()
        engine.submit(request("c"))
        assert await asyncio.to_thread(runner.inside.wait, 10)
        engine.submit(request("d"))
        assert (engine.load().queued_requests, engine.load().queued_tokens) == (1, 3)


async def test_closing_during_a_step_frees_the_blocks_at_once() -> None:
    runner = CountingRunner()
    runner.gate.clear()
    async with running(runner) as engine:
        generation = engine.submit(request("a"))
        assert await asyncio.to_thread(runner.inside.wait, 10)
        assert engine.load().kv_blocks_held == 1
        assert generation.close().reason is EndReason.CANCELLED
        assert engine.load().kv_blocks_held == 0
        runner.gate.set()
        assert tokens_of(await events_of(engine.submit(request("a")))) == [50, 51, 52, 53]


async def test_an_idle_loop_sleeps() -> None:
    runner = CountingRunner()
    async with running(runner) as engine:
        await events_of(engine.submit(request("a")))
        steps = runner.steps
        await asyncio.sleep(0.05)
        assert runner.steps == steps


async def test_a_deadline_ends_a_request_and_says_so() -> None:
    runner, clock = CountingRunner(), ManualClock()
    runner.gate.clear()
    async with running(runner, clock) as engine:
        generation = engine.submit(request("a", deadline_s=clock.monotonic_s() + 5))
        assert await asyncio.to_thread(runner.inside.wait, 10)
        clock.advance(6)
        runner.gate.set()
        with pytest.raises(DeadlineExceeded):
            await events_of(generation)
        assert generation.close().reason is EndReason.DEADLINE


async def test_closing_after_the_deadline_counts_as_the_deadlines_doing() -> None:
    runner, clock = CountingRunner(), ManualClock()
    runner.gate.clear()
    async with running(runner, clock) as engine:
        generation = engine.submit(request("a", deadline_s=clock.monotonic_s() + 5))
        clock.advance(6)
        assert generation.close().reason is EndReason.DEADLINE


async def test_a_request_id_is_generated_once_at_a_time() -> None:
    runner = CountingRunner()
    runner.gate.clear()
    async with running(runner) as engine:
        first = engine.submit(request("a"))
        with pytest.raises(AlreadyExists):
            engine.submit(request("a"))
        first.close()
        engine.submit(request("a")).close()


async def test_stopping_fails_what_is_live_and_takes_nothing_new() -> None:
    runner = CountingRunner()
    runner.gate.clear()
    async with running(runner) as engine:
        generation = engine.submit(request("a"))
        assert await asyncio.to_thread(runner.inside.wait, 10)
        engine.stop()
        runner.gate.set()
        with pytest.raises(Unavailable):
            await events_of(generation)
        with pytest.raises(Unavailable):
            engine.submit(request("b"))
    assert engine.load().kv_blocks_held == 0
