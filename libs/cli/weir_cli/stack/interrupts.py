"""Ctrl-C and its relatives: the first ends the work in order, a second one at once."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """What signals do to the running task."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._second: Callable[[], None] = lambda: None
        self.came = False

    def on_second(self, action: Callable[[], None]) -> None:
        """What a second signal does."""
        self._second = action

    def take(self) -> None:
        """A signal came."""
        if self.came:
            self._second()
        else:
            self.came = True
            self._task.cancel()


@contextmanager
def ending_on_signals() -> Iterator[Interrupts]:
    """Inside, a signal cancels the current task once; that cancellation ends here, quietly."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    interrupts = Interrupts(task)
    for one in SIGNALS:
        loop.add_signal_handler(one, interrupts.take)
    try:
        yield interrupts
    except asyncio.CancelledError:
        if not interrupts.came:
            raise
        task.uncancel()
    finally:
        for one in SIGNALS:
            loop.remove_signal_handler(one)
