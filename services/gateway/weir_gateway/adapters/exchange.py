"""A bidirectional stream in which every message has one answer, and half-close one more."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import grpc

from weir_kit.errors import Internal, WeirError
from weir_kit.status import raising_weir_errors

Question = TypeVar("Question")
Answer = TypeVar("Answer")

CLOSE_TIMEOUT_S = 1.0
ENDED_EARLY = "a peer ended its stream before it was asked to"


class Exchange(Generic[Question, Answer]):
    """The caller's side of the stream. Its methods raise `WeirError`s."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.ended = False

    async def say(self, message: Question) -> None:
        """Send the opening, which has no answer."""
        with raising_weir_errors():
            await self._write(message)

    async def ask(self, message: Question) -> Answer:
        """Send a message: its answer."""
        with raising_weir_errors():
            await self._write(message)
            answer: Answer = await self._call.read()
        if answer is grpc.aio.EOF:
            raise Internal(ENDED_EARLY)
        return answer

    async def end(self, last: Iterable[Question] = ()) -> list[Answer]:
        """Send the last messages, half-close, wait for the end: every answer."""
        answers = []
        with raising_weir_errors():
            for message in last:
                await self._write(message)
            await self._call.done_writing()
            while (answer := await self._call.read()) is not grpc.aio.EOF:
                answers.append(answer)
        self.ended = True
        return answers

    async def _write(self, message: Question) -> None:
        try:
            await self._call.write(message)
        except asyncio.InvalidStateError:  # the peer has ended the call: reading says why
            await self._call.read()
            raise Internal(ENDED_EARLY) from None


@asynccontextmanager
async def exchange(call: Any) -> AsyncGenerator[Exchange[Any, Any], None]:
    """Own `call`: ended in order where the block is left in order, cancelled otherwise."""
    stream: Exchange[Any, Any] = Exchange(call)
    try:
        yield stream
        if not stream.ended:
            # The answer is already here: a peer that is late to say goodbye harms nobody.
            with suppress(WeirError, TimeoutError, asyncio.InvalidStateError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await stream.end()
    finally:
        if not stream.ended:
            call.cancel()
