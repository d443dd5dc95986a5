"""`POST /v1/chat/completions`."""

from typing import Any

from weir_gateway.core.call import Choice, FinishReason, Message, Piece
from weir_gateway.core.limits import TOP_LOGPROBS_MAX
from weir_gateway.core.logprob import TokenLogprob
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.logprobs import finite, utf8
from weir_gateway.rpc.openai.shape import Json
from weir_gateway.rpc.openai.wanted import Wanted, read_wanted

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": (),
    "verbosity": (),
}
# What SDKs send back with an assistant's message that they were given.
MESSAGE_IGNORED = frozenset({"name"})
MESSAGE_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tool_calls": ([],),
    "annotations": ([],),
    "refusal": (),
    "audio": (),
    "function_call": (),
    "tool_call_id": (),
}
ROLES = {"developer": "system"}  # OpenAI's newer word for it


class ChatShape:
    """The shape of chat completions."""

    path = "/v1/chat/completions"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def read(self, fields: Fields) -> Wanted:
        return read_wanted(fields, _messages(fields), _top_logprobs(fields), NEUTRAL)

    def whole(self, index: int, choice: Choice, *, logprobs: bool) -> Json:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        return {
            "index": index,
            "message": message,
            "logprobs": _logprobs(choice.logprobs) if logprobs else None,
            "finish_reason": choice.ended.finish.value,
        }

    def opening(self, index: int) -> Json | None:
        return _chunk(index, {"role": "assistant", "content": ""})

    def piece(self, piece: Piece) -> Json:
        logprobs = _logprobs(piece.logprobs) if piece.logprobs else None
        return _chunk(piece.output, {"content": piece.text}, logprobs=logprobs)

    def closing(self, index: int, finish: FinishReason) -> Json:
        return _chunk(index, {}, finish=finish)


def _chunk(
    index: int, delta: Json, *, logprobs: Json | None = None, finish: FinishReason | None = None
) -> Json:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _top_logprobs(fields: Fields) -> tuple[int | None, str]:
    """A boolean asks for log-probabilities, a number for the likeliest tokens beside them."""
    wanted = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, TOP_LOGPROBS_MAX)
    if top and not wanted:
        raise fields.wrong("top_logprobs", "is only for requests with logprobs: true")
    return (top or 0) if wanted else None, "top_logprobs"


def _logprobs(tokens: tuple[TokenLogprob, ...]) -> Json:
    content = [
        {
            **_token(token.text, token.logprob),
            "top_logprobs": [_token(text, logprob) for text, logprob in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _token(text: str, logprob: float | None) -> Json:
    return {"token": text, "logprob": finite(logprob), "bytes": utf8(text)}


def _messages(fields: Fields) -> tuple[Message, ...]:
    values = fields.take("messages")
    if not isinstance(values, list) or not values:
        raise fields.wrong("messages", "must be a list with at least one message")
    return tuple(_message(fields, place, value) for place, value in enumerate(values))


def _message(fields: Fields, place: int, value: Any) -> Message:
    if not isinstance(value, dict):
        raise fields.wrong(f"messages[{place}]", "must be an object")
    message = Fields(value, f"messages[{place}].")
    role = message.text("role")
    if role is None:
        raise message.wrong("role", "is missing")
    content = message.take("content")
    if content is None and role != "assistant":
        raise message.wrong("content", "is missing")
    text = _content(message, content or "")
    message.refuse_rest(MESSAGE_IGNORED, MESSAGE_NEUTRAL)
    return Message(ROLES.get(role, role), text)


def _content(message: Fields, content: Any) -> str:
    """A string, or text parts put together without anything between them."""
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise message.wrong("content", "must be a string or a list of text parts")
    texts = []
    for place, part in enumerate(parts):
        text = part
        if isinstance(part, dict):
            if part.get("type") != "text":
                raise message.wrong(
                    f"content[{place}].type", "must be text: nothing else is supported"
                )
            text = part.get("text")
        if not isinstance(text, str):
            raise message.wrong(f"content[{place}].text", "must be a string")
        texts.append(message.checked(f"content[{place}]", text))
    return "".join(texts)
