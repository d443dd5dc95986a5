"""What a body asks for: the fields that chat completions and completions share."""

from dataclasses import dataclass, field
from typing import Any

from weir_gateway.core.call import Input
from weir_gateway.core.limits import INT32_MAX, OUTPUTS_MAX
from weir_gateway.core.sampling import Priority, Sampling
from weir_gateway.rpc.openai.fields import Fields
from weir_gateway.rpc.openai.sampling import read_priority, read_sampling

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


@dataclass(frozen=True)
class Wanted:
    """A body, read. `names`: core's fields, where the client sent them under another name."""

    model: str
    input: Input = field(repr=False)
    max_output_tokens: int | None
    sampling: Sampling
    stop: tuple[str, ...] = field(repr=False)
    streamed: bool
    include_usage: bool
    n: int
    top_logprobs: int | None
    echo: bool
    priority: Priority
    names: dict[str, str]


def read_wanted(
    fields: Fields,
    text: Input,
    top_logprobs: tuple[int | None, str],
    neutral: dict[str, tuple[Any, ...]],
    *,
    echo: bool = False,
) -> Wanted:
    """The rest of a body, what only one endpoint has being read. Raises `InvalidArgument`.

    `top_logprobs` comes with the name of its field; `neutral` are unsupported fields, each with the
    values that ask for nothing.
    """
    streamed = fields.flag("stream")
    max_tokens, max_tokens_field = read_max_tokens(fields, 0 if echo else 1)
    sampling, grammar_field = read_sampling(fields)
    n = fields.integer("n", 1, OUTPUTS_MAX)
    wanted = Wanted(
        model=fields.text("model") or "",
        input=text,
        max_output_tokens=max_tokens,
        sampling=sampling,
        stop=read_stop(fields),
        streamed=streamed,
        include_usage=_include_usage(fields, streamed),
        n=1 if n is None else n,
        top_logprobs=top_logprobs[0],
        echo=echo,
        priority=read_priority(fields),
        names={
            "max_output_tokens": max_tokens_field,
            "grammar": grammar_field,
            "top_logprobs": top_logprobs[1],
        },
    )
    fields.refuse_rest(IGNORED, neutral)
    return wanted


def read_max_tokens(fields: Fields, low: int) -> tuple[int | None, str]:
    """How many tokens an output may have, and the name of the field that said so."""
    old = fields.integer("max_tokens", low, INT32_MAX)
    new = fields.integer("max_completion_tokens", low, INT32_MAX)
    if old is not None and new is not None:
        raise fields.wrong("max_tokens", "and max_completion_tokens are the same: send one")
    return (old, "max_tokens") if new is None else (new, "max_completion_tokens")


def read_stop(fields: Fields) -> tuple[str, ...]:
    """Stop strings: one, or a list."""
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
