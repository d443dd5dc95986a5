"""`POST /v1/chat/completions`."""

from typing import Any

from weir_gateway.core.call import FinishReason, Message
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.shape import Json
from weir_gateway.rpc.openai.wanted import Wanted, read_wanted

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
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
        return read_wanted(fields, _messages(fields), NEUTRAL)

    def whole(self, text: str, finish: FinishReason) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish.value,
        }

    def opening(self) -> Json | None:
        return _chunk({"role": "assistant", "content": ""}, None)

    def piece(self, text: str) -> Json:
        return _chunk({"content": text}, None)

    def closing(self, finish: FinishReason) -> Json:
        return _chunk({}, finish.value)


def _chunk(delta: Json, finish: str | None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


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
