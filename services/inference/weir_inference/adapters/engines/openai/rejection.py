"""What an upstream's HTTP error is for our caller, and whether to try again."""

import json
import math
from collections.abc import Mapping

from weir_kit.errors import (
    ContextLengthExceeded,
    Internal,
    InvalidArgument,
    QueueFull,
    Unavailable,
    WeirError,
)

RETRY_S = 1.0  # what callers are told where the upstream says nothing
RETRY_S_MAX = 60.0
RETRIED = frozenset({429, 502, 503})

# The upstream's parameters, as our callers know them.
FIELDS = {
    "max_tokens": "max_output_tokens",
    "prompt": "prompt_token_ids",
    "logprobs": "top_logprobs",
    **{
        name: f"sampling.{name}"
        for name in (
            *("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "logit_bias"),
            *("frequency_penalty", "repetition_penalty", "stop_token_ids", "ignore_eos"),
        )
    },
}


class Rejection(Exception):
    """A try that failed. `error` is for the caller; `tried_again` whether another try may help.

    `pause_s` is how long the upstream wants to be left alone, 0 where it does not say.
    """

    def __init__(self, error: WeirError, tried_again: bool = False, pause_s: float = 0.0) -> None:
        super().__init__()
        self.error = error
        self.tried_again = tried_again
        self.pause_s = pause_s


def rejection_of(status: int, headers: Mapping[str, str], body: bytes) -> Rejection:
    """Of an answer that is not 200. Nothing of the body is passed on: it may hold the prompt."""
    wait_s = retry_after_s(headers.get("retry-after", ""))
    if status == 429:
        full = QueueFull("the upstream is busy", retry_after_s=wait_s or RETRY_S)
        return Rejection(full, tried_again=True, pause_s=wait_s)
    if status in (401, 403):  # our key, so our fault, and nothing that a caller could mend
        return Rejection(Internal("the upstream of this model does not let Weir in"))
    if status in (400, 413, 422):
        return Rejection(_bad_request(status, body))
    away = Unavailable(
        "the upstream does not serve this model now", retry_after_s=wait_s or RETRY_S
    )
    return Rejection(away, tried_again=status in RETRIED, pause_s=wait_s)


def retry_after_s(text: str) -> float:
    """Seconds of a `Retry-After`, bounded; 0 without one. Dates are not read: clocks differ."""
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), RETRY_S_MAX) if math.isfinite(seconds) else 0.0


def _bad_request(status: int, body: bytes) -> WeirError:
    code, parameter = _told(body)
    if status == 413 or code == "context_length_exceeded":
        return ContextLengthExceeded(
            "the upstream takes no prompt and output this long", field="prompt_token_ids"
        )
    field = FIELDS.get(parameter)
    if field is None:
        return InvalidArgument("the upstream refuses this request and names no field of it")
    return InvalidArgument(f"the upstream refuses this {parameter}", field=field)


def _told(body: bytes) -> tuple[str, str]:
    """`code` and `param` of OpenAI's error object, empty where they are not told."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    error = raw.get("error") if isinstance(raw, dict) else None
    if not isinstance(error, dict):
        return "", ""
    code, parameter = error.get("code"), error.get("param")
    return str(code), parameter if isinstance(parameter, str) else ""
