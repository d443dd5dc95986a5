"""`weir.telemetry.v1.TraceService`: looks into this process's ring of spans."""

import re
from typing import Any

from weir_contracts.telemetry.v1 import trace_pb2, trace_pb2_grpc
from weir_kit.errors import InvalidArgument
from weir_kit.service import Servicer
from weir_kit.spans import Span, SpanRing

TRACE_ID = re.compile(r"[0-9a-f]{32}")
REQUEST_ID_CHARS_MAX = 256


class TraceServicer(trace_pb2_grpc.TraceServiceServicer):
    """Answers from `ring`."""

    def __init__(self, ring: SpanRing) -> None:
        self._ring = ring

    async def GetTrace(
        self, request: trace_pb2.GetTraceRequest, context: Any
    ) -> trace_pb2.GetTraceResponse:
        match request.WhichOneof("trace"):
            case "trace_id":
                if TRACE_ID.fullmatch(request.trace_id) is None:
                    raise InvalidArgument("32 lower-case hexadecimal digits", field="trace_id")
                spans = self._ring.of_trace(request.trace_id)
            case "request_id":
                if not 0 < len(request.request_id) <= REQUEST_ID_CHARS_MAX:
                    raise InvalidArgument("a request's id, as `req_…`", field="request_id")
                spans = self._ring.of_request(request.request_id)
            case _:
                raise InvalidArgument("either trace_id or request_id is needed", field="trace")
        return trace_pb2.GetTraceResponse(spans=[_to_proto(span) for span in spans])


def trace_servicer(ring: SpanRing) -> Servicer:
    """The servicer, for a server."""
    return Servicer(
        "weir.telemetry.v1.TraceService",
        TraceServicer(ring),
        trace_pb2_grpc.add_TraceServiceServicer_to_server,
    )


def _to_proto(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        start_unix_nanos=span.start_unix_nanos,
        duration_nanos=span.duration_nanos,
        status=span.status,
        attributes={key: str(value) for key, value in span.attributes.items()},
        kind=span.kind,
    )
