"""Spans as data, and the ring buffer that keeps the newest of them."""

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Attribute = str | int | float | bool
Kind = Literal["server", "client", "internal"]
REQUEST_ID_ATTRIBUTE = "weir.request_id"


class SpanContext(NamedTuple):
    """A span's place in its trace: W3C ids, 32 and 16 lower-case hexadecimal digits."""

    trace_id: str
    span_id: str


@dataclass(slots=True)
class Span:
    """A span that has ended.

    Times are nanoseconds since 1970-01-01 UTC; `status` is a gRPC status name.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: Kind
    start_unix_nanos: int
    duration_nanos: int
    status: str
    attributes: dict[str, Attribute]


@dataclass(slots=True)
class _Trace:
    spans: deque[Span] = field(default_factory=deque)
    request_ids: set[str] = field(default_factory=set)


class SpanRing:
    """The newest `capacity` spans, found by trace id or request id. Safe to use from any thread."""

    def __init__(self, capacity: int) -> None:
        assert capacity > 0
        self._capacity = capacity
        self._order: deque[str] = deque()  # the trace id of every span, oldest first
        self._traces: dict[str, _Trace] = {}
        self._trace_ids: dict[str, str] = {}  # by request id
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, span: Span) -> None:
        """Keep the span; forget the oldest one if the ring is full."""
        with self._lock:
            if len(self._order) == self._capacity:
                self._forget_oldest()
            self._order.append(span.trace_id)
            trace = self._traces.get(span.trace_id)
            if trace is None:
                trace = self._traces[span.trace_id] = _Trace()
            trace.spans.append(span)
            request_id = span.attributes.get(REQUEST_ID_ATTRIBUTE)
            if request_id is not None:
                trace.request_ids.add(str(request_id))
                self._trace_ids[str(request_id)] = span.trace_id

    def of_trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace in the order in which they started."""
        with self._lock:
            trace = self._traces.get(trace_id)
            spans = list(trace.spans) if trace is not None else []
        return sorted(spans, key=lambda span: span.start_unix_nanos)

    def of_request(self, request_id: str) -> list[Span]:
        """The spans of the trace in which a span has the attribute `weir.request_id`."""
        return self.of_trace(self._trace_ids.get(request_id, ""))

    def _forget_oldest(self) -> None:
        trace_id = self._order.popleft()
        trace = self._traces[trace_id]
        trace.spans.popleft()
        if not trace.spans:
            del self._traces[trace_id]
            for request_id in trace.request_ids:
                if self._trace_ids.get(request_id) == trace_id:
                    del self._trace_ids[request_id]
