"""Every call makes a client span and, under it, a server span, and both tell the truth."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from weir_kit import telemetry
from weir_kit.errors import QueueFull
from weir_kit.spans import Span

METHOD = "weir.contract.v1.ContractService"


async def spans_of(trace_id: str, count: int) -> dict[str, Span]:
    """The trace's spans by kind, once there are `count`: a server may end just after its client."""
    async with asyncio.timeout(10):
        while len(spans := telemetry.ring.of_trace(trace_id)) < count:
            await asyncio.sleep(0.005)
    return {span.kind: span for span in spans}


async def test_the_server_span_is_the_client_spans_child(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        with telemetry.span("inside", rows=3):
            return StringValue(value=telemetry.current_trace_id())

    stub = await serve(unary_unary=handler)
    with telemetry.use_service("gateway"), telemetry.span("root") as root:
        answer = await stub.unary_unary(StringValue())
    spans = telemetry.ring.of_trace(root.context.trace_id)
    by_name = {(span.name, span.kind): span for span in spans}
    client = by_name[f"{METHOD}/unary_unary", "client"]
    server = by_name[f"{METHOD}/unary_unary", "server"]
    inside = by_name["inside", "internal"]
    assert answer.value == root.context.trace_id
    assert client.parent_span_id == root.context.span_id
    assert server.parent_span_id == client.span_id
    assert inside.parent_span_id == server.span_id
    assert (client.service, server.service, inside.service) == ("gateway", "contract", "contract")
    assert {client.status, server.status} == {"OK"}
    assert client.start_unix_nanos <= server.start_unix_nanos
    assert client.duration_nanos >= server.duration_nanos >= inside.duration_nanos


@pytest.mark.parametrize(
    "header", [None, "", "nonsense", "00-" + "0" * 32 + "-1234567890abcdef-01"]
)
async def test_a_call_without_a_trace_begins_one(serve: Any, header: str | None) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=telemetry.current_trace_id())

    name = "weir.gateway.v1.GenerationService"
    stub = await serve(governed=False, full_name=name, unary_unary=handler)
    metadata = () if header is None else (("traceparent", header),)
    trace_id = (await stub.unary_unary(StringValue(), metadata=metadata)).value
    assert len(trace_id) == 32
    assert int(trace_id, 16)
    span = (await spans_of(trace_id, 1))["server"]
    assert span.parent_span_id == ""
    assert span.service == "gateway"


async def test_an_error_is_both_spans_status(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        raise QueueFull("full")

    stub = await serve(unary_unary=handler)
    with telemetry.span("root") as root, pytest.raises(grpc.aio.AioRpcError):
        await stub.unary_unary(StringValue())
    spans = await spans_of(root.context.trace_id, 3)
    assert spans["client"].status == spans["server"].status == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("way", ["cancel", "break"])
async def test_a_cancelled_stream_is_not_ok(serve: Any, way: str) -> None:
    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        while True:
            yield StringValue(value="x" * 100_000)

    stub = await serve(unary_stream=handler)
    with telemetry.span("root") as root:
        if way == "cancel":
            call = stub.unary_stream(StringValue())
            await call.read()
            call.cancel()
        else:
            async for _ in stub.unary_stream(StringValue()):
                break
    spans = await spans_of(root.context.trace_id, 3)
    assert spans["client"].status == spans["server"].status == "CANCELLED"


async def test_a_late_call_is_late_on_both_sides(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        await asyncio.Event().wait()
        return StringValue()

    stub = await serve(unary_unary=handler)
    with telemetry.span("root") as root, pytest.raises(grpc.aio.AioRpcError):
        await stub.unary_unary(StringValue(), timeout=0.1)
    spans = await spans_of(root.context.trace_id, 3)
    assert spans["client"].status == spans["server"].status == "DEADLINE_EXCEEDED"


async def test_a_whole_stream_is_ok(serve: Any) -> None:
    async def handler(requests: Any, context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield request

    stub = await serve(stream_stream=handler)
    with telemetry.span("root") as root:
        messages = [m async for m in stub.stream_stream(iter([StringValue(value="a")]))]
    assert len(messages) == 1
    spans = await spans_of(root.context.trace_id, 3)
    assert spans["client"].status == spans["server"].status == "OK"
