"""One request's spans, collected from every process of the stack."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import grpc

from weir_cli.admin import TIMEOUT_S, Admin
from weir_contracts.telemetry.v1 import trace_pb2, trace_pb2_grpc

NANOS_PER_MS = 1_000_000
COMPLETE_TIMEOUT_S = 3.0
UNKNOWN_TIMEOUT_S = 0.5
POLL_S = 0.05


@dataclass(frozen=True)
class Span:
    """One span; `start_ms` counts from the start of the trace."""

    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: str
    status: str
    start_ms: float
    duration_ms: float
    attributes: dict[str, str]


async def trace_of(admin: Admin, request_id: str) -> list[Span]:
    """The spans of a request, in the order of their starts; empty if no process knows it.

    The last spans end just after the answer has left, so this waits, within a bound, until the
    trace has no loose ends and does not grow.
    """
    started_s = time.monotonic()
    before: list[Span] = []
    while True:
        spans = await _collect(admin, request_id)
        if len(spans) == len(before) and _is_whole(spans):
            return spans
        timeout_s = COMPLETE_TIMEOUT_S if spans else UNKNOWN_TIMEOUT_S
        if time.monotonic() - started_s > timeout_s:
            return spans
        before = spans
        await asyncio.sleep(POLL_S)


def folded(spans: Iterable[Span]) -> list[Span]:
    """One span a call: without the client's side of calls whose server's side is there."""
    by_id = {span.span_id: span for span in spans}
    doubled = {
        span.parent_span_id
        for span in by_id.values()
        if span.kind == "server"
        and span.parent_span_id in by_id
        and by_id[span.parent_span_id].kind == "client"
    }
    return [
        Span(**{**vars(span), "parent_span_id": by_id[span.parent_span_id].parent_span_id})
        if span.parent_span_id in doubled
        else span
        for span in by_id.values()
        if span.span_id not in doubled
    ]


async def _collect(admin: Admin, request_id: str) -> list[Span]:
    by_request = trace_pb2.GetTraceRequest(request_id=request_id)
    known = await _spans(admin.channel("gateway"), by_request)
    if not known:
        return []
    by_trace = trace_pb2.GetTraceRequest(trace_id=known[0].trace_id)
    answers = await asyncio.gather(
        *(_spans(channel, by_trace) for channel in admin.processes.values())
    )
    found = sorted((span for spans in answers for span in spans), key=lambda s: s.start_unix_nanos)
    origin_nanos = found[0].start_unix_nanos if found else 0
    return [_span(span, origin_nanos) for span in found]


async def _spans(
    channel: grpc.aio.Channel, request: trace_pb2.GetTraceRequest
) -> list[trace_pb2.Span]:
    stub = trace_pb2_grpc.TraceServiceStub(channel)
    return list((await stub.GetTrace(request, timeout=TIMEOUT_S)).spans)


def _span(span: trace_pb2.Span, origin_nanos: int) -> Span:
    return Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        kind=span.kind,
        status=span.status,
        start_ms=round((span.start_unix_nanos - origin_nanos) / NANOS_PER_MS, 3),
        duration_ms=round(span.duration_nanos / NANOS_PER_MS, 3),
        attributes=dict(span.attributes),
    )


def _is_whole(spans: list[Span]) -> bool:
    """Whether the root is there, and the audit record that follows every admission."""
    ids = {span.span_id for span in spans}
    # A caller's traceparent may name a span that no process of ours has: that is a root too.
    roots = [span for span in spans if span.parent_span_id not in ids]
    ended = {span.name.rsplit("/", 1)[-1] for span in spans if span.status == "OK"}
    return len(roots) == 1 and ("Record" in ended or "Admit" not in ended)
