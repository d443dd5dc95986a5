"""The loop that turns steps: plan → run → commit or roll back, on a thread of its own.

Two threads meet here. The event loop's thread submits and closes requests; the engine's thread
turns steps. The scheduler is guarded by one lock, held while planning and committing
(microseconds), never while the runner computes. News goes back once per step, by one wake-up of the
event loop.
"""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from weir_inference.core.engine import (
    Delta,
    Event,
    Finished,
    Load,
    ModelDescription,
    PromptScored,
    Runner,
    Started,
)
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.scheduler import Scheduler
from weir_inference.core.sequence import Sequence, State
from weir_inference.core.step_plan import Advance, SliceResult, StepPlan
from weir_inference.core.token_stream import News, TokenStream
from weir_kit.clock import Clock
from weir_kit.errors import AlreadyExists, DeadlineExceeded, Internal, Unavailable, WeirError

log = logging.getLogger(__name__)

# A deadline cancels the call by the caller's clock: a little before ours says that it passed.
DEADLINE_SLACK_S = 0.05


class EngineLoop:
    """An `Engine` made of a scheduler and a runner.

    Build it on the event loop's thread, call `run` on the engine's thread; `stop` makes `run`
    return.
    """

    def __init__(
        self, model: ModelDescription, scheduler: Scheduler, runner: Runner, clock: Clock
    ) -> None:
        self.model = model
        self._scheduler = scheduler
        self._runner = runner
        self._clock = clock
        self._event_loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._stopping = False
        self._broken = False
        self._step_began_s: float | None = None
        self._live: dict[tuple[str, int], SubmittedRequest] = {}
        self._steps = self._input_tokens = self._output_tokens = 0

    def submit(self, request: Request) -> "SubmittedRequest":
        """Queue a request; raises what `Engine.submit` says."""
        with self._changed:
            if self._stopping:
                raise Unavailable(f"the engine of {self.model.name!r} is stopping")
            if _key(request) in self._live:
                raise AlreadyExists("a request with this request_id is being generated")
            sequence = self._scheduler.add(request, self._clock.monotonic_s())
            generation = SubmittedRequest(self, sequence)
            self._live[_key(request)] = generation
            self._changed.notify()
        return generation

    def load(self) -> Load:
        """How busy the engine is, at one moment between two changes of the scheduler."""
        with self._changed:
            scheduler = self._scheduler
            return Load(
                queued_requests=len(scheduler.waiting),
                queued_tokens=scheduler.waiting.n_tokens,
                running_requests=len(scheduler.running),
                kv_blocks_held=scheduler.pool.n_held,
                kv_blocks_total=scheduler.pool.n_blocks,
                steps=self._steps,
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
                cached_tokens=scheduler.cached_tokens,
                preemptions=scheduler.preemptions,
                queue_s=scheduler.queue_s,
                draft_tokens=scheduler.draft_tokens,
                accepted_draft_tokens=scheduler.accepted_draft_tokens,
            )

    @property
    def broken(self) -> bool:
        """Whether `run` died: no step will be turned again."""
        return self._broken

    def stalled_s(self) -> float:
        """See `Engine.stalled_s`. Takes no lock: it answers also while a step holds it for good."""
        if self._broken:
            return math.inf
        began_s = self._step_began_s
        return 0.0 if began_s is None else max(0.0, self._clock.monotonic_s() - began_s)

    def close(self, sequence: Sequence) -> Ending:
        """End a sequence now, if it has not ended: its blocks are free when this returns."""
        with self._changed:
            now_s, deadline_s = self._clock.monotonic_s(), sequence.request.deadline_s
            late = deadline_s is not None and deadline_s - DEADLINE_SLACK_S <= now_s
            reason = EndReason.DEADLINE if late else EndReason.CANCELLED
            self._end(sequence, reason, now_s)
            if self._owner_of(sequence) is not None:
                del self._live[_key(sequence.request)]
            return sequence.ending()

    def forget_adapters(self) -> None:
        """Let no request find what earlier ones computed with an adapter."""
        with self._changed:
            self._scheduler.forget_adapters()

    def stop(self) -> None:
        """Make `run` return after the step under way; live requests fail with `Unavailable`."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        """Turn steps until stopped. Sleeps while there is nothing to do."""
        try:
            while (plan := self._next_plan()) is not None:
                self._turn(plan)
        except Exception:
            self._broken = True
            log.critical("the engine of %s broke down", self.model.name, exc_info=True)
            raise
        finally:
            self._abandon()

    def _next_plan(self) -> StepPlan | None:
        """The next step, waiting until there is one; None to stop."""
        with self._changed:
            while not self._stopping:
                now_s = self._step_began_s = self._clock.monotonic_s()
                self._expire(now_s)
                plan = self._scheduler.plan(now_s)
                self._tell(
                    *((s, Started(now_s - s.queued_at_s, s.cached_tokens)) for s in plan.started)
                )
                if plan.slices:
                    return plan
                # An empty plan means that no sequence is left, so no deadline can pass meanwhile.
                self._step_began_s = None
                self._changed.wait()
            return None

    def _turn(self, plan: StepPlan) -> None:
        """Run a step, and steps that follow it, each started before the one before it is over."""
        step: StepUnderWay | None = self._start(plan)
        while step is not None:
            follower = self._start_after(step.plan)
            # A follower of what failed, or of other tokens, is dropped: nothing of it is kept.
            step = follower if self._finish(step, followed=follower is not None) else None

    def _start(self, plan: StepPlan) -> "StepUnderWay":
        try:
            return StepUnderWay(plan, self._runner.start(plan))
        except Exception as error:
            return StepUnderWay(plan, partial(_raise, error))

    def _start_after(self, plan: StepPlan) -> "StepUnderWay | None":
        """Start the step that follows one under way, if the runner and the scheduler can."""
        if not self._runner.overlaps:
            return None
        with self._changed:
            if self._stopping:
                return None
            self._expire(self._clock.monotonic_s())
            follower = self._scheduler.plan_after(plan)
        return None if follower is None else self._start(follower)

    def _finish(self, step: "StepUnderWay", followed: bool) -> bool:
        """Take in a step's results, or take it back: only what failed alone ends by it.

        Whether a step that follows it may go on.
        """
        plan = step.plan
        try:
            results = step.results()
            _check(plan, results)
        except Exception:
            log.exception("a step of %d requests failed", len(plan.slices))
            with self._changed:
                failed = self._scheduler.roll_back(plan, self._clock.monotonic_s())
                self._tell(*((s, Internal("the engine failed to compute a step")) for s in failed))
                self._step_began_s = None
            return False
        goes_on = followed and not any(result.misled for result in results)
        with self._changed:
            now_s = self._clock.monotonic_s()
            advances = self._scheduler.commit(plan, results, now_s)
            self._steps += 1
            self._output_tokens += sum(len(advance.token_ids) for advance in advances)
            self._input_tokens += sum(_prompt_tokens(plan))
            self._tell(*((a.sequence, news) for a in advances for news in _news_of(a)))
            self._step_began_s = now_s if goes_on else None
        return goes_on

    def _expire(self, now_s: float) -> None:
        late = self._scheduler.expire(now_s)
        error = "the deadline passed while generating"
        self._tell(*((s, DeadlineExceeded(error)) for s in late))

    def _end(self, sequence: Sequence, reason: EndReason, now_s: float) -> None:
        """End a sequence; one of a broken scheduler without asking it, so that callers hear."""
        if not self._broken:
            self._scheduler.end(sequence, reason, now_s)
        elif sequence.state is not State.ENDED:
            sequence.end(reason, now_s)

    def _tell(self, *news: tuple[Sequence, News]) -> None:
        """Hand news to the event loop's thread, which puts it into the callers' streams."""
        addressed = [
            (owner, one)
            for sequence, one in news
            if (owner := self._owner_of(sequence)) is not None
        ]
        for owner, one in addressed:
            if isinstance(one, Finished | WeirError):
                self._live.pop(_key(owner.sequence.request), None)
        if addressed:
            self._event_loop.call_soon_threadsafe(_deliver, addressed)

    def _owner_of(self, sequence: Sequence) -> "SubmittedRequest | None":
        """Who waits for the sequence's news; None once it was closed or has ended."""
        owner = self._live.get(_key(sequence.request))
        return owner if owner is not None and owner.sequence is sequence else None

    def _abandon(self) -> None:
        """Fail every live request: nothing will turn steps again."""
        with self._changed:
            self._stopping = True
            self._step_began_s = None
            now_s = self._clock.monotonic_s()
            left = [generation.sequence for generation in self._live.values()]
            for sequence in left:
                self._end(sequence, EndReason.ERROR, now_s)
            self._tell(*((s, Unavailable("the engine stopped")) for s in left))


@dataclass(frozen=True)
class StepUnderWay:
    """A step that has started. `results` waits for them, and raises what went wrong."""

    plan: StepPlan
    results: Callable[[], list[SliceResult]]


class SubmittedRequest:
    """The `Generation` of a request in an `EngineLoop`."""

    def __init__(self, engine: EngineLoop, sequence: Sequence) -> None:
        self.sequence = sequence
        self.stream = TokenStream()
        self._engine = engine

    def events(self) -> AsyncGenerator[Event, None]:
        """See `Generation.events`."""
        return self.stream.events()

    def close(self) -> Ending:
        """See `Generation.close`."""
        return self._engine.close(self.sequence)


def _raise(error: Exception) -> NoReturn:
    raise error


def _deliver(addressed: list[tuple[SubmittedRequest, News]]) -> None:
    for owner, news in addressed:
        owner.stream.put(news)


def _key(request: Request) -> tuple[str, int]:
    return request.request_id, request.output


def _news_of(advance: Advance) -> Iterator[News]:
    if advance.prompt_logprobs is not None:
        yield PromptScored(advance.prompt_logprobs)
    if advance.token_ids:
        yield Delta(advance.token_ids, advance.logprobs)
    if advance.reason is not None:
        yield Finished(advance.reason)


def _check(plan: StepPlan, results: list[SliceResult]) -> None:
    """Refuse a runner's answer that does not fit, before any of it is taken in."""
    assert len(results) == len(plan.slices), "a result for each slice"
    for one, result in zip(plan.slices, results, strict=True):
        assert len(result.token_ids) == one.n_sampled, "a token for each that is sampled"
        if one.request.top_logprobs is not None:
            assert len(result.logprobs) == one.n_sampled, "each of them scored"
        if not one.sequence.prompt_scored:
            n_scored = min(one.end, one.sequence.n_prompt - 1) - one.start
            assert len(result.prompt_logprobs) == max(0, n_scored), "each prompt token scored"


def _prompt_tokens(plan: StepPlan) -> list[int]:
    """Prompt tokens that each slice of the step computed."""
    return [max(0, min(one.end, one.sequence.n_prompt) - one.start) for one in plan.slices]
