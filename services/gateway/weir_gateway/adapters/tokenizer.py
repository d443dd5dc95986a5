"""The tokenizer, over its channel."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from weir_gateway.adapters.exchange import Exchange, exchange
from weir_gateway.core.call import Input, Prompt
from weir_gateway.core.ports import Decoded
from weir_gateway.translation import chat_to_proto
from weir_kit.status import raising_weir_errors

PROMPT_TAIL_TOKENS = 8


class TokenizerPeer:
    """The port `Tokenizer`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)

    async def encode(self, model: str, text: Input, timeout_s: float) -> tuple[int, ...]:
        request = tokenizer_pb2.EncodeRequest(tokenizer=model)
        _set_input(request, text)
        with raising_weir_errors():
            response = await self._stub.Encode(request, timeout=timeout_s)
        return tuple(response.sequences[0].ids)

    async def count(self, model: str, text: Input, timeout_s: float) -> int:
        request = tokenizer_pb2.CountTokensRequest(tokenizer=model)
        _set_input(request, text)
        with raising_weir_errors():
            response = await self._stub.CountTokens(request, timeout=timeout_s)
        return response.counts[0]

    @asynccontextmanager
    async def decoder(
        self, model: str, prompt: Prompt, stop: tuple[str, ...], timeout_s: float
    ) -> AsyncGenerator["DecodeStream", None]:
        options = tokenizer_pb2.DecodeStreamOptions(
            tokenizer=model,
            stop=stop,
            prompt_tail=tokenizer_pb2.TokenIds(ids=prompt.token_ids[-PROMPT_TAIL_TOKENS:]),
        )
        async with exchange(self._stub.DecodeStream(timeout=timeout_s)) as stream:
            await stream.say(tokenizer_pb2.DecodeStreamRequest(options=options))
            yield DecodeStream(stream)


class DecodeStream:
    """The port `Decoder`."""

    def __init__(self, stream: Exchange[Any, tokenizer_pb2.DecodeStreamResponse]) -> None:
        self._stream = stream

    async def feed(self, token_ids: tuple[int, ...], *, last: bool) -> Decoded:
        tokens = tokenizer_pb2.TokenIds(ids=token_ids)
        message = tokenizer_pb2.DecodeStreamRequest(tokens=tokens)
        if last:
            answers = await self._stream.end([message] if token_ids else [])
        else:
            answers = [await self._stream.ask(message)]
        return Decoded(
            text="".join(answer.text for answer in answers),
            decoded_tokens=max((answer.decoded_tokens for answer in answers), default=0),
            stopped=any(answer.stop for answer in answers),
        )


def _set_input(
    request: tokenizer_pb2.EncodeRequest | tokenizer_pb2.CountTokensRequest, text: Input
) -> None:
    if isinstance(text, str):
        request.texts.texts.append(text)
    else:
        request.chat.CopyFrom(chat_to_proto(text))
