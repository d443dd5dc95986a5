"""What calls send: metadata, channel options, requests."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from weir.answers import Message
from weir_contracts.common.v1.chat_pb2 import Chat, ChatMessage
from weir_contracts.gateway.v1 import generation_pb2
from weir_contracts.inference.v1.inference_pb2 import Choices, Grammar, Priority, Sampling
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
    min_p: float | None
    """Only tokens at least this share as likely as the likeliest; 0 to 1."""
    repetition_penalty: float | None
    """Above 1, tokens of prompt and output become less likely; more than 0, at most 2."""
    presence_penalty: float | None
    """Taken off the logits of tokens in the output; -2 to 2."""
    frequency_penalty: float | None
    """The same, times their count."""
    logit_bias: Mapping[int, float]
    """Added to the logits of tokens, by id; -100 to 100."""
    stop_token_ids: Sequence[int]
    """Tokens that end the output; at most 64."""
    json_schema: str | Mapping[str, Any]
    """The output is JSON of this schema. Of this and the next three give one at most."""
    regex: str
    """The output matches this regular expression, in the syntax of Rust's crate `regex`."""
    lark: str
    """The output matches this grammar, in llguidance's variant of Lark."""
    one_of: Sequence[str]
    """The output is one of these texts."""
    n: int
    """Outputs to generate, each on its own; at most 16. Default: 1."""
    top_logprobs: int | None
    """Tell each token's log-probability, and of so many of the likeliest; at most 20."""
    echo: bool
    """Begin each text with the plain prompt; then `max_output_tokens` may be 0."""
    priority: Literal["high", "normal", "low"]
    """Who goes first among the waiting requests of a tenant. Default: normal."""


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
            sampling=_sampling(options),
            stop=[stop] if isinstance(stop, str) else stop,
            n=options.get("n", 1),
            top_logprobs=options.get("top_logprobs"),
            echo=options.get("echo", False),
            priority=Priority.Value(f"PRIORITY_{options.get('priority', 'normal').upper()}"),
        )
        if isinstance(text, str):
            spec.prompt = text
        else:
            spec.chat.CopyFrom(_chat(text))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"a value has the wrong type or range: {error}") from error
    return spec


def _sampling(options: Options) -> Sampling:
    return Sampling(
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        top_k=options.get("top_k"),
        seed=options.get("seed"),
        ignore_eos=options.get("ignore_eos", False),
        min_p=options.get("min_p"),
        repetition_penalty=options.get("repetition_penalty"),
        presence_penalty=options.get("presence_penalty"),
        frequency_penalty=options.get("frequency_penalty"),
        logit_bias=options.get("logit_bias"),
        stop_token_ids=options.get("stop_token_ids"),
        grammar=_grammar(options),
    )


def _grammar(options: Options) -> Grammar | None:
    given = [name for name in ("json_schema", "regex", "lark", "one_of") if name in options]
    if len(given) > 1:
        raise InvalidArgument(f"give one of {' and '.join(given)}", field=given[1])
    schema = options.get("json_schema", "{}")
    match given:
        case ["json_schema"]:
            return Grammar(json_schema=schema if isinstance(schema, str) else json.dumps(schema))
        case ["regex"]:
            return Grammar(regex=options["regex"])
        case ["lark"]:
            return Grammar(lark=options["lark"])
        case ["one_of"]:
            return Grammar(choices=Choices(texts=options["one_of"]))
    return None


def count_request(model: str, text: Input) -> generation_pb2.CountTokensRequest:
    """What to count. Raises `InvalidArgument`."""
    spec = spec_of(model, text, {})
    if isinstance(text, str):
        return generation_pb2.CountTokensRequest(model=model, prompt=spec.prompt)
    return generation_pb2.CountTokensRequest(model=model, chat=spec.chat)


def _chat(messages: Sequence[Message]) -> Chat:
    return Chat(messages=[ChatMessage(role=m.role, content=m.content) for m in messages])
