"""`POST /v1/completions`."""

from dataclasses import replace
from typing import Any

from weir_gateway.core.call import Choice, FinishReason, Piece
from weir_gateway.core.logprob import TokenLogprob
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.logprobs import finite
from weir_gateway.rpc.openai.shape import Json
from weir_gateway.rpc.openai.wanted import Wanted, read_wanted

LOGPROBS_MAX = 5
NEUTRAL: dict[str, tuple[Any, ...]] = {"best_of": (1,), "suffix": ("",)}


class CompletionShape:
    """The shape of completions."""

    path = "/v1/completions"
    whole_object = "text_completion"
    chunk_object = "text_completion"

    def read(self, fields: Fields) -> Wanted:
        logprobs = fields.integer("logprobs", 0, LOGPROBS_MAX)
        echo = fields.flag("echo")
        top_logprobs = (logprobs, "logprobs")
        wanted = read_wanted(fields, _prompt(fields), top_logprobs, NEUTRAL, echo=echo)
        if echo and logprobs is not None and wanted.max_output_tokens == 1:
            # Evaluation harnesses ask so for the prompt's, and pass over the last token: there must
            # be one also where the model would end the text.
            return replace(wanted, sampling=replace(wanted.sampling, ignore_eos=True))
        return wanted

    def whole(self, index: int, choice: Choice, *, logprobs: bool) -> Json:
        told = _logprobs(choice.logprobs) if logprobs else None
        return _choice(index, choice.text, told, choice.ended.finish)

    def opening(self, index: int) -> Json | None:
        return None

    def piece(self, piece: Piece) -> Json:
        told = _logprobs(piece.logprobs) if piece.logprobs else None
        return _choice(piece.output, piece.text, told)

    def closing(self, index: int, finish: FinishReason) -> Json:
        return _choice(index, "", None, finish)


def _choice(
    index: int, text: str, logprobs: Json | None, finish: FinishReason | None = None
) -> Json:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def _logprobs(tokens: tuple[TokenLogprob, ...]) -> Json:
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [finite(token.logprob) for token in tokens],
        "top_logprobs": [_top(token) for token in tokens],
        "text_offset": [token.start for token in tokens],
    }


def _top(token: TokenLogprob) -> Json | None:
    """The likeliest tokens by their texts, and always the token itself; None if it has none."""
    if token.logprob is None:
        return None
    top: Json = {}
    for text, logprob in (*token.top, (token.text, token.logprob)):
        top.setdefault(text, finite(logprob))  # of two tokens with one text the likelier
    return top


def _prompt(fields: Fields) -> str:
    value = fields.take("prompt")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise fields.wrong(
            "prompt", "must be one string: several prompts and token ids are not supported"
        )
    return fields.checked("prompt", value)
