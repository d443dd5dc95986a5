"""One call in process: what its client and its handler share."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from weir_kit.local.pipe import Pipe

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
Pairs = tuple[tuple[str, str | bytes], ...]


class LocalRpc:
    """The state of a call. It ends once, by whoever ends it first: handler, client or deadline."""

    def __init__(self, metadata: Pairs, timeout_s: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.metadata = metadata
        self.requests = Pipe()
        self.responses = Pipe()
        self.initial: Pairs | None = None
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self.trailing: Pairs = ()
        self.cancelled_by_client = False
        self.task: asyncio.Task[None] | None = None
        self._on_end: list[Callable[[], Any]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.deadline_s: float | None = None
        if timeout_s is not None:
            self.deadline_s = time.monotonic() + timeout_s
            self._timer = self._loop.call_later(max(0.0, timeout_s), self._expire)

    @property
    def done(self) -> bool:
        """Whether the call has its status."""
        return self.code is not None

    def time_remaining(self) -> float | None:
        """Seconds to the deadline; None without one."""
        return None if self.deadline_s is None else max(0.0, self.deadline_s - time.monotonic())

    def begin(self, initial: Pairs = ()) -> None:
        """The handler's initial metadata, if this is its first sign of life."""
        if self.initial is None:
            self.initial = initial
            self._wake()

    def finish(self, code: grpc.StatusCode, details: str = "", trailing: Pairs = ()) -> bool:
        """The handler is done; what it wrote stays readable. False: the call had ended before."""
        return self._end(code, details, trailing, discard=False)

    def cancel(self, details: str) -> bool:
        """The client is gone: the handler is cancelled, nothing more is read."""
        if self._end(grpc.StatusCode.CANCELLED, details, (), discard=True):
            self.cancelled_by_client = True
            self._stop_handler()
            return True
        return False

    def refuse(self, details: str) -> None:
        """The client sent more than may be sent: the call ends, the handler is cancelled."""
        if self._end(grpc.StatusCode.RESOURCE_EXHAUSTED, details, (), discard=True):
            self._stop_handler()

    async def initial_or_end(self) -> None:
        """Wait for initial metadata."""
        while self.initial is None:
            await self._wait()

    async def end(self) -> None:
        """Wait for the status."""
        while self.code is None:
            await self._wait()

    def on_end(self, callback: Callable[[], Any]) -> None:
        """Call back once the call has ended; at once if it has."""
        if self.done:
            callback()
        else:
            self._on_end.append(callback)

    def _expire(self) -> None:
        if self._end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", (), discard=True):
            self._stop_handler()

    def _end(self, code: grpc.StatusCode, details: str, trailing: Pairs, *, discard: bool) -> bool:
        if self.code is not None:
            return False
        self.code, self.details, self.trailing = code, details, trailing
        self.initial = self.initial or ()
        if self._timer is not None:
            self._timer.cancel()
        self.requests.close(discard=True)
        self.responses.close(discard=discard)
        self._wake()
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            callback()
        return True

    def _stop_handler(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _wait(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
