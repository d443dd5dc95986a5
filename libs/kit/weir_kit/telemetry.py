"""Tracing: own spans, cheap enough for every call, in W3C terms so that anyone can join the trace.

A span costs two microseconds because it is plain data: OpenTelemetry's SDK is loaded, and given a
copy of each span that ends, only if there is a collector to send them to (`weir_kit.otlp`).
"""

import random
import re
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self

import grpc

from weir_kit.errors import WeirError, wire_of
from weir_kit.spans import Attribute, Kind, Span, SpanContext, SpanRing

RING_SPANS = 20_000
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

# A process has one ring, as it has one log: what any code in it traces is found in one place.
ring = SpanRing(RING_SPANS)
_sinks: list[Callable[[Span], None]] = [ring.add]

_current: ContextVar[SpanContext | None] = ContextVar("weir_span", default=None)
_service: ContextVar[str] = ContextVar("weir_service", default="weir")


class OpenSpan:
    """A span that runs. As a context manager it is the parent of what starts inside."""

    __slots__ = (
        *("_began_nanos", "_ended", "_kind", "_name", "_parent_id", "_service"),
        *("_start_unix_nanos", "_token", "attributes", "context"),
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        parent: SpanContext | None,
        service: str,
        attributes: dict[str, Attribute],
    ) -> None:
        trace_id = parent.trace_id if parent is not None else new_trace_id()
        self.context = SpanContext(trace_id, new_span_id())
        self.attributes = attributes
        self._name = name
        self._kind = kind
        self._parent_id = parent.span_id if parent is not None else ""
        self._service = service
        self._start_unix_nanos = time.time_ns()
        self._began_nanos = time.perf_counter_ns()
        self._ended = False
        self._token: Token[SpanContext | None] | None = None

    def annotate(self, **attributes: Attribute) -> None:
        """Add attributes. Never content or keys."""
        self.attributes.update(attributes)

    def end(self, status: str = "OK") -> None:
        """The span ends here, by a gRPC status name. Only the first end counts."""
        if self._ended:
            return
        self._ended = True
        span = Span(
            *self.context,
            self._parent_id,
            self._service,
            self._name,
            self._kind,
            self._start_unix_nanos,
            time.perf_counter_ns() - self._began_nanos,
            status,
            self.attributes,
        )
        for sink in _sinks:
            sink(span)

    def __enter__(self) -> Self:
        self._token = _current.set(self.context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._token is not None
        # ValueError: a generator is closed by another task than the one that ran it. That task's
        # current span was never this one, so there is nothing to put back.
        with suppress(ValueError):
            _current.reset(self._token)
        self.end("OK" if error is None else status_name_of(error))


def span(name: str, **attributes: Attribute) -> OpenSpan:
    """A span around a piece of work, child of the current one: `with span("screen", rules=3): …`.

    Not around a `yield`, whose caller would then run inside it: use `start_span` there.
    """
    return OpenSpan(name, "internal", _current.get(), _service.get(), attributes)


def start_span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: SpanContext | None = None,
    **attributes: Attribute,
) -> OpenSpan:
    """A span that is nobody's parent unless entered; `end(status)` ends it.

    By default it is a child of the current span.
    """
    return OpenSpan(name, kind, parent or _current.get(), _service.get(), attributes)


def record_span(
    name: str,
    start_unix_nanos: int,
    end_unix_nanos: int,
    *,
    parent: SpanContext | None = None,
    service: str | None = None,
    status: str = "OK",
    **attributes: Attribute,
) -> None:
    """Write down a span that is over, from any thread.

    By default it is a child of the current span and belongs to the current service.
    """
    parent = parent or _current.get()
    done = Span(
        parent.trace_id if parent is not None else new_trace_id(),
        new_span_id(),
        parent.span_id if parent is not None else "",
        service or _service.get(),
        name,
        "internal",
        start_unix_nanos,
        max(0, end_unix_nanos - start_unix_nanos),
        status,
        attributes,
    )
    for sink in _sinks:
        sink(done)


def current_span_context() -> SpanContext | None:
    """The span that new ones become children of."""
    return _current.get()


def current_trace_id() -> str:
    """32 hexadecimal digits, or "" outside a trace."""
    context = _current.get()
    return context.trace_id if context is not None else ""


def current_service() -> str:
    """The service in whose name spans are made."""
    return _service.get()


@contextmanager
def use_service(name: str) -> Iterator[None]:
    """Spans made inside, and by tasks started inside, are the service's."""
    token = _service.set(name)
    try:
        yield
    finally:
        _service.reset(token)


def enter_service(name: str) -> None:
    """The whole of this task works for the service. For the server's own wrapper."""
    _service.set(name)


def traceparent_of(context: SpanContext) -> str:
    """The W3C `traceparent` header (https://www.w3.org/TR/trace-context/), sampled."""
    return f"00-{context.trace_id}-{context.span_id}-01"


def parse_traceparent(header: str) -> SpanContext | None:
    """The caller's span, or None if the header is absent or malformed: then a new trace begins."""
    found = TRACEPARENT.fullmatch(header)
    if found is None or found[0].startswith("ff") or not int(found[1], 16) or not int(found[2], 16):
        return None
    return SpanContext(found[1], found[2])


def status_name_of(error: BaseException) -> str:
    """The gRPC status name that an error amounts to."""
    match error:
        case WeirError():
            return wire_of(error).status
        case grpc.aio.AioRpcError():
            return error.code().name
        case CancelledError() | GeneratorExit():
            return "CANCELLED"
        case TimeoutError():
            return "DEADLINE_EXCEEDED"
    return "INTERNAL"


def add_sink(sink: Callable[[Span], None]) -> Callable[[], None]:
    """Give `sink` every span that ends from now on, from any thread; returns what stops that."""
    _sinks.append(sink)
    return lambda: _sinks.remove(sink)


def new_trace_id() -> str:
    """128 random bits in hexadecimal digits. No secret: a trace id only has to be its own."""
    return f"{random.getrandbits(128):032x}"


def new_span_id() -> str:
    """64 random bits in hexadecimal digits."""
    return f"{random.getrandbits(64):016x}"
