"""Messages and metadata cross in every arity, in order, in both directions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from weir_kit.metadata import value_of
from weir_kit.service import Servicer

MEBIBYTE = 1024 * 1024


async def echo(request: StringValue, context: Any) -> StringValue:
    return StringValue(value=f"echo {request.value}")


async def three(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
    for i in range(3):
        yield StringValue(value=f"{request.value}{i}")


async def joined(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
    return StringValue(value=",".join([request.value async for request in requests]))


async def upper(requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
    async for request in requests:
        yield StringValue(value=request.value.upper())
    yield StringValue(value="end")


async def letters() -> AsyncIterator[StringValue]:
    for letter in "abc":
        yield StringValue(value=letter)


async def test_one_request_one_answer(serve: Any) -> None:
    stub = await serve(unary_unary=echo)
    assert (await stub.unary_unary(StringValue(value="a"))).value == "echo a"


async def test_an_answer_can_be_awaited_twice(serve: Any) -> None:
    stub = await serve(unary_unary=echo)
    call = stub.unary_unary(StringValue(value="a"))
    assert await call == await call


async def test_one_request_many_answers(serve: Any) -> None:
    stub = await serve(unary_stream=three)
    answers = [m.value async for m in stub.unary_stream(StringValue(value="x"))]
    assert answers == ["x0", "x1", "x2"]


async def test_many_requests_one_answer(serve: Any) -> None:
    stub = await serve(stream_unary=joined)
    assert (await stub.stream_unary(letters())).value == "a,b,c"


async def test_requests_may_come_from_a_plain_iterator(serve: Any) -> None:
    stub = await serve(stream_unary=joined)
    requests = iter([StringValue(value="a"), StringValue(value="b")])
    assert (await stub.stream_unary(requests)).value == "a,b"


async def test_many_requests_many_answers(serve: Any) -> None:
    stub = await serve(stream_stream=upper)
    answers = [m.value async for m in stub.stream_stream(letters())]
    assert answers == ["A", "B", "C", "end"]


async def test_a_stream_can_be_read_and_written_by_hand(serve: Any) -> None:
    stub = await serve(stream_stream=upper)
    call = stub.stream_stream()
    for letter in "ab":
        await call.write(StringValue(value=letter))
        assert (await call.read()).value == letter.upper()
    await call.done_writing()
    assert (await call.read()).value == "end"
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert call.done()


async def test_nothing_can_be_written_after_half_close(serve: Any) -> None:
    stub = await serve(stream_stream=upper)
    call = stub.stream_stream()
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(StringValue(value="late"))


async def test_a_handler_may_read_and_write_by_its_context(serve: Any) -> None:
    async def by_hand(requests: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(StringValue(value=request.value * 2))

    stub = await serve(stream_stream=by_hand)
    assert [m.value async for m in stub.stream_stream(letters())] == ["aa", "bb", "cc"]


async def test_a_handler_may_answer_before_it_has_read_everything(serve: Any) -> None:
    async def first(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        async for request in requests:
            return request
        raise AssertionError

    async def endless() -> AsyncIterator[StringValue]:
        while True:
            yield StringValue(value="again")

    stub = await serve(stream_unary=first)
    assert (await asyncio.wait_for(stub.stream_unary(endless()), 10)).value == "again"


async def test_both_sides_have_messages_of_their_own(serve: Any) -> None:
    kept: list[StringValue] = []

    async def keep(request: StringValue, context: Any) -> StringValue:
        kept.append(request)
        return request

    stub = await serve(unary_unary=keep)
    sent = StringValue(value="before")
    answer = await stub.unary_unary(sent)
    sent.value = answer.value = "after"
    assert kept[0].value == "before"


async def test_metadata_goes_both_ways(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        await context.send_initial_metadata((("first", value_of(context, "question")),))
        context.set_trailing_metadata((("last", "bye"), ("raw-bin", b"\x00\xff")))
        return StringValue()

    stub = await serve(unary_unary=handler)
    call = stub.unary_unary(StringValue(), metadata=(("question", "why"),))
    await call
    assert value_of(await call.initial_metadata(), "first") == "why"
    trailing = await call.trailing_metadata()
    assert value_of(trailing, "last") == "bye"
    assert trailing["raw-bin"] == b"\x00\xff"


async def test_initial_metadata_comes_before_the_answer(serve: Any) -> None:
    go_on = asyncio.Event()

    async def handler(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        await context.send_initial_metadata((("first", "hello"),))
        await go_on.wait()
        yield StringValue(value="answer")

    stub = await serve(unary_stream=handler)
    call = stub.unary_stream(StringValue())
    metadata = await asyncio.wait_for(call.initial_metadata(), 10)
    assert value_of(metadata, "first") == "hello"
    go_on.set()
    assert [m.value async for m in call] == ["answer"]


async def test_generated_stubs_and_servicers_work_unmodified(serve: Any) -> None:
    class Tokenizer(tokenizer_pb2_grpc.TokenizerServiceServicer):
        async def Encode(self, request: Any, context: Any) -> tokenizer_pb2.EncodeResponse:
            ids = [len(text) for text in request.texts.texts]
            return tokenizer_pb2.EncodeResponse(sequences=[tokenizer_pb2.TokenIds(ids=ids)])

    name = "weir.tokenizer.v1.TokenizerService"
    add = tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server
    stub = tokenizer_pb2_grpc.TokenizerServiceStub(
        (await serve(Servicer(name, Tokenizer(), add))).channel
    )
    texts = tokenizer_pb2.Texts(texts=["a", "bcd"])
    answer = await stub.Encode(tokenizer_pb2.EncodeRequest(texts=texts))
    assert list(answer.sequences[0].ids) == [1, 3]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Decode(tokenizer_pb2.DecodeRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("size", [5 * MEBIBYTE, 15 * MEBIBYTE])
async def test_big_messages_pass(serve: Any, size: int) -> None:
    async def same(request: StringValue, context: Any) -> StringValue:
        return request

    stub = await serve(unary_unary=same)
    assert len((await stub.unary_unary(StringValue(value="x" * size))).value) == size


async def test_a_request_over_the_limit_is_refused(serve: Any) -> None:
    stub = await serve(unary_unary=echo)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.unary_unary(StringValue(value="x" * 17 * MEBIBYTE))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_answer_over_the_limit_is_refused(serve: Any) -> None:
    async def too_much(request: StringValue, context: Any) -> StringValue:
        return StringValue(value="x" * 17 * MEBIBYTE)

    stub = await serve(unary_unary=too_much)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.unary_unary(StringValue())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_writer_waits_for_a_slow_reader(serve: Any) -> None:
    written = 0

    async def firehose(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        nonlocal written
        for _ in range(1000):
            written += 1
            yield StringValue(value="x" * 100_000)

    stub = await serve(unary_stream=firehose)
    call = stub.unary_stream(StringValue())
    await call.read()
    seen = -1
    while seen != written:  # until the writer stands still
        seen = written
        await asyncio.sleep(0.1)
    assert written < 900
    call.cancel()


async def test_a_client_waits_for_a_slow_handler(serve: Any) -> None:
    read = asyncio.Event()
    written = 0

    async def slow(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        await read.wait()
        return StringValue(value=str(len([request async for request in requests])))

    async def write_all(call: Any) -> None:
        nonlocal written
        for _ in range(300):
            await call.write(StringValue(value="x" * 100_000))
            written += 1
        await call.done_writing()

    stub = await serve(stream_unary=slow)
    call = stub.stream_unary()
    writer = asyncio.create_task(write_all(call))
    seen = -1
    while seen != written:
        seen = written
        await asyncio.sleep(0.1)
    assert written < 300
    read.set()
    assert (await call).value == "300"
    await writer
