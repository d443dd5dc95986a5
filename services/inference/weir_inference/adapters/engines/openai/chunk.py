"""One chunk of a streamed completion, checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.core.token_logprob import TokenLogprob

TOKEN_ID = "token_id:"  # noqa: S105 - vLLM's way to tell a token's id where its text is expected
UINT32_MAX = (1 << 32) - 1


@dataclass(frozen=True)
class ReportedUsage:
    """Tokens as the upstream counted them."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class UpstreamError:
    """What went wrong after the answer had begun; `status` is an HTTP status where it told one."""

    status: int | None


@dataclass(frozen=True)
class Chunk:
    """What a chunk adds. `token_ids` and `logprobs` are None where the upstream gives none."""

    text: str = ""
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: str | None = None
    usage: ReportedUsage | None = None
    error: UpstreamError | None = None


def parse_chunk(data: str) -> Chunk:
    """The chunk of an event's data. Raises `BadAnswer`."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswer("a chunk is not JSON") from None
    if not isinstance(raw, dict):
        raise BadAnswer("a chunk is no JSON object")
    if (error := raw.get("error")) is not None:
        code = error.get("code") if isinstance(error, dict) else None
        return Chunk(error=UpstreamError(code if _is_count(code) else None))
    choices = raw.get("choices", [])
    if not isinstance(choices, list) or len(choices) > 1:
        raise BadAnswer("choices is no list of at most one choice")
    usage = _usage(raw.get("usage"))
    if not choices:
        return Chunk(usage=usage)
    choice = choices[0]
    if not isinstance(choice, dict) or choice.get("index", 0) != 0:
        raise BadAnswer("a choice is not the only one")
    return Chunk(
        text=_text(choice.get("text")) or "",
        token_ids=_token_ids(choice.get("token_ids")),
        logprobs=_logprobs(choice.get("logprobs")),
        finish_reason=_text(choice.get("finish_reason")),
        usage=usage,
    )


def _text(raw: Any) -> str | None:
    if raw is None or isinstance(raw, str):
        return raw
    raise BadAnswer("a text is not text")


def _token_ids(raw: Any) -> tuple[int, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or not all(_is_count(one) for one in raw):
        raise BadAnswer("token_ids is no list of token ids")
    return tuple(raw)


def _usage(raw: Any) -> ReportedUsage | None:
    if raw is None:
        return None
    counts = [raw.get(key) for key in USAGE_KEYS] if isinstance(raw, dict) else [None]
    if not all(_is_count(count) for count in counts):
        raise BadAnswer("usage has no token counts")
    return ReportedUsage(*counts)


USAGE_KEYS = ("prompt_tokens", "completion_tokens")


def _logprobs(raw: Any) -> tuple[TokenLogprob, ...] | None:
    """None also where tokens are told by their text alone: several ids may have the same."""
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise BadAnswer("logprobs is no object")
    tokens, logprobs = raw.get("tokens"), raw.get("token_logprobs")
    tops = raw.get("top_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        raise BadAnswer("logprobs has no tokens")
    if not isinstance(tops, list):
        tops = [{}] * len(tokens)
    if not len(tokens) == len(logprobs) == len(tops):
        raise BadAnswer("logprobs has lists of different lengths")
    if not all(isinstance(token, str) and token.startswith(TOKEN_ID) for token in tokens):
        return None
    return tuple(
        TokenLogprob(_id_of(token), _logprob(logprob), _top(top))
        for token, logprob, top in zip(tokens, logprobs, tops, strict=True)
    )


def _top(raw: Any) -> tuple[tuple[int, float], ...]:
    if not isinstance(raw, Mapping):
        raise BadAnswer("top_logprobs holds no objects")
    pairs = ((_id_of(token), _logprob(logprob)) for token, logprob in raw.items())
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def _id_of(token: str) -> int:
    digits = token.removeprefix(TOKEN_ID)
    if len(digits) == len(token) or not (digits.isascii() and digits.isdigit()):
        raise BadAnswer("a token of logprobs has no id")
    if len(digits) > 10 or int(digits) > UINT32_MAX:
        raise BadAnswer("a token of logprobs has no id")
    return int(digits)


def _logprob(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise BadAnswer("a log-probability is no number")
    return float(raw)


def _is_count(raw: Any) -> bool:
    return isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= UINT32_MAX
