"""The request that `weir up` and `weir demo` show."""

from weir import Message
from weir_cli.admin import TIMEOUT_S, Admin
from weir_cli.generation import Input
from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc

PROMPT = "Once upon a time there was a little boat on a wide river."
MAX_TOKENS = 60


async def can_chat(stack: Admin) -> bool:
    """Whether the stack's model has a chat template; one without continues plain texts."""
    stub = tokenizer_pb2_grpc.TokenizerServiceStub(stack.channel("tokenizer"))
    answer = await stub.ListTokenizers(tokenizer_pb2.ListTokenizersRequest(), timeout=TIMEOUT_S)
    return any(one.has_chat_template for one in answer.tokenizers if one.name == stack.stack.model)


def input_of(*, chat: bool) -> Input:
    """The prompt as a message, or as it is."""
    return [Message("user", PROMPT)] if chat else PROMPT
