"""What a body asks for: the fields that chat completions and completions share."""

from dataclasses import dataclass, field
from typing import Any

from weir_gateway.core.call import Input, Sampling
from weir_gateway.core.limits import INT32_MAX, UINT64_MAX
from weir_gateway.rpc.openai.fields import Fields

SEED_MIN = -(2**63)  # OpenAI's seeds are signed; ours are the same 64 bits
IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
    }
)
# What changes the answer and is not there: allowed only with a value that asks for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
}


@dataclass(frozen=True)
class Wanted:
    """A body, read. `max_tokens_field`: the name under which the client sent the limit."""

    model: str
    input: Input = field(repr=False)
    max_output_tokens: int | None
    max_tokens_field: str
    sampling: Sampling
    stop: tuple[str, ...] = field(repr=False)
    streamed: bool
    include_usage: bool


def read_wanted(fields: Fields, text: Input, neutral: dict[str, tuple[Any, ...]]) -> Wanted:
    """The rest of a body whose input has been read. Raises `InvalidArgument`."""
    streamed = fields.flag("stream")
    max_tokens, max_tokens_field = _max_tokens(fields)
    wanted = Wanted(
        model=fields.text("model") or "",
        input=text,
        max_output_tokens=max_tokens,
        max_tokens_field=max_tokens_field,
        sampling=_sampling(fields),
        stop=_stop(fields),
        streamed=streamed,
        include_usage=_include_usage(fields, streamed),
    )
    fields.refuse_rest(IGNORED, NEUTRAL | neutral)
    return wanted


def _max_tokens(fields: Fields) -> tuple[int | None, str]:
    old = fields.integer("max_tokens", 1, INT32_MAX)
    new = fields.integer("max_completion_tokens", 1, INT32_MAX)
    if old is not None and new is not None:
        raise fields.wrong("max_tokens", "and max_completion_tokens are the same: send one")
    return (old, "max_tokens") if new is None else (new, "max_completion_tokens")


def _sampling(fields: Fields) -> Sampling:
    seed = fields.integer("seed", SEED_MIN, UINT64_MAX)
    return Sampling(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k", 0, INT32_MAX),
        seed=None if seed is None else seed & UINT64_MAX,
        ignore_eos=fields.flag("ignore_eos"),
    )


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.take("stop")
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise fields.wrong("stop", "must be a string or a list of strings")
    return tuple(fields.checked("stop", text) for text in texts)


def _include_usage(fields: Fields, streamed: bool) -> bool:
    options = fields.object("stream_options")
    if options is None:
        return False
    if not streamed:
        raise fields.wrong("stream_options", "is only for requests with stream: true")
    include = options.flag("include_usage")
    options.refuse_rest(frozenset({"include_obfuscation"}), {})
    return include
