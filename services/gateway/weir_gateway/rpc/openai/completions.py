"""`POST /v1/completions`."""

from typing import Any

from weir_gateway.core.call import FinishReason
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.shape import Json
from weir_gateway.rpc.openai.wanted import Wanted, read_wanted

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (),
}


class CompletionShape:
    """The shape of completions."""

    path = "/v1/completions"
    whole_object = "text_completion"
    chunk_object = "text_completion"

    def read(self, fields: Fields) -> Wanted:
        return read_wanted(fields, _prompt(fields), NEUTRAL)

    def whole(self, text: str, finish: FinishReason) -> Json:
        return _choice(text, finish.value)

    def opening(self) -> Json | None:
        return None

    def piece(self, text: str) -> Json:
        return _choice(text, None)

    def closing(self, finish: FinishReason) -> Json:
        return _choice("", finish.value)


def _choice(text: str, finish: str | None) -> Json:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


def _prompt(fields: Fields) -> str:
    value = fields.take("prompt")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise fields.wrong(
            "prompt", "must be one string: several prompts and token ids are not supported"
        )
    return fields.checked("prompt", value)
