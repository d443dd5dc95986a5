"""Spans reach a real OTLP endpoint as OpenTelemetry's conventions have them."""

import asyncio
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from weir_kit import telemetry
from weir_kit.otlp import OtlpExport


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []

    async def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_spans_reach_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    export = await asyncio.to_thread(OtlpExport)
    remove = telemetry.add_sink(export.add)
    with telemetry.use_service("policy"), telemetry.span("root") as root:
        call = telemetry.start_span("weir.policy.v1.PolicyService/Admit", kind="server", n=1)
        call.end("UNAVAILABLE")
    remove()
    with telemetry.span("after"):
        pass
    await asyncio.to_thread(export.close)
    await server.stop(0)

    (resource_spans,) = collector.requests[0].resource_spans
    resource = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
    assert (resource["service.name"], resource["service.namespace"]) == ("policy", "weir")
    spans = {span.name: span for span in resource_spans.scope_spans[0].spans}
    assert set(spans) == {"root", "weir.policy.v1.PolicyService/Admit"}
    sent = spans["weir.policy.v1.PolicyService/Admit"]
    assert sent.trace_id.hex() == root.context.trace_id
    assert sent.parent_span_id.hex() == root.context.span_id
    assert sent.status.code == sent.status.STATUS_CODE_ERROR
    attributes = {item.key: item.value for item in sent.attributes}
    assert attributes["rpc.system"].string_value == "grpc"
    assert attributes["rpc.service"].string_value == "weir.policy.v1.PolicyService"
    assert attributes["rpc.method"].string_value == "Admit"
    assert attributes["rpc.grpc.status_code"].int_value == 14
    assert attributes["n"].int_value == 1
    assert spans["root"].status.code == spans["root"].status.STATUS_CODE_UNSET
