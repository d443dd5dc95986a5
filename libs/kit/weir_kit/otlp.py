"""Spans to an OpenTelemetry collector, by OTLP over gRPC, for processes that have one.

https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ names the attributes of calls.
"""

import logging
from collections.abc import Mapping

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from weir_kit.spans import Attribute, Span

KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SCOPE = InstrumentationScope("weir_kit")
FLUSH_MS_MAX = 3_000
# Statuses that say nothing about the server's health: its span is no error then.
CALLERS_FAULTS = {
    *("CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED"),
    *("RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNAUTHENTICATED"),
}

logger = logging.getLogger(__name__)


class OtlpExport:
    """Sends spans in batches from a thread of its own; drops what a slow collector cannot take.

    It reads the standard variables OTEL_EXPORTER_OTLP_* from the environment.
    """

    def __init__(self) -> None:
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        self._resources: dict[str, Resource] = {}

    def add(self, span: Span) -> None:
        """Put the span into the next batch."""
        self._processor.on_end(to_otel(span, self._resource(span.service)))

    def close(self) -> None:
        """Send what is left, for `FLUSH_MS_MAX` at most. Blocks."""
        if not self._processor.force_flush(FLUSH_MS_MAX):
            logger.warning("some spans did not reach the collector")
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _resource(self, service: str) -> Resource:
        found = self._resources.get(service)
        if found is None:
            found = Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: "weir"})
            self._resources[service] = found
        return found


def to_otel(span: Span, resource: Resource) -> ReadableSpan:
    """The span as OpenTelemetry's SDK has it."""
    trace_id = int(span.trace_id, 16)
    parent = None
    if span.parent_span_id:
        parent = SpanContext(trace_id, int(span.parent_span_id, 16), True, SAMPLED)
    failed = span.status != "OK" and not (span.kind == "server" and span.status in CALLERS_FAULTS)
    return ReadableSpan(
        name=span.name,
        context=SpanContext(trace_id, int(span.span_id, 16), False, SAMPLED),
        parent=parent,
        resource=resource,
        attributes={**span.attributes, **_call_attributes(span)},
        kind=KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.status) if failed else Status(StatusCode.UNSET),
        start_time=span.start_unix_nanos,
        end_time=span.start_unix_nanos + span.duration_nanos,
        instrumentation_scope=SCOPE,
    )


def _call_attributes(span: Span) -> Mapping[str, Attribute]:
    service, slash, method = span.name.partition("/")
    if span.kind == "internal" or not slash:
        return {}
    return {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": int(grpc.StatusCode[span.status].value[0]),
    }
