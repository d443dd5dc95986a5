"""A bounded way for messages, from one writer to one reader on the same event loop."""

import asyncio
from collections import deque

CAPACITY = 16


class PipeClosed(Exception):
    """Nobody will read what is written."""


class Pipe:
    """Messages in order.

    A writer waits while `CAPACITY` of them are unread: backpressure, as on the wire.
    """

    __slots__ = ("_closed", "_messages", "_reader", "_writer")

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._closed = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    async def put(self, message: bytes) -> None:
        """Raises PipeClosed if the pipe is closed, also while it waits for room."""
        while len(self._messages) >= CAPACITY and not self._closed:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        self.put_now(message)

    def put_now(self, message: bytes) -> None:
        """`put` for a first message, which always has room."""
        if self._closed:
            raise PipeClosed
        self._messages.append(message)
        _wake(self._reader)

    async def get(self) -> bytes | None:
        """The next message; None once the pipe is closed and empty."""
        while not self._messages:
            if self._closed:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        _wake(self._writer)
        return message

    def close(self, *, discard: bool = False) -> None:
        """No more messages. What is unread stays readable unless `discard`."""
        self._closed = True
        if discard:
            self._messages.clear()
        _wake(self._reader)
        _wake(self._writer)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
