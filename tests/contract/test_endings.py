"""Deadlines and cancellation reach the handler, whoever ends the call and in whatever way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from weir_kit import deadline

SOON_S = 10.0  # longer than any of this takes; only a broken test waits for it


class Handler:
    """Waits for ever, and says how it ended."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.cancelled = False

    async def unary(self, request: Any, context: Any) -> StringValue:
        try:
            await self.forever()
        finally:
            self.ended.set()
        return StringValue()

    async def stream(self, request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            yield StringValue(value="first")
            await self.forever()
        finally:
            self.ended.set()

    async def talkative(self, request: Any, context: Any) -> AsyncIterator[StringValue]:
        try:
            self.started.set()
            while True:
                yield StringValue(value="x" * 100_000)
        finally:
            self.ended.set()

    async def forever(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def has_started(self) -> None:
        await asyncio.wait_for(self.started.wait(), SOON_S)

    async def has_ended(self) -> None:
        await asyncio.wait_for(self.ended.wait(), SOON_S)


async def test_cancelling_a_call_cancels_its_handler(serve: Any) -> None:
    handler = Handler()
    call = (await serve(unary_unary=handler.unary)).unary_unary(StringValue())
    await handler.has_started()
    assert call.cancel()
    assert not call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()
    assert call.done()
    assert await call.code() is grpc.StatusCode.CANCELLED
    await handler.has_ended()
    assert handler.cancelled


async def test_cancelling_the_task_that_awaits_cancels_the_handler(serve: Any) -> None:
    handler = Handler()
    stub = await serve(unary_unary=handler.unary)

    async def ask() -> None:
        await stub.unary_unary(StringValue())

    task = asyncio.create_task(ask())
    await handler.has_started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await handler.has_ended()
    assert handler.cancelled


async def test_cancelling_the_task_that_iterates_cancels_the_handler(serve: Any) -> None:
    handler = Handler()
    stub = await serve(unary_stream=handler.stream)

    async def listen() -> None:
        async for _ in stub.unary_stream(StringValue()):
            pass

    task = asyncio.create_task(listen())
    await handler.has_started()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await handler.has_ended()
    assert handler.cancelled


async def test_leaving_a_stream_early_closes_the_generator(serve: Any) -> None:
    handler = Handler()
    stub = await serve(unary_stream=handler.stream)
    async for message in stub.unary_stream(StringValue()):
        assert message.value == "first"
        break
    await handler.has_ended()


async def test_cancelling_closes_a_generator_that_waits_for_its_reader(serve: Any) -> None:
    handler = Handler()
    stub = await serve(unary_stream=handler.talkative)
    call = stub.unary_stream(StringValue())
    await handler.has_started()
    await call.read()
    call.cancel()
    await handler.has_ended()
    with pytest.raises(asyncio.CancelledError):
        while await call.read() is not grpc.aio.EOF:
            pass


async def test_a_call_that_is_dropped_is_cancelled(serve: Any) -> None:
    handler = Handler()
    call = (await serve(unary_unary=handler.unary)).unary_unary(StringValue())
    await handler.has_started()
    del call
    await handler.has_ended()


async def test_a_failing_iterator_of_requests_cancels_the_call(serve: Any) -> None:
    handler = Handler()
    stub = await serve(stream_unary=handler.unary)

    async def failing() -> AsyncIterator[StringValue]:
        yield StringValue()
        await handler.has_started()
        raise ValueError("no more")

    call = stub.stream_unary(failing())
    with pytest.raises(asyncio.CancelledError):
        await call
    await handler.has_ended()


async def test_a_handler_that_ends_early_ends_the_stream(serve: Any) -> None:
    async def one(requests: Any, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="only")

    call = (await serve(stream_stream=one)).stream_stream()
    assert [m.value async for m in call] == ["only"]
    assert await call.code() is grpc.StatusCode.OK
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(StringValue())


async def test_a_passed_deadline_cancels_the_handler(serve: Any) -> None:
    handler = Handler()
    stub = await serve(unary_unary=handler.unary)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.unary_unary(StringValue(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await handler.has_ended()
    assert handler.cancelled


async def test_a_deadline_ends_a_stream_that_has_begun(serve: Any) -> None:
    handler = Handler()
    stub = await serve(unary_stream=handler.stream)
    call = stub.unary_stream(StringValue(), timeout=0.3)
    assert (await call.read()).value == "first"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await handler.has_ended()


@pytest.mark.parametrize("timeout", [0, -1])
async def test_a_deadline_in_the_past_fails_at_once(serve: Any, timeout: float) -> None:
    handler = Handler()
    stub = await serve(unary_unary=handler.unary)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.unary_unary(StringValue(), timeout=timeout)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_deadline_gets_the_servers(serve: Any) -> None:
    handler = Handler()
    name = "weir.gateway.v1.GenerationService"  # needs no token, which an ungoverned channel lacks
    stub = await serve(governed=False, full_name=name, call_s_max=0.1, unary_stream=handler.stream)
    call = stub.unary_stream(StringValue())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await handler.has_ended()


async def test_the_handler_knows_its_deadline(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=f"{context.time_remaining()} {deadline.remaining_s()}")

    stub = await serve(unary_unary=handler)
    seen = (await stub.unary_unary(StringValue(), timeout=20)).value
    assert all(15 < float(part) <= 20.5 for part in seen.split())
    by_default = (await stub.unary_unary(StringValue())).value
    assert all(25 < float(part) <= 30.5 for part in by_default.split())


async def test_a_call_from_a_handler_never_outlives_the_handlers_own(serve: Any) -> None:
    seen_s: list[float] = []

    async def inner(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        seen_s.append(context.time_remaining())
        yield StringValue()

    async def outer(request: StringValue, context: Any) -> StringValue:
        async for _ in stub.unary_stream(StringValue(), timeout=100):
            pass
        return StringValue()

    stub = await serve(unary_unary=outer, unary_stream=inner)
    await stub.unary_unary(StringValue(), timeout=15)
    assert 0 < seen_s[0] <= 15.5


async def test_calls_outside_a_handler_can_be_bounded_too(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=str(context.time_remaining()))

    stub = await serve(unary_unary=handler)
    with deadline.within(5):
        answer = await stub.unary_unary(StringValue())
    assert 0 < float(answer.value) <= 5.5


async def test_a_call_tells_when_it_is_done(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        context.add_done_callback(lambda _: handler_done.set())
        return StringValue()

    handler_done = asyncio.Event()
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    call = (await serve(unary_unary=handler)).unary_unary(StringValue())
    call.add_done_callback(done.set_result)
    await call
    assert await asyncio.wait_for(done, SOON_S) is call
    await asyncio.wait_for(handler_done.wait(), SOON_S)
    assert call.time_remaining() is None or call.time_remaining() <= 30.5
    assert not call.cancel()


async def test_the_callers_context_stays_with_the_caller(serve: Any) -> None:
    variable: ContextVar[str] = ContextVar("test", default="nothing")

    async def handler(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=variable.get())

    stub = await serve(unary_unary=handler)
    variable.set("the caller's")
    assert (await stub.unary_unary(StringValue())).value == "nothing"


async def test_many_calls_run_side_by_side(serve: Any) -> None:
    everyone = asyncio.Barrier(50)

    async def handler(request: StringValue, context: Any) -> StringValue:
        await everyone.wait()
        return request

    stub = await serve(unary_unary=handler)
    calls = [stub.unary_unary(StringValue(value=str(i))) for i in range(50)]
    began_s = time.monotonic()
    answers = await asyncio.gather(*calls)
    assert [answer.value for answer in answers] == [str(i) for i in range(50)]
    assert time.monotonic() - began_s < SOON_S
