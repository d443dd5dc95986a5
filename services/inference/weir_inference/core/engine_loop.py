"""The loop that turns steps: plan → run → commit, on a thread of its own.

Two threads meet here. The event loop's thread submits and closes requests; the engine's thread
turns steps. The scheduler is guarded by one lock, held while planning and committing
(microseconds), never while the runner computes. News goes back once per step, by one wake-up of the
event loop.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator

from weir_inference.core.engine import (
    Delta,
    Event,
    Finished,
    Load,
    ModelDescription,
    Runner,
    Started,
)
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.scheduler import Scheduler
from weir_inference.core.sequence import Sequence
from weir_inference.core.step_plan import StepPlan
from weir_inference.core.token_stream import News, TokenStream
from weir_kit.clock import Clock
from weir_kit.errors import AlreadyExists, DeadlineExceeded, Internal, Unavailable

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
        self._live: dict[str, SubmittedRequest] = {}
        self._steps = self._input_tokens = self._output_tokens = 0

    def submit(self, request: Request) -> "SubmittedRequest":
        """Queue a request; raises what `Engine.submit` says."""
        with self._changed:
            if self._stopping:
                raise Unavailable(f"the engine of {self.model.name!r} is stopping")
            if request.request_id in self._live:
                raise AlreadyExists("a request with this request_id is being generated")
            sequence = self._scheduler.add(request, self._clock.monotonic_s())
            generation = SubmittedRequest(self, sequence)
            self._live[request.request_id] = generation
            self._changed.notify()
        return generation

    def load(self) -> Load:
        """How busy the engine is, at one moment between two changes of the scheduler."""
        with self._changed:
            return Load(
                queued_requests=len(self._scheduler.waiting),
                running_requests=len(self._scheduler.running),
                kv_blocks_held=self._scheduler.pool.n_held,
                kv_blocks_total=self._scheduler.pool.n_blocks,
                steps=self._steps,
                input_tokens=self._input_tokens,
                output_tokens=self._output_tokens,
            )

    def close(self, sequence: Sequence) -> Ending:
        """End a sequence now, if it has not ended: its blocks are free when this returns."""
        with self._changed:
            now_s, deadline_s = self._clock.monotonic_s(), sequence.request.deadline_s
            late = deadline_s is not None and deadline_s - DEADLINE_SLACK_S <= now_s
            reason = EndReason.DEADLINE if late else EndReason.CANCELLED
            self._scheduler.end(sequence, reason, now_s)
            if self._owner_of(sequence) is not None:
                del self._live[sequence.request.request_id]
            return sequence.ending()

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
            log.critical("the engine of %s broke down", self.model.name, exc_info=True)
            raise
        finally:
            self._abandon()

    def _next_plan(self) -> StepPlan | None:
        """The next step, waiting until there is one; None to stop."""
        with self._changed:
            while not self._stopping:
                now_s = self._clock.monotonic_s()
                late = self._scheduler.expire(now_s)
                plan = self._scheduler.plan(now_s)
                self._tell(
                    *((s, DeadlineExceeded("the deadline passed while generating")) for s in late),
                    *((s, Started(now_s - s.queued_at_s)) for s in plan.started),
                )
                if plan.slices:
                    return plan
                # An empty plan means that no sequence is left, so no deadline can pass meanwhile.
                self._changed.wait()
            return None

    def _turn(self, plan: StepPlan) -> None:
        """Run one step. Whatever it raises ends the requests of this step and no other."""
        try:
            sampled = self._runner.run(plan)
            assert len(sampled) == sum(one.samples for one in plan.slices), "one token a sample"
        except Exception:
            log.exception("a step of %d requests failed", len(plan.slices))
            with self._changed:
                failed = self._scheduler.fail(plan, self._clock.monotonic_s())
                self._tell(*((s, Internal("the engine failed to compute a step")) for s in failed))
            return
        with self._changed:
            advances = self._scheduler.commit(plan, sampled, self._clock.monotonic_s())
            self._steps += 1
            self._output_tokens += sum(a.token_id is not None for a in advances)
            self._input_tokens += sum(_prompt_tokens(plan))
            news: list[tuple[Sequence, News]] = []
            for advance in advances:
                if advance.token_id is not None:
                    news.append((advance.sequence, Delta((advance.token_id,))))
                if advance.reason is not None:
                    news.append((advance.sequence, Finished(advance.reason)))
            self._tell(*news)

    def _tell(self, *news: tuple[Sequence, News]) -> None:
        """Hand news to the event loop's thread, which puts it into the callers' streams."""
        addressed = [
            (owner, one)
            for sequence, one in news
            if (owner := self._owner_of(sequence)) is not None
        ]
        for owner, one in addressed:
            if not isinstance(one, Started | Delta):
                self._live.pop(owner.sequence.request.request_id, None)
        if addressed:
            self._event_loop.call_soon_threadsafe(_deliver, addressed)

    def _owner_of(self, sequence: Sequence) -> "SubmittedRequest | None":
        """Who waits for the sequence's news; None once it was closed or has ended."""
        owner = self._live.get(sequence.request.request_id)
        return owner if owner is not None and owner.sequence is sequence else None

    def _abandon(self) -> None:
        """Fail every live request: nothing will turn steps again."""
        with self._changed:
            self._stopping = True
            now_s = self._clock.monotonic_s()
            left = [generation.sequence for generation in self._live.values()]
            for sequence in left:
                self._scheduler.end(sequence, EndReason.ERROR, now_s)
            self._tell(*((s, Unavailable("the engine stopped")) for s in left))


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


def _deliver(addressed: list[tuple[SubmittedRequest, News]]) -> None:
    for owner, news in addressed:
        owner.stream.put(news)


def _prompt_tokens(plan: StepPlan) -> list[int]:
    """Prompt tokens that each slice of the step computed."""
    return [
        max(0, min(one.end, len(one.request.prompt_token_ids)) - one.start) for one in plan.slices
    ]
