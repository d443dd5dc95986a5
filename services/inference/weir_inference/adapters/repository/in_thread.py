"""Long work on files in a thread, which ends soon after who waits for it is cancelled."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STOP_WAIT_S = 10.0  # a read that hangs is left behind


class Stopped(Exception):
    """Nobody waits for the result."""


class Stop:
    """Asked between pieces of the work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """The work shall end."""
        self._event.set()

    def check(self) -> None:
        """Raises `Stopped` once it was asked."""
        if self._event.is_set():
            raise Stopped


async def in_thread(work: Callable[[Stop], T]) -> T:
    """What `work` returns or raises. Cancelled, it asks the work to stop and waits for its end."""
    stop = Stop()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    running.add_done_callback(_look_at)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.ask()
        await asyncio.wait([running], timeout=STOP_WAIT_S)
        raise


def _look_at(ended: "asyncio.Future[T]") -> None:
    """What it raised may be of no interest to anyone; asyncio would report it as forgotten."""
    if not ended.cancelled():
        ended.exception()
