"""One HTTP request and its answer, on ASGI."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from weir_gateway.rpc.openai.answers import to_json
from weir_kit.errors import DeadlineExceeded, InvalidArgument
from weir_kit.telemetry import OpenSpan

T = TypeVar("T")

BODY_BYTES_MAX = 1 << 20
ITEMS_BODY_BYTES_MAX = 16 << 20  # where there may be pictures and tensors
BODY_TIMEOUT_S = 30.0
STUCK_S = 5.0  # past its deadline a request ends by itself, unless the client does not read


class BodyTooLarge(InvalidArgument):
    """The body has more bytes than its path takes: 413."""


class ClientGone(Exception):
    """The client closed the connection before it had its answer."""


class HttpCall:
    """A request, and the means to answer it: once as JSON, or as a stream of events."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, span: OpenSpan
    ) -> None:
        self.request_id = request_id
        self.span = span
        self.path_params: Mapping[str, str] = scope.get("path_params", {})
        self.headers = Headers(scope=scope)
        self.status = 0  # 0: nothing was sent
        self.ended = False
        self._receive = receive
        self._send = send

    async def body(self, bytes_max: int = BODY_BYTES_MAX) -> bytes:
        """The body.

        Raises `ClientGone`, `BodyTooLarge`, and `InvalidArgument` if it is slow or compressed.
        """
        if self.headers.get("content-encoding", "identity") != "identity":
            raise InvalidArgument("the body must not be compressed: leave out content-encoding")
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > bytes_max:
                        raise BodyTooLarge(f"the body has more than {bytes_max} bytes")
                    more = message.get("more_body", False)
        except TimeoutError:
            raise InvalidArgument(f"the body took longer than {BODY_TIMEOUT_S:g} s") from None
        return b"".join(parts)

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, cancelled as soon as the client goes away: then raises `ClientGone`."""
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self._disconnected())
        try:
            await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientGone
            return working.result()
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def within(self, timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
        """`work` that takes `timeout_s` and answers, while connected.

        Raises `DeadlineExceeded` `STUCK_S` later where the client does not read the answer.
        """
        try:
            async with asyncio.timeout(timeout_s + STUCK_S):
                return await self.while_connected(work)
        except TimeoutError:
            raise DeadlineExceeded("the client took the answer too slowly") from None

    async def answer(
        self, status: int, content: Any, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with JSON."""
        await self.answer_bytes(status, to_json(content), "application/json", headers or {})

    async def answer_bytes(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str]
    ) -> None:
        """Answer with any content."""
        length = {"content-length": str(len(body))}
        await self._start(status, content_type, {**headers, **length})
        self.ended = True
        await self._send({"type": "http.response.body", "body": body})

    async def begin_events(self, headers: Mapping[str, str]) -> None:
        """Begin a stream of server-sent events."""
        unbuffered = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        await self._start(200, "text/event-stream; charset=utf-8", {**headers, **unbuffered})

    async def emit(self, *events: bytes, last: bool = False) -> None:
        """Send events, each with one line of data."""
        self.ended = last
        body = b"".join(b"data: %b\n\n" % event for event in events)
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def _start(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        assert self.status == 0
        self.status = status
        every = {"content-type": content_type, "x-request-id": self.request_id, **headers}
        raw = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in every.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
