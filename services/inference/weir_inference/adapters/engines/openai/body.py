"""A request as the body of `POST /completions`."""

from typing import Any

from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_inference.core.upstream_spec import UpstreamSpec
from weir_kit.errors import InvalidArgument

SEED_BITS = 63  # servers take a signed 64-bit seed, and some no negative one
# What vLLM adds to OpenAI's parameters, with the value that changes nothing.
ADDED = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "ignore_eos": False,
    "stop_token_ids": (),
}


def completion_body(
    request: Request, spec: UpstreamSpec, prompt: str | list[int]
) -> dict[str, Any]:
    """Only what is asked for is named: servers refuse what they do not know.

    Raises `InvalidArgument`, naming the field, for what the upstream cannot do.
    """
    _check(request, spec)
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": spec.model,
        "prompt": prompt,
        "max_tokens": request.max_output_tokens,
        "temperature": sampling.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.top_p != 1.0:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed % (1 << SEED_BITS)
    for key in ("presence_penalty", "frequency_penalty"):
        if getattr(sampling, key):
            body[key] = getattr(sampling, key)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias}
    if spec.token_ids:
        body["return_token_ids"] = True
        body |= _added(sampling)
        if request.top_logprobs is not None:
            body |= {"logprobs": request.top_logprobs, "return_tokens_as_token_ids": True}
    return body


def _added(sampling: Sampling) -> dict[str, Any]:
    """Those of `ADDED` that change something; the values are as JSON has them."""
    asked = {key: getattr(sampling, key) for key, usual in ADDED.items()}
    changed = {key: value for key, value in asked.items() if value != ADDED[key]}
    if "stop_token_ids" in changed:
        changed["stop_token_ids"] = list(sampling.stop_token_ids)
    return changed


def _check(request: Request, spec: UpstreamSpec) -> None:
    if request.prompt_top_logprobs is not None:
        raise _refused("prompt_top_logprobs", "no log-probabilities of prompts")
    if request.grammar is not None:
        raise _refused("sampling.grammar", "no grammars")
    if spec.token_ids:
        return
    if request.top_logprobs is not None:
        raise _refused("top_logprobs", "no log-probabilities by token id")
    for key in _added(request.sampling):
        raise _refused(f"sampling.{key}", f"no {key}")


def _refused(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"this model runs on an upstream that has {what}", field=field)
