"""The TokenizerService: its messages to core and back."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from weir_contracts.common.v1 import chat_pb2
from weir_contracts.tokenizer.v1 import tokenizer_pb2 as pb
from weir_contracts.tokenizer.v1 import tokenizer_pb2_grpc
from weir_kit.errors import InvalidArgument
from weir_tokenizer.core import limits
from weir_tokenizer.core.catalog import Catalog
from weir_tokenizer.core.text_stream import Piece, StreamOptions, TextStream
from weir_tokenizer.core.tokenizer import Message, Tokenizer
from weir_tokenizer.core.workbench import Workbench

Context = grpc.aio.ServicerContext[Any, Any]

# Measured with vocabularies of 30 to 50 thousand entries; see the README.
ENCODE_US_PER_BYTE = 0.3
DECODE_US_PER_ID = 0.5
STREAM_US_PER_ID = 5.0


class TokenizerServicer(tokenizer_pb2_grpc.TokenizerServiceServicer):
    """Serves the tokenizers of a catalog."""

    def __init__(self, catalog: Catalog, workbench: Workbench) -> None:
        self._catalog = catalog
        self._workbench = workbench

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        """Encode texts or a conversation."""
        sequences = await self._encode(
            request,
            add_special=not request.skip_special_tokens,
            open_answer=not request.skip_generation_prompt,
        )
        return pb.EncodeResponse(sequences=[pb.TokenIds(ids=ids) for ids in sequences])

    async def CountTokens(
        self, request: pb.CountTokensRequest, context: Context
    ) -> pb.CountTokensResponse:
        """Count what Encode would give."""
        sequences = await self._encode(request, add_special=True, open_answer=True)
        return pb.CountTokensResponse(counts=[len(ids) for ids in sequences])

    async def Decode(self, request: pb.DecodeRequest, context: Context) -> pb.DecodeResponse:
        """Decode whole sequences."""
        tokenizer = self._catalog.named(request.tokenizer)
        sequences = [list(sequence.ids) for sequence in request.sequences]
        if request.skip_unknown_ids:
            sequences = [[i for i in ids if i < tokenizer.id_limit] for ids in sequences]
        n_ids = limits.check_sequences(sequences, tokenizer)
        texts = await self._workbench.run(
            n_ids * DECODE_US_PER_ID, _decode, tokenizer, sequences, request.keep_special_tokens
        )
        return pb.DecodeResponse(texts=texts)

    async def DecodeStream(
        self, requests: AsyncIterator[pb.DecodeStreamRequest], context: Context
    ) -> AsyncIterator[pb.DecodeStreamResponse]:
        """Options first; then one answer for every message of ids, and one after the last."""
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "options":
            raise InvalidArgument("the first message must be the options", field="options")
        tokenizer = self._catalog.named(first.options.tokenizer)
        stream = TextStream(tokenizer, _options(first.options, tokenizer))
        async for request in requests:
            if request.WhichOneof("message") != "tokens":
                raise InvalidArgument(
                    "every message after the first must be tokens", field="tokens"
                )
            ids = list(request.tokens.ids)
            limits.check_ids(ids, tokenizer, field="tokens.ids")
            piece = await self._workbench.run(len(ids) * STREAM_US_PER_ID, stream.push, ids)
            yield _response(piece)
        yield _response(stream.finish())

    async def ListTokenizers(
        self, request: pb.ListTokenizersRequest, context: Context
    ) -> pb.ListTokenizersResponse:
        """The tokenizers in the order of their names."""
        infos = [
            pb.TokenizerInfo(
                name=one.name,
                vocab_size=one.vocab_size,
                has_chat_template=one.has_chat_template,
            )
            for one in self._catalog
        ]
        return pb.ListTokenizersResponse(tokenizers=infos)

    async def _encode(
        self,
        request: pb.EncodeRequest | pb.CountTokensRequest,
        *,
        add_special: bool,
        open_answer: bool,
    ) -> list[list[int]]:
        tokenizer = self._catalog.named(request.tokenizer)
        kind = request.WhichOneof("input")
        if kind == "texts":
            texts = list(request.texts.texts)
            cost_us = limits.check_texts(texts) * ENCODE_US_PER_BYTE
            return await self._workbench.run(
                cost_us, tokenizer.encode, texts, add_special=add_special
            )
        if kind == "chat":
            messages = _messages(request.chat)
            cost_us = limits.check_chat(messages) * ENCODE_US_PER_BYTE
            ids = await self._workbench.run(
                cost_us, tokenizer.encode_chat, messages, open_answer=open_answer
            )
            return [ids]
        raise InvalidArgument("texts or a chat is needed", field="input")


def _messages(chat: chat_pb2.Chat) -> list[Message]:
    return [Message(message.role, message.content) for message in chat.messages]


def _decode(
    tokenizer: Tokenizer, sequences: Sequence[Sequence[int]], keep_special: bool
) -> list[str]:
    return [tokenizer.decode(ids, keep_special=keep_special) for ids in sequences]


def _options(options: pb.DecodeStreamOptions, tokenizer: Tokenizer) -> StreamOptions:
    stops = list(options.stop)
    prompt_tail = list(options.prompt_tail.ids)
    limits.check_stops(stops)
    limits.check_ids(prompt_tail, tokenizer, field="options.prompt_tail.ids")
    return StreamOptions(stops, options.keep_special_tokens, prompt_tail)


def _response(piece: Piece) -> pb.DecodeStreamResponse:
    return pb.DecodeStreamResponse(
        text=piece.text, decoded_tokens=piece.decoded_tokens, stop=piece.stop or ""
    )
