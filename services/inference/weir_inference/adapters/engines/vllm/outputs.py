"""vLLM's outputs as events."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weir_inference.core.engine import Delta, Event, Finished, PromptScored, Started
from weir_inference.core.request import EndReason, Request
from weir_inference.core.token_logprob import TokenLogprob

REASONS = {"stop": EndReason.STOP, "length": EndReason.LENGTH}


class UnknownEnd(RuntimeError):
    """vLLM ended an output for a reason that is none of ours."""


def events_of(output: Any, request: Request, first: bool) -> Iterator[Event]:
    """What a `RequestOutput` of new tokens tells; `first` is the request's first one."""
    if first:
        yield Started(_queue_s(output.metrics), output.num_cached_tokens or 0)
        if request.prompt_top_logprobs is not None:
            yield PromptScored(_prompt_scores(output, request.prompt_top_logprobs))
    if not output.outputs:
        return
    (new,) = output.outputs
    token_ids = list(new.token_ids)
    if new.finish_reason == "stop":
        # Without stop strings it is always a token that ends an output, and it is not part of it.
        del token_ids[-1:]
    if token_ids:
        logprobs: tuple[TokenLogprob, ...] = ()
        if request.top_logprobs is not None:
            logprobs = tuple(
                _scored(token_id, told, request.top_logprobs)
                for token_id, told in zip(token_ids, new.logprobs, strict=False)
            )
        yield Delta(tuple(token_ids), logprobs)
    if new.finish_reason is not None:
        if new.finish_reason not in REASONS:
            raise UnknownEnd
        yield Finished(REASONS[new.finish_reason])


def _queue_s(metrics: Any) -> float:
    """From its arrival in vLLM's core to its first step, by that process's clock."""
    if metrics is None or not metrics.scheduled_ts:
        return 0.0
    return max(0.0, float(metrics.scheduled_ts - metrics.queued_ts))


def _prompt_scores(output: Any, n_top: int) -> tuple[TokenLogprob, ...]:
    told: Sequence[Any] = output.prompt_logprobs or ()
    pairs = zip(output.prompt_token_ids, told, strict=True)
    return tuple(_scored(token_id, one, n_top) for token_id, one in pairs if one is not None)


def _scored(token_id: int, told: Mapping[int, Any], n_top: int) -> TokenLogprob:
    """`told` are the likeliest tokens, and this one where it is not among them."""
    ranked = sorted(told.items(), key=lambda pair: -pair[1].logprob)
    top = tuple((other, float(one.logprob)) for other, one in ranked[:n_top])
    return TokenLogprob(token_id, float(told[token_id].logprob), top)
