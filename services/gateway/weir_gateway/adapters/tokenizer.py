"""The tokenizer, over its channel."""

from collections.abc import AsyncGenerator, Collection, Mapping
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
SEQUENCES_MAX = 256  # the tokenizer's, of one request
TOKEN_TEXTS_MAX = 1 << 17


class TokenizerPeer:
    """The port `Tokenizer`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
        self._token_texts: dict[tuple[str, int], str] = {}  # the oldest goes first

    async def encode(self, name: str, text: Input, timeout_s: float) -> tuple[int, ...]:
        request = tokenizer_pb2.EncodeRequest(tokenizer=name)
        _set_input(request, text)
        with raising_weir_errors():
            response = await self._stub.Encode(request, timeout=timeout_s)
        return tuple(response.sequences[0].ids)

    async def count(self, name: str, text: Input, timeout_s: float) -> int:
        request = tokenizer_pb2.CountTokensRequest(tokenizer=name)
        _set_input(request, text)
        with raising_weir_errors():
            response = await self._stub.CountTokens(request, timeout=timeout_s)
        return response.counts[0]

    @asynccontextmanager
    async def decoder(
        self, name: str, prompt: Prompt, stop: tuple[str, ...], timeout_s: float
    ) -> AsyncGenerator["DecodeStream", None]:
        options = tokenizer_pb2.DecodeStreamOptions(
            tokenizer=name,
            stop=stop,
            prompt_tail=tokenizer_pb2.TokenIds(ids=prompt.token_ids[-PROMPT_TAIL_TOKENS:]),
        )
        async with exchange(self._stub.DecodeStream(timeout=timeout_s)) as stream:
            await stream.say(tokenizer_pb2.DecodeStreamRequest(options=options))
            yield DecodeStream(stream)

    async def token_texts(
        self, name: str, token_ids: Collection[int], timeout_s: float
    ) -> Mapping[int, str]:
        known = {i: self._token_texts[name, i] for i in token_ids if (name, i) in self._token_texts}
        unknown = [token_id for token_id in token_ids if token_id not in known]
        for start in range(0, len(unknown), SEQUENCES_MAX // 2):
            asked = unknown[start : start + SEQUENCES_MAX // 2]
            known.update(await self._ask_token_texts(name, asked, timeout_s))
        self._token_texts.update({(name, i): text for i, text in known.items()})
        while len(self._token_texts) > TOKEN_TEXTS_MAX:
            del self._token_texts[next(iter(self._token_texts))]
        return known

    async def _ask_token_texts(
        self, name: str, token_ids: list[int], timeout_s: float
    ) -> dict[int, str]:
        """What a token adds to itself: at the start of a text a decoder may drop a blank."""
        sequences = [[i] * times for i in token_ids for times in (1, 2)]
        request = tokenizer_pb2.DecodeRequest(
            tokenizer=name,
            sequences=[tokenizer_pb2.TokenIds(ids=ids) for ids in sequences],
            keep_special_tokens=True,
            skip_unknown_ids=True,
        )
        with raising_weir_errors():
            response = await self._stub.Decode(request, timeout=timeout_s)
        once, twice = response.texts[::2], response.texts[1::2]
        return {
            i: two.removeprefix(one) for i, one, two in zip(token_ids, once, twice, strict=True)
        }


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
