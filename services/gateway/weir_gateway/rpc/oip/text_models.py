"""Models that generate, by the Open Inference Protocol: in the manner of Triton's vLLM backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from weir_gateway.core.call import Call
from weir_gateway.core.sampling import Sampling
from weir_gateway.rpc.oip.caller import Caller
from weir_gateway.rpc.openai.fields import Fields, parse_object
from weir_gateway.rpc.openai.sampling import read_sampling
from weir_gateway.rpc.openai.wanted import read_max_tokens, read_stop
from weir_kit.errors import InvalidArgument

TEXT_INPUT = "text_input"
STREAM = "stream"
SAMPLING = "sampling_parameters"
EXCLUDE = "exclude_input_in_output"
TEXT_OUTPUT = "text_output"
INPUTS = {TEXT_INPUT: "BYTES", STREAM: "BOOL", SAMPLING: "BYTES", EXCLUDE: "BOOL"}
# Of a server that is not ours, or without a meaning for text.
IGNORED = frozenset(
    {"triton_enable_empty_final_response", "binary_data_output", "priority", "timeout"}
)


@dataclass(frozen=True)
class TextAsked:
    """What a model is asked for. `names`: core's fields, where the client sent them otherwise."""

    text: str = field(repr=False)
    streamed: bool
    echo: bool
    max_output_tokens: int | None
    sampling: Sampling
    stop: tuple[str, ...] = field(repr=False)
    names: Mapping[str, str]

    def call(self, model: str, version: str, caller: Caller) -> Call:
        """The call."""
        return Call(
            request_id=caller.request_id,
            api_key=caller.api_key,
            model=model,
            input=self.text,
            timeout_s=caller.timeout_s,
            streamed=self.streamed,
            max_output_tokens=self.max_output_tokens,
            sampling=self.sampling,
            stop=self.stop,
            trace_id=caller.trace_id,
            echo=self.echo,
            version=version,
        )


def read_text_asked(asked: Fields) -> TextAsked:
    """What is asked for: the four inputs, and how to sample beside them or in one of them.

    The output begins with the input unless it is streamed, or `exclude_input_in_output` is true.
    Raises `InvalidArgument`.
    """
    text = asked.text(TEXT_INPUT)
    if text is None:
        raise asked.wrong(TEXT_INPUT, "is missing")
    streamed = bool(_flag(asked, STREAM))
    excluded = _flag(asked, EXCLUDE)
    if streamed and excluded is False:
        raise asked.wrong(EXCLUDE, "cannot be false where the answer is streamed")
    given = _sampling_object(asked)
    sampled, prefix = (asked, "") if given is None else (given, f"{SAMPLING}.")
    max_tokens, max_tokens_field = read_max_tokens(sampled, 1)
    stop = read_stop(sampled)
    sampling, grammar_field = read_sampling(sampled)
    neutral: dict[str, tuple[Any, ...]] = {"n": (1,), "best_of": (1,), "use_beam_search": (False,)}
    for rest in {id(one): one for one in (asked, sampled)}.values():
        rest.refuse_rest(IGNORED, neutral)
    return TextAsked(
        text=text,
        streamed=streamed,
        echo=not (excluded or streamed),
        max_output_tokens=max_tokens,
        sampling=sampling,
        stop=stop,
        names={
            **{one.name: prefix + one.name for one in fields(Sampling)},
            "prompt": TEXT_INPUT,
            "stop": f"{prefix}stop",
            "max_output_tokens": prefix + max_tokens_field,
            "grammar": prefix + grammar_field,
            "version": "model_version",
        },
    )


def _sampling_object(asked: Fields) -> Fields | None:
    """`sampling_parameters`, a JSON object as text or as it is."""
    value = asked.take(SAMPLING)
    if isinstance(value, str):
        try:
            value = parse_object(asked.checked(SAMPLING, value).encode())
        except InvalidArgument:
            raise asked.wrong(SAMPLING, "must be the text of a JSON object") from None
    if value is not None and not isinstance(value, dict):
        raise asked.wrong(SAMPLING, "must be a JSON object, or its text")
    return None if value is None else Fields(value, f"{SAMPLING}.")


def _flag(asked: Fields, name: str) -> bool | None:
    value = asked.take(name)
    if value is not None and not isinstance(value, bool):
        raise asked.wrong(name, "must be true or false")
    return value
