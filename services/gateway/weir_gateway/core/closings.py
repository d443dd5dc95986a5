"""Work that must be done whatever becomes of the request that asked for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from weir_kit import deadline
from weir_kit.errors import Unavailable

T = TypeVar("T")

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
ATTEMPT_TIMEOUT_S = 3.0
DRAIN_TIMEOUT_S = 2 * TIMEOUT_S  # a record waits for its settlement
BACKOFFS_S = (0.1, 0.5, 2.0)


class Closings:
    """Owns the tasks that reserve, settle, release and record.

    A request's own task can be cancelled at any moment; these only by `drain` at shutdown.
    Each is bounded by `DRAIN_TIMEOUT_S`, and each request starts three at most.
    """

    def __init__(self, backoffs_s: tuple[float, ...] = BACKOFFS_S) -> None:
        self._backoffs_s = backoffs_s
        self._tasks: dict[asyncio.Task[Any], str] = {}

    def start(self, request_id: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in a task of its own. Whoever waits for it must shield it."""
        task = asyncio.create_task(_outliving(work))
        self._tasks[task] = request_id
        task.add_done_callback(self._tasks.pop)
        return task

    def has(self, request_id: str) -> bool:
        """Whether work for the request is under way."""
        return request_id in self._tasks.values()

    async def attempt(self, work: Callable[[float], Awaitable[T]]) -> T:
        """Do idempotent `work(timeout_s)`; while its service is away again, three times at most."""
        async with asyncio.timeout(TIMEOUT_S):
            for backoff_s in self._backoffs_s:
                try:
                    return await work(ATTEMPT_TIMEOUT_S)
                except Unavailable:
                    await asyncio.sleep(backoff_s)
            return await work(ATTEMPT_TIMEOUT_S)

    async def drain(self, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Wait for what still runs; what is late is cancelled and left to billing's sweeper."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        late = [task for task in self._tasks if not task.done()]
        if late:
            for task in late:
                task.cancel()
            log.error("%d closings were not done when the gateway stopped", len(late))
            await asyncio.wait(late)


async def _outliving(work: Coroutine[Any, Any, T]) -> T:
    """`work` with time of its own: the deadline of the request behind it may have passed."""
    deadline.set_remaining(DRAIN_TIMEOUT_S)
    return await work
