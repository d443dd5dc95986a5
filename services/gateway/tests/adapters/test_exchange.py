"""One answer a message, over the local channel and over the wire."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from weir_contracts.tokenizer.v1 import tokenizer_pb2 as pb
from weir_contracts.tokenizer.v1 import tokenizer_pb2_grpc
from weir_gateway.adapters.tokenizer import TokenizerPeer
from weir_gateway.core.call import Prompt
from weir_kit.channel import connect
from weir_kit.errors import Internal, QueueFull, WeirError
from weir_kit.inbound import Inbound
from weir_kit.local import local_channel
from weir_kit.server import GrpcServer
from weir_kit.service import Servicer

PROMPT = Prompt(tuple(range(20)), 5)


class Room(tokenizer_pb2_grpc.TokenizerServiceServicer):
    """Answers with what it got; id 0 ends the stream, id 1 fails it."""

    def __init__(self) -> None:
        self.options: list[pb.DecodeStreamOptions] = []
        self.ended: list[bool] = []

    async def DecodeStream(self, requests: Any, context: Any) -> Any:
        seen = 0
        try:
            async for request in requests:
                if request.WhichOneof("message") == "options":
                    self.options.append(request.options)
                    continue
                if 0 in request.tokens.ids:
                    return
                if 1 in request.tokens.ids:
                    raise QueueFull("full")
                seen += len(request.tokens.ids)
                yield pb.DecodeStreamResponse(text=str(seen), decoded_tokens=seen)
            yield pb.DecodeStreamResponse(text="end", decoded_tokens=seen)
            self.ended.append(True)
        finally:
            if not self.ended:
                self.ended.append(False)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture(params=["local", "wire"])
async def peer(request: Any, room: Room) -> AsyncIterator[TokenizerPeer]:
    servicer = Servicer(
        "weir.tokenizer.v1.TokenizerService",
        room,
        tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server,
    )
    channel: grpc.aio.Channel
    if request.param == "local":
        async with local_channel(servicer) as channel:
            yield TokenizerPeer(channel)
        return
    server = GrpcServer(Inbound(None))
    server.add(servicer)
    address = await server.start("127.0.0.1:0")
    async with connect(address) as channel:
        yield TokenizerPeer(channel)
    await server.drain(0)


async def test_every_message_has_its_answer_and_the_end_one_more(
    peer: TokenizerPeer, room: Room
) -> None:
    async with peer.decoder("m", PROMPT, ("x",), 5.0) as decoder:
        assert (await decoder.feed((5, 6), last=False)).text == "2"
        decoded = await decoder.feed((7,), last=True)
    assert (decoded.text, decoded.decoded_tokens) == ("3end", 3)
    assert list(room.options[0].prompt_tail.ids) == list(range(12, 20))
    assert list(room.options[0].stop) == ["x"]
    assert room.ended == [True]


async def test_an_end_without_tokens_has_one_answer(peer: TokenizerPeer) -> None:
    async with peer.decoder("m", PROMPT, (), 5.0) as decoder:
        assert (await decoder.feed((), last=True)).text == "end"


async def test_leaving_in_order_ends_the_stream_in_order(peer: TokenizerPeer, room: Room) -> None:
    async with peer.decoder("m", PROMPT, (), 5.0) as decoder:
        await decoder.feed((5,), last=False)
    assert room.ended == [True]


async def test_a_peer_s_error_is_raised_as_it_is(peer: TokenizerPeer) -> None:
    with pytest.raises(QueueFull):
        async with peer.decoder("m", PROMPT, (), 5.0) as decoder:
            await decoder.feed((1,), last=False)


async def test_a_peer_that_ends_early_is_a_fault(peer: TokenizerPeer) -> None:
    with pytest.raises(Internal):
        async with peer.decoder("m", PROMPT, (), 5.0) as decoder:
            await decoder.feed((0,), last=False)


async def test_writing_to_a_call_that_has_failed_raises_its_error(peer: TokenizerPeer) -> None:
    with pytest.raises(QueueFull):
        async with peer.decoder("m", PROMPT, (), 5.0) as decoder:
            with pytest.raises(WeirError):
                await decoder.feed((1,), last=False)
            await decoder.feed((5,), last=False)
