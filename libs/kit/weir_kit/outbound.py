"""What every call goes through on its way out: deadline, trace context, token, client span."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Self

import grpc

from weir_kit import deadline, telemetry
from weir_kit.metadata import SERVICE_TOKEN_KEY, TRACEPARENT_KEY
from weir_kit.telemetry import OpenSpan, status_name_of

UNARY_S = 30.0
STREAM_S = 600.0


class OutboundCall(grpc.aio.Call):
    """grpc.aio's call, or the local one, and its client span.

    It alone holds the call: when it is dropped unfinished, as by `break` in `async for`, the call
    is cancelled there and then, not when the garbage collector finds the time.
    """

    def __init__(self, call: Any, span: OpenSpan, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._span = span
        self._loop = loop

    def __del__(self) -> None:
        if not self._loop.is_closed() and not self._call.done():
            self._call.cancel()
        self._span.end("CANCELLED")

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            response = yield from self._call.__await__()
        except BaseException as error:
            self._span.end(status_name_of(error))
            raise
        self._span.end()
        return response

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """The next message; `grpc.aio.EOF` at the end."""
        try:
            message = await self._call.read()
        except BaseException as error:
            self._span.end(status_name_of(error))
            raise
        if message is grpc.aio.EOF:
            self._span.end()
        return message

    async def write(self, request: Any) -> None:
        """Send a message; waits while the other side is behind."""
        await self._call.write(request)

    async def done_writing(self) -> None:
        """Half-close."""
        await self._call.done_writing()

    def cancel(self) -> bool:
        cancelled: bool = self._call.cancel()
        if cancelled:
            self._span.end("CANCELLED")
        return cancelled

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def done(self) -> bool:
        return bool(self._call.done())

    def time_remaining(self) -> float | None:
        left_s: float | None = self._call.time_remaining()
        return left_s

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> Any:
        return await self._call.initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await self._call.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = await self._call.code()
        self._span.end(code.name)
        return code

    async def details(self) -> str:
        return str(await self._call.details())

    async def wait_for_connection(self) -> None:
        await self._call.wait_for_connection()


class Outbound:
    """Starts calls. Without a `service_token` they carry none."""

    def __init__(self, service_token: str | None) -> None:
        self._token = ((SERVICE_TOKEN_KEY, service_token),) if service_token is not None else ()

    def wrap(self, method: str, start: Callable[..., Any], default_s: float) -> Callable[..., Any]:
        """`start`, a stub's multi-callable for `/package.Service/Method`, governed."""
        name = method[1:]

        def governed(
            request: Any = None,
            timeout: float | None = None,
            metadata: Any = None,
            **options: Any,
        ) -> OutboundCall:
            span = telemetry.start_span(name, kind="client")
            context = (TRACEPARENT_KEY, telemetry.traceparent_of(span.context))
            call = start(
                request,
                timeout=_timeout_s(timeout, default_s),
                metadata=(context, *self._token, *(metadata or ())),
                **options,
            )
            return OutboundCall(call, span, asyncio.get_running_loop())

        return governed


def _timeout_s(wanted_s: float | None, default_s: float) -> float:
    """What the caller wants, or the default, and never more than the call being served has left."""
    timeout_s = default_s if wanted_s is None else wanted_s
    left_s = deadline.remaining_s()
    return timeout_s if left_s is None else min(timeout_s, left_s)
