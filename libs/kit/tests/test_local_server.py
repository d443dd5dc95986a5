"""What only the server in process does: everything else is in tests/contract."""

import asyncio
from typing import Any

import grpc
import pytest

from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from weir_kit.inbound import Inbound
from weir_kit.local import LocalChannel, LocalServer, local_channel
from weir_kit.service import Servicer


class Tokenizer(tokenizer_pb2_grpc.TokenizerServiceServicer):
    """Answers when it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def ListTokenizers(self, request: Any, context: Any) -> Any:
        self.asked.set()
        await self.may_answer.wait()
        return tokenizer_pb2.ListTokenizersResponse()


def servicer_of(implementation: Tokenizer) -> Servicer:
    add = tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server
    return Servicer("weir.tokenizer.v1.TokenizerService", implementation, add)


class Running:
    """A server, and one call that it is busy with."""

    def __init__(self) -> None:
        self.tokenizer = Tokenizer()
        self.server = LocalServer(Inbound(None))
        self.server.add(servicer_of(self.tokenizer))
        self.channel = LocalChannel(self.server)
        self.stub = tokenizer_pb2_grpc.TokenizerServiceStub(self.channel)

    async def ask(self) -> Any:
        return await self.stub.ListTokenizers(tokenizer_pb2.ListTokenizersRequest())


async def test_stopping_waits_for_calls_that_run_and_takes_no_new_ones() -> None:
    running = Running()
    call = asyncio.create_task(running.ask())
    await running.tokenizer.asked.wait()
    stopping = asyncio.create_task(running.server.stop(10))
    await asyncio.sleep(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.ask()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    running.tokenizer.may_answer.set()
    await call
    await stopping


async def test_stopping_without_grace_cancels_what_runs() -> None:
    running = Running()
    call = asyncio.create_task(running.ask())
    await running.tokenizer.asked.wait()
    await running.server.stop(None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.CANCELLED


async def test_closing_a_channel_cancels_its_calls() -> None:
    running = Running()
    call = asyncio.create_task(running.ask())
    await running.tokenizer.asked.wait()
    await running.channel.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert running.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    with pytest.raises(grpc.aio.UsageError):
        await running.ask()


async def test_a_finished_call_leaves_nothing_behind() -> None:
    running = Running()
    running.tokenizer.may_answer.set()
    for _ in range(10):
        await running.ask()
    await asyncio.sleep(0)
    assert not running.server._tasks
    assert not running.channel._running


async def test_a_channel_for_tests_is_one_line() -> None:
    tokenizer = Tokenizer()
    tokenizer.may_answer.set()
    stub = tokenizer_pb2_grpc.TokenizerServiceStub(
        local_channel(servicer_of(tokenizer), service_token="token")
    )
    answer = await stub.ListTokenizers(tokenizer_pb2.ListTokenizersRequest())
    assert answer == tokenizer_pb2.ListTokenizersResponse()
