"""Dynamic batching: calls that wait for an instance are computed together, along their rows.

A batch forms while all instances are busy. One that is free waits a little for as many calls as
came together lately: so a lone caller never waits, and a crowd is not computed one by one.
Everything here runs on one event loop; computing happens elsewhere.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from weir_inference.core.call_queue import Call, CallQueue
from weir_inference.core.retry_after import RetryAfter
from weir_inference.core.tensor_engine import InferRequest, InferResult, TensorLoad
from weir_inference.core.tensors import Tensors
from weir_kit.clock import Clock
from weir_kit.errors import DeadlineExceeded, Internal, QueueFull, Unavailable, WeirError

log = logging.getLogger(__name__)

LATELY_S = 0.05

# The outputs of each call, in their order. An error may be any one call's fault.
Compute = Callable[[Sequence[InferRequest]], Awaitable[Sequence[Tensors]]]


@dataclass(frozen=True)
class BatchLimits:
    """A batcher's bounds.

    `max_rows` is of a batch, `max_queued_rows` of all that waits, `n_instances` how many batches
    run at once. `max_delay_s` is how long an instance that is free waits for calls to join a batch
    while more callers are about: 0 for never.
    """

    max_rows: int
    max_queued_rows: int
    n_instances: int = 1
    max_delay_s: float = 0.0

    def __post_init__(self) -> None:
        assert 0 < self.max_rows <= self.max_queued_rows, "the largest call has room to wait"
        assert self.n_instances > 0
        assert 0 <= self.max_delay_s < math.inf


@asynccontextmanager
async def open_batcher(
    compute: Compute, limits: BatchLimits, clock: Clock
) -> AsyncIterator["Batcher"]:
    """A batcher. Leaving waits for all calls that it took; cancelled meanwhile, it fails them."""
    batcher = Batcher(compute, limits, clock)
    instances = [asyncio.create_task(batcher.turn()) for _ in range(limits.n_instances)]
    try:
        yield batcher
    finally:
        batcher.close()
        await asyncio.gather(*instances)


class Batcher:
    """Calls that wait, and the instances that take them.

    `batch_rows` is what a batch takes: at most `max_rows`. Who knows how fast the model is changes
    it. A call of more rows runs alone.
    """

    def __init__(self, compute: Compute, limits: BatchLimits, clock: Clock) -> None:
        self.batch_rows = limits.max_rows
        self._compute = compute
        self._limits = limits
        self._clock = clock
        self._event_loop = asyncio.get_running_loop()
        self._waiting = CallQueue()
        self._numbers = count()
        self._idle: list[asyncio.Future[None]] = []  # of instances that wait to be woken
        self._holding = 0  # of these, how many hold a batch back
        self._crowd = Crowd()
        self._running_calls = 0
        self._closing = False
        self._retry_after = RetryAfter()
        self._running = self._requests = self._batches = self._rows = self._failures = 0
        self._queue_s = self._compute_s = 0.0

    async def infer(self, request: InferRequest, rows: int, kind: Hashable) -> InferResult:
        """Compute a call, with others of its kind. Cancelled while it waits, it is dropped.

        Raises `QueueFull`, `DeadlineExceeded` where the deadline passes before its batch starts,
        `Unavailable` once the batcher is closing, what computing raised if that is a `WeirError`,
        else `Internal`.
        """
        assert 0 < rows <= self._limits.max_rows
        if self._closing:
            raise Unavailable("the model is being unloaded")
        now_s = self._clock.monotonic_s()
        if self._waiting.rows + rows > self._limits.max_queued_rows:
            raise QueueFull(
                f"{self._waiting.rows} rows wait for this model, "
                f"{self._limits.max_queued_rows} may",
                retry_after_s=self._retry_after.seconds(now_s),
            )
        answer: asyncio.Future[InferResult] = self._event_loop.create_future()
        call = Call(next(self._numbers), request, rows, kind, now_s, answer)
        self._waiting.put(call)
        self._requests += 1
        self._crowd.seen(len(self._waiting) + self._running_calls, now_s)
        if not self._holding or not self._hold_back_s():
            self._wake_one()
        try:
            return await answer
        except asyncio.CancelledError:
            self._waiting.discard(call)
            raise

    def load(self) -> TensorLoad:
        """How busy it is."""
        return TensorLoad(
            queued_requests=len(self._waiting),
            queued_rows=self._waiting.rows,
            running_batches=self._running,
            requests=self._requests,
            batches=self._batches,
            rows=self._rows,
            failures=self._failures,
            queue_s=self._queue_s,
            compute_s=self._compute_s,
        )

    def close(self) -> None:
        """Take no more calls; instances return from `turn` once none waits."""
        self._closing = True
        while self._idle:
            self._wake_one()

    async def turn(self) -> None:
        """Be an instance: compute batch after batch until closed. Cancelled, fail what waits."""
        batch: list[Call] = []
        try:
            while True:
                delay_s = self._hold_back_s()
                batch = [] if delay_s else self._take()
                if batch:
                    await self._run(batch)
                elif self._closing:
                    return
                else:
                    await self._sleep(delay_s)
        except BaseException:
            self._closing = True
            _fail([*batch, *self._waiting.drain()], Unavailable("the model was unloaded"))
            raise

    def _wake_one(self) -> None:
        # It runs in the event loop's next turn: all calls that come in this one join.
        if self._idle:
            _wake(self._idle.pop())

    async def _sleep(self, delay_s: float) -> None:
        """Until woken; at most so long unless it is 0."""
        woken: asyncio.Future[None] = self._event_loop.create_future()
        self._idle.append(woken)
        timer = self._event_loop.call_later(delay_s, _wake, woken) if delay_s else None
        self._holding += timer is not None
        try:
            await woken
        finally:
            if timer is not None:
                self._holding -= 1
                timer.cancel()
            if woken in self._idle:
                self._idle.remove(woken)

    def _hold_back_s(self) -> float:
        """How long to wait for more calls to come; 0 to start now."""
        if not self._limits.max_delay_s or self._closing:
            return 0.0
        head = self._waiting.head()
        if head is None or self._waiting.rows_beside(head) >= self.batch_rows:
            return 0.0
        now_s = self._clock.monotonic_s()
        if len(self._waiting) + self._running_calls >= self._crowd.size(now_s):
            return 0.0  # all that are about have come
        return max(0.0, self._limits.max_delay_s - (now_s - head.queued_at_s))

    def _take(self) -> list[Call]:
        """The next batch. Calls that are late are told so and take no place in it."""
        now_s = self._clock.monotonic_s()
        batch: list[Call] = []
        while not batch and len(self._waiting):
            taken = self._waiting.take(self.batch_rows)
            _fail([call for call in taken if call.late(now_s)], _too_late())
            batch = [call for call in taken if not call.late(now_s)]
        return batch

    async def _run(self, batch: list[Call]) -> None:
        """Compute a batch; if that fails, each call alone, so that only who is at fault fails."""
        self._running += 1
        self._running_calls += len(batch)
        try:
            error = await self._try(batch)
            if error is None:
                return
            if len(batch) == 1 or isinstance(error, DeadlineExceeded):
                self._refuse(batch, error)
                return
            log.info("a batch of %d calls failed: each is computed alone", len(batch))
            for call in batch:
                if call.answer.done():
                    continue
                if call.late(self._clock.monotonic_s()):
                    _fail([call], _too_late())
                elif (error := await self._try([call])) is not None:
                    self._refuse([call], error)
        finally:
            self._running -= 1
            self._running_calls -= len(batch)
            self._retry_after.ended(self._clock.monotonic_s())

    async def _try(self, batch: list[Call]) -> WeirError | None:
        """Compute and answer the calls, or say what went wrong."""
        began_s = self._clock.monotonic_s()
        try:
            outputs = await self._compute([call.request for call in batch])
            assert len(outputs) == len(batch), "an answer for each call"
        except WeirError as error:
            return error
        except TimeoutError:
            return DeadlineExceeded("computing took too long")
        except Exception as error:
            # Neither the message nor the trace: they may hold what the caller sent.
            log.error("computing %d calls failed: %s", len(batch), type(error).__name__)
            return Internal("the model failed to compute")
        compute_s = self._clock.monotonic_s() - began_s
        rows = sum(call.rows for call in batch)
        self._batches += 1
        self._rows += rows
        self._compute_s += compute_s
        for call, one in zip(batch, outputs, strict=True):
            queue_s = began_s - call.queued_at_s
            self._queue_s += queue_s
            if not call.answer.done():  # its caller may have gone away
                call.answer.set_result(InferResult(one, queue_s, compute_s, rows))
        return None

    def _refuse(self, calls: Sequence[Call], error: WeirError) -> None:
        self._failures += len(calls)
        _fail(calls, error)


class Crowd:
    """How many calls were there at once lately."""

    def __init__(self) -> None:
        self._since_s = -math.inf
        self._now = self._before = 0

    def seen(self, calls: int, now_s: float) -> None:
        """So many calls wait or run."""
        self._turn(now_s)
        self._now = max(self._now, calls)

    def size(self, now_s: float) -> int:
        """The most of the last one to two `LATELY_S`."""
        self._turn(now_s)
        return max(self._now, self._before)

    def _turn(self, now_s: float) -> None:
        age_s = now_s - self._since_s
        if age_s >= LATELY_S:
            self._before = self._now if age_s < 2 * LATELY_S else 0
            self._now, self._since_s = 0, now_s


def _wake(idle: "asyncio.Future[None]") -> None:
    if not idle.done():
        idle.set_result(None)


def _fail(calls: Sequence[Call], error: WeirError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


def _too_late() -> WeirError:
    return DeadlineExceeded("the deadline passed before the model was free")
