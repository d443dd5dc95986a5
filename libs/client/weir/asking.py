"""What calls send: metadata, channel options, requests."""

from collections.abc import Sequence
from typing import TypedDict

from weir.answers import Message
from weir_contracts.common.v1.chat_pb2 import Chat, ChatMessage
from weir_contracts.gateway.v1 import generation_pb2
from weir_contracts.inference.v1.inference_pb2 import Sampling
from weir_kit.errors import InvalidArgument

Input = str | Sequence[Message]
"""A plain prompt, or a conversation, oldest message first."""

DEADLINE_S = 120.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class Options(TypedDict, total=False):
    """How to generate. What is absent, or None, is the server's default."""

    max_output_tokens: int | None
    """Output tokens at most. Default: 256, or what the context leaves."""
    temperature: float | None
    """0 to 2; 0 is greedy. Default: 1."""
    top_p: float | None
    """The smallest set of tokens with this probability; more than 0, at most 1."""
    top_k: int | None
    """The k likeliest tokens; 0: all."""
    seed: int | None
    """Makes sampling repeat; 64 bits, not negative."""
    stop: Sequence[str]
    """Texts that end the output, none of them part of it; at most 16."""
    ignore_eos: bool
    """Go on after the end of the text."""


def metadata_of(api_key: str) -> tuple[tuple[str, str], ...]:
    """The metadata of every call. Raises `InvalidArgument` for a key that cannot be sent."""
    if not api_key.isascii() or not api_key.isprintable() or not api_key:
        raise InvalidArgument("api_key must be a key, weir_sk_…", field="api_key")
    return (("authorization", f"Bearer {api_key}"),)


def spec_of(model: str, text: Input, options: Options) -> generation_pb2.GenerationSpec:
    """What to generate. Raises `InvalidArgument` for a value that no field can hold."""
    stop = options.get("stop", ())
    try:
        spec = generation_pb2.GenerationSpec(
            model=model,
            max_output_tokens=options.get("max_output_tokens"),
            sampling=Sampling(
                temperature=options.get("temperature"),
                top_p=options.get("top_p"),
                top_k=options.get("top_k"),
                seed=options.get("seed"),
                ignore_eos=options.get("ignore_eos", False),
            ),
            stop=[stop] if isinstance(stop, str) else stop,
        )
        if isinstance(text, str):
            spec.prompt = text
        else:
            spec.chat.CopyFrom(_chat(text))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"a value has the wrong type or range: {error}") from error
    return spec


def count_request(model: str, text: Input) -> generation_pb2.CountTokensRequest:
    """What to count. Raises `InvalidArgument`."""
    spec = spec_of(model, text, {})
    if isinstance(text, str):
        return generation_pb2.CountTokensRequest(model=model, prompt=spec.prompt)
    return generation_pb2.CountTokensRequest(model=model, chat=spec.chat)


def _chat(messages: Sequence[Message]) -> Chat:
    return Chat(messages=[ChatMessage(role=m.role, content=m.content) for m in messages])
