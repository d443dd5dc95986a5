"""What calls take and return: plain data."""

from dataclasses import dataclass
from enum import StrEnum

from weir_contracts.common.v1.finding_pb2 import Action
from weir_contracts.gateway.v1 import generation_pb2, model_pb2
from weir_contracts.inference.v1 import inference_pb2


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the model ended the text, or a stop string was met
    LENGTH = "length"  # `max_output_tokens` or the context's end was reached
    CONTENT_FILTER = "content_filter"  # a rule of the tenant's policy ended the text


@dataclass(frozen=True)
class Message:
    """One message of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True)
class Usage:
    """Tokens charged. `cached_input_tokens` are included in `input_tokens`."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Finding:
    """Where a rule matched: code points [start, end) of the `input` or `output`.

    `action` is `allow`, `flag`, `redact` or `block`.
    """

    rule: str
    action: str
    where: str
    start: int
    end: int


@dataclass(frozen=True)
class Generation:
    """A generated text, and what it cost.

    `cost_nanos` counts nano units (1e-9) of `currency`. Both are None in the rare case that the
    ledger was away when the text was done: it then charges the same request later.
    """

    request_id: str
    model: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost_nanos: int | None
    currency: str | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Model:
    """A model on offer. `context_tokens`: prompt and output tokens together, at most."""

    name: str
    context_tokens: int
    created_at_s: int


def generation_of(
    request_id: str, model: str, text: str, result: generation_pb2.GenerationResult
) -> Generation:
    """A generation from its proto."""
    has_cost = result.HasField("cost")
    reason = inference_pb2.FinishReason.Name(result.finish_reason)
    return Generation(
        request_id=request_id,
        model=model,
        text=text,
        finish_reason=FinishReason(reason.removeprefix("FINISH_REASON_").lower()),
        usage=Usage(
            result.usage.input_tokens,
            result.usage.cached_input_tokens,
            result.usage.output_tokens,
        ),
        cost_nanos=result.cost.nanos if has_cost else None,
        currency=result.cost.currency_code if has_cost else None,
        findings=tuple(
            Finding(
                finding.rule,
                Action.Name(finding.action).removeprefix("ACTION_").lower(),
                finding.where,
                finding.start,
                finding.end,
            )
            for finding in result.findings
        ),
    )


def models_of(response: model_pb2.ListModelsResponse) -> list[Model]:
    """Models from their protos."""
    return [Model(m.name, m.context_tokens, m.created_at_s) for m in response.models]
