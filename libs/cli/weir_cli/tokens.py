"""Texts and tokens, by the tokenizer service: as the gateway has them encoded and spelled."""

from collections.abc import Sequence

from weir import Message
from weir_cli.admin import TIMEOUT_S, Admin
from weir_cli.generation import Input
from weir_contracts.common.v1 import chat_pb2
from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc

SPELLED_AT_ONCE = 128  # two sequences each; the service takes 256


class Tokens:
    """A stack's tokenizer of one name."""

    def __init__(self, stack: Admin, name: str) -> None:
        self._stub = tokenizer_pb2_grpc.TokenizerServiceStub(stack.channel("tokenizer"))
        self._name = name

    async def can_chat(self) -> bool:
        """Whether it has a chat template; a model without one continues plain texts."""
        request = tokenizer_pb2.ListTokenizersRequest()
        answer = await self._stub.ListTokenizers(request, timeout=TIMEOUT_S)
        return any(one.has_chat_template for one in answer.tokenizers if one.name == self._name)

    async def of_prompt(self, prompt: Input) -> list[int]:
        """What the model reads of a prompt."""
        request = tokenizer_pb2.EncodeRequest(tokenizer=self._name)
        if isinstance(prompt, str):
            request.texts.texts.append(prompt)
        else:
            request.chat.CopyFrom(_chat(prompt))
        return await self._encode(request)

    async def of_output(self, text: str) -> list[int]:
        """A text's tokens, none added."""
        request = tokenizer_pb2.EncodeRequest(tokenizer=self._name, skip_special_tokens=True)
        request.texts.texts.append(text)
        return await self._encode(request)

    async def texts(self, token_ids: Sequence[int]) -> list[str]:
        """Each token's text as it stands inside a text: at the start some lose their blank."""
        known: dict[int, str] = {}
        asked = list(dict.fromkeys(token_ids))
        for start in range(0, len(asked), SPELLED_AT_ONCE):
            some = asked[start : start + SPELLED_AT_ONCE]
            request = tokenizer_pb2.DecodeRequest(
                tokenizer=self._name,
                sequences=[
                    tokenizer_pb2.TokenIds(ids=[i] * times) for i in some for times in (1, 2)
                ],
                keep_special_tokens=True,
                skip_unknown_ids=True,
            )
            answer = await self._stub.Decode(request, timeout=TIMEOUT_S)
            once, twice = answer.texts[::2], answer.texts[1::2]
            known |= {
                i: two.removeprefix(one) for i, one, two in zip(some, once, twice, strict=True)
            }
        return [known[i] for i in token_ids]

    async def _encode(self, request: tokenizer_pb2.EncodeRequest) -> list[int]:
        answer = await self._stub.Encode(request, timeout=TIMEOUT_S)
        return list(answer.sequences[0].ids)


def _chat(messages: Sequence[Message]) -> chat_pb2.Chat:
    return chat_pb2.Chat(
        messages=[chat_pb2.ChatMessage(role=one.role, content=one.content) for one in messages]
    )
