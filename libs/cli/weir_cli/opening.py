"""The request that `weir up` and `weir demo` show."""

from weir import Message
from weir_cli.generation import Input

PROMPT = "Once upon a time there was a little boat on a wide river."
MAX_TOKENS = 60


def input_of(*, chat: bool) -> Input:
    """The prompt as a message, or as it is."""
    return [Message("user", PROMPT)] if chat else PROMPT
