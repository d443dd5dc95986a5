"""A call in process as its client sees it: behaves as grpc.aio's call objects do."""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from typing import Any, Self

import grpc

from weir_kit.inbound import whereabouts
from weir_kit.local.pipe import PipeClosed
from weir_kit.local.rpc import MESSAGE_BYTES_MAX, LocalRpc

logger = logging.getLogger(__name__)

Requests = AsyncIterable[Any] | Iterable[Any]
Code = (
    Callable[[Any], Any] | None
)  # a message's serializer or deserializer; None: it is bytes already


class LocalCall(grpc.aio.Call):
    """Awaitable if the method answers once; an async iterator, and `read`, if it streams.

    Cancelling the task that awaits or reads cancels the call; so does dropping the call unfinished.
    """

    def __init__(self, rpc: LocalRpc, serialize: Code, parse: Code) -> None:
        self._rpc = rpc
        self._loop = asyncio.get_running_loop()
        self._serialize = serialize
        self._parse = parse
        self._half_closed = False
        self._response: Any = grpc.aio.EOF

    def send_all(self, requests: Requests) -> None:
        """Send what an iterator yields, then half-close, in a task that ends with the call."""
        task = self._loop.create_task(_send_all(self._rpc, requests, self._serialize))
        self._rpc.on_end(task.cancel)

    def send_only(self, request: Any) -> None:
        """Send a single request and half-close."""
        try:
            self._rpc.requests.put_now(_packed(self._rpc, request, self._serialize))
        except PipeClosed:
            return  # the call has its status
        self._rpc.requests.close()

    def __del__(self) -> None:
        if not self._rpc.done and not self._loop.is_closed():
            self._rpc.cancel("Cancelled upon garbage collection!")

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        try:
            raw = await self._rpc.responses.get()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if raw is None:
            await self._raise_for_status()
            return grpc.aio.EOF
        return self._parse(raw) if self._parse is not None else raw

    async def write(self, request: Any) -> None:
        if self._rpc.done:
            raise asyncio.InvalidStateError("RPC already finished.")
        if self._half_closed:
            raise asyncio.InvalidStateError("RPC is half closed")
        try:
            await self._rpc.requests.put(_packed(self._rpc, request, self._serialize))
        except PipeClosed:
            await self._raise_for_status()
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def done_writing(self) -> None:
        self._half_closed = True
        self._rpc.requests.close()

    def cancel(self) -> bool:
        return self._rpc.cancel("Locally cancelled by application!")

    def cancelled(self) -> bool:
        return self._rpc.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._rpc.done

    def time_remaining(self) -> float | None:
        return self._rpc.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._rpc.on_end(lambda: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        await self._rpc.initial_or_end()
        return grpc.aio.Metadata(*(self._rpc.initial or ()))

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._rpc.end()
        return grpc.aio.Metadata(*self._rpc.trailing)

    async def code(self) -> grpc.StatusCode:
        await self._rpc.end()
        assert self._rpc.code is not None
        return self._rpc.code

    async def details(self) -> str:
        await self._rpc.end()
        return self._rpc.details

    async def wait_for_connection(self) -> None:
        if self._rpc.done:
            await self._raise_for_status()

    async def _answer(self) -> Any:
        if self._response is grpc.aio.EOF:
            self._response = await self.read()
        return self._response

    async def _raise_for_status(self) -> None:
        rpc = self._rpc
        await rpc.end()
        if rpc.cancelled_by_client:
            raise asyncio.CancelledError
        if rpc.code is not None and rpc.code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                rpc.code,
                grpc.aio.Metadata(*(rpc.initial or ())),
                grpc.aio.Metadata(*rpc.trailing),
                details=rpc.details,
                debug_error_string="",
            )


async def _send_all(rpc: LocalRpc, requests: Requests, serialize: Code) -> None:
    try:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                await rpc.requests.put(_packed(rpc, request, serialize))
        else:
            for request in requests:
                await rpc.requests.put(_packed(rpc, request, serialize))
        rpc.requests.close()
    except PipeClosed:
        return  # the call ended before its requests did
    except asyncio.CancelledError:
        rpc.cancel("Locally cancelled by application!")
        raise
    except Exception as error:
        logger.debug("the iterator of requests failed: %s", whereabouts(error))
        rpc.cancel("Locally cancelled by application!")


def _packed(rpc: LocalRpc, request: Any, serialize: Code) -> bytes:
    """The request's bytes. One that is too large ends the call. Raises PipeClosed."""
    raw: bytes = serialize(request) if serialize is not None else request
    if len(raw) > MESSAGE_BYTES_MAX:
        rpc.refuse(f"Sent message larger than max ({len(raw)} vs. {MESSAGE_BYTES_MAX})")
        raise PipeClosed
    return raw
