"""Spans know their parents; the ring keeps the newest and never more."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator

import pytest

from weir_contracts.telemetry.v1 import trace_pb2
from weir_kit import telemetry
from weir_kit.errors import InvalidArgument, QueueFull
from weir_kit.spans import Attribute, Span, SpanContext, SpanRing
from weir_kit.trace_service import TraceServicer


def a_span(trace_id: str, start: int = 0, **attributes: Attribute) -> Span:
    return Span(trace_id, "1" * 16, "", "gateway", "x", "internal", start, 1, "OK", attributes)


def test_the_ring_forgets_the_oldest() -> None:
    ring = SpanRing(3)
    for i in range(5):
        ring.add(a_span(f"t{i}", **{"weir.request_id": f"r{i}"}))
    assert len(ring) == 3
    assert [len(ring.of_trace(f"t{i}")) for i in range(5)] == [0, 0, 1, 1, 1]
    assert [len(ring.of_request(f"r{i}")) for i in range(5)] == [0, 0, 1, 1, 1]


def test_whatever_is_added_the_ring_and_its_indexes_stay_bounded() -> None:
    ring, chance = SpanRing(50), random.Random(1)
    for i in range(5000):
        trace, request = chance.randrange(100), chance.randrange(100)
        ring.add(a_span(f"t{trace}", i, **{"weir.request_id": f"r{request}"}))
        assert len(ring) <= 50
    assert sum(len(ring.of_trace(f"t{i}")) for i in range(100)) == 50
    assert len(ring._traces) <= 50
    assert len(ring._trace_ids) <= 100
    assert all(trace_id in ring._traces for trace_id in ring._trace_ids.values())


def test_spans_come_in_the_order_in_which_they_started() -> None:
    ring = SpanRing(10)
    for start in (3, 1, 2):
        ring.add(a_span("t", start))
    assert [span.start_unix_nanos for span in ring.of_trace("t")] == [1, 2, 3]


def test_threads_may_add_at_the_same_time() -> None:
    ring = SpanRing(100)

    def add() -> None:
        for i in range(2000):
            ring.add(a_span(f"t{i % 7}"))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ring) == sum(len(ring.of_trace(f"t{i}")) for i in range(7)) == 100


def test_a_span_inside_another_is_its_child() -> None:
    with telemetry.span("outer", **{"weir.request_id": "req_nest"}) as outer:
        assert telemetry.current_span_context() == outer.context
        with telemetry.span("inner") as inner:
            inner.annotate(rows=3)
        assert telemetry.current_trace_id() == outer.context.trace_id
    assert telemetry.current_span_context() is None
    first, second = telemetry.ring.of_request("req_nest")
    assert (first.name, second.name, second.parent_span_id) == ("outer", "inner", first.span_id)
    assert second.attributes == {"rows": 3}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueueFull("x"), "RESOURCE_EXHAUSTED"),
        (ValueError("x"), "INTERNAL"),
        (asyncio.CancelledError(), "CANCELLED"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
    ],
)
def test_a_span_that_fails_says_how(error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), telemetry.span("fails") as span:
        raise error
    assert telemetry.ring.of_trace(span.context.trace_id)[0].status == status


def test_a_finished_span_can_be_written_down_from_a_thread() -> None:
    parent = SpanContext("a" * 32, "b" * 16)

    def record() -> None:
        telemetry.record_span("prefill", 5, 9, parent=parent, service="inference", tokens=7)

    thread = threading.Thread(target=record)
    thread.start()
    thread.join()
    (span,) = telemetry.ring.of_trace("a" * 32)
    assert (span.parent_span_id, span.service, span.duration_nanos) == ("b" * 16, "inference", 4)
    assert span.attributes == {"tokens": 7}


def test_spans_are_made_in_the_services_name() -> None:
    with telemetry.use_service("billing"), telemetry.span("settle") as span:
        pass
    assert telemetry.ring.of_trace(span.context.trace_id)[0].service == "billing"
    assert telemetry.current_service() == "weir"


async def test_a_generator_closed_by_another_task_ends_its_span() -> None:
    async def generate() -> AsyncIterator[int]:
        with telemetry.span("held") as span:
            contexts.append(span.context)
            yield 1

    contexts: list[SpanContext] = []
    generator = generate()
    await asyncio.create_task(anext(generator))  # type: ignore[arg-type]
    await generator.aclose()  # type: ignore[attr-defined]
    assert telemetry.ring.of_trace(contexts[0].trace_id)[0].status == "CANCELLED"


def test_a_traceparent_is_read_back() -> None:
    context = SpanContext(telemetry.new_trace_id(), telemetry.new_span_id())
    assert telemetry.parse_traceparent(telemetry.traceparent_of(context)) == context


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-01\n",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(header: str) -> None:
    assert telemetry.parse_traceparent(header) is None


async def test_the_trace_service_answers_from_the_ring() -> None:
    ring = SpanRing(10)
    ring.add(a_span("c" * 32, 5, **{"weir.request_id": "req_1", "n": 2}))
    servicer = TraceServicer(ring)
    by_trace = await servicer.GetTrace(trace_pb2.GetTraceRequest(trace_id="c" * 32), None)
    by_request = await servicer.GetTrace(trace_pb2.GetTraceRequest(request_id="req_1"), None)
    assert by_trace == by_request
    assert by_trace.spans[0].attributes["n"] == "2"
    unknown = await servicer.GetTrace(trace_pb2.GetTraceRequest(trace_id="d" * 32), None)
    assert not unknown.spans


@pytest.mark.parametrize(
    "request_", [{}, {"trace_id": "short"}, {"request_id": ""}, {"request_id": "x" * 300}]
)
async def test_a_wrong_question_is_refused(request_: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await TraceServicer(SpanRing(1)).GetTrace(trace_pb2.GetTraceRequest(**request_), None)
    assert caught.value.field
