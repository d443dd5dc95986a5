"""What a call may look like, checked before any peer is asked."""

import re

from weir_gateway.core.call import Call, Input, Sampling
from weir_kit.errors import InvalidArgument

INT32_MAX = 2**31 - 1
UINT64_MAX = 2**64 - 1
MODEL_CHARS_MAX = 256
MESSAGES_MAX = 1024
INPUT_BYTES_MAX = 1 << 20  # in UTF-8
STOP_STRINGS_MAX = 16
STOP_CHARS_MAX = 256
ROLES = ("system", "user", "assistant")
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
MODEL = re.compile(rf"[^\s\x00-\x1f\x7f]{{1,{MODEL_CHARS_MAX}}}")


def check(call: Call) -> None:
    """Raise `InvalidArgument` for the first field that is wrong.

    Field names are core's (`max_output_tokens`, `messages[0].role`); wires may have their own.
    """
    if not REQUEST_ID.fullmatch(call.request_id):
        raise InvalidArgument(
            "request_id must be 1 to 64 letters, digits, - and _, beginning with a letter or digit",
            field="request_id",
        )
    check_model(call.model)
    check_input(call.input)
    check_sampling(call.sampling)
    if call.max_output_tokens is not None:
        _within("max_output_tokens", call.max_output_tokens, 1, INT32_MAX)
    _check_stop(call.stop)


def check_model(model: str) -> None:
    """A model's name has no blanks."""
    if not MODEL.fullmatch(model):
        raise InvalidArgument("model must name a model; list them to see which", field="model")


def check_input(text: Input) -> None:
    """A conversation has known roles and at least one message; a prompt is not empty."""
    if isinstance(text, str):
        if not text:
            raise InvalidArgument("prompt must not be empty", field="prompt")
        if _bytes_of(text) > INPUT_BYTES_MAX:
            raise InvalidArgument(f"prompt has more than {INPUT_BYTES_MAX} bytes", field="prompt")
        return
    if not 1 <= len(text) <= MESSAGES_MAX:
        raise InvalidArgument(f"messages must have 1 to {MESSAGES_MAX} messages", field="messages")
    for place, message in enumerate(text):
        if message.role not in ROLES:
            raise InvalidArgument(
                f"messages[{place}].role must be one of {', '.join(ROLES)}",
                field=f"messages[{place}].role",
            )
    if sum(_bytes_of(message.content) for message in text) > INPUT_BYTES_MAX:
        raise InvalidArgument(
            f"messages have more than {INPUT_BYTES_MAX} bytes together", field="messages"
        )


def input_field(text: Input) -> str:
    """What the input's field is called: `prompt` or `messages`."""
    return "prompt" if isinstance(text, str) else "messages"


def check_sampling(sampling: Sampling) -> None:
    """Ranges; comparisons are written so that NaN fails them."""
    if sampling.temperature is not None:
        _within("temperature", sampling.temperature, 0, 2)
    if sampling.top_p is not None and not 0 < sampling.top_p <= 1:
        raise InvalidArgument("top_p must be more than 0 and at most 1", field="top_p")
    if sampling.top_k is not None:
        _within("top_k", sampling.top_k, 0, INT32_MAX)
    if sampling.seed is not None:
        _within("seed", sampling.seed, 0, UINT64_MAX)


def _check_stop(stop: tuple[str, ...]) -> None:
    if len(stop) > STOP_STRINGS_MAX:
        raise InvalidArgument(f"stop must have at most {STOP_STRINGS_MAX} strings", field="stop")
    if not all(1 <= len(text) <= STOP_CHARS_MAX for text in stop):
        raise InvalidArgument(
            f"each stop string must have 1 to {STOP_CHARS_MAX} characters", field="stop"
        )


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _within(field: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidArgument(f"{field} must be between {low} and {high}", field=field)
