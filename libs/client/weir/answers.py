"""What calls take and return: plain data."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from weir_contracts.common.v1 import finding_pb2
from weir_contracts.gateway.v1 import generation_pb2, model_pb2
from weir_contracts.inference.v1 import inference_pb2


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the model ended the text, or a stop string was met
    LENGTH = "length"  # `max_output_tokens`, the context's end or its grammar's bounds were reached
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
class TokenLogprob:
    """How likely a token was: natural logarithms, before temperature, cuts and penalties.

    `logprob` is None for a prompt's first token. `top`: the likeliest tokens' texts and
    log-probabilities, the likeliest first. `start`: where its text begins in the choice's, in
    characters. A text that is a part of a character holds U+FFFD in its place.
    """

    text: str
    logprob: float | None
    top: tuple[tuple[str, float], ...]
    start: int


@dataclass(frozen=True)
class Piece:
    """Text of one choice as it comes; `logprobs` are of tokens whose text has come by now."""

    choice: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One output. `logprobs` end where a rule of the tenant's policy changed or ended the text."""

    text: str
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Generation:
    """What was generated, and what it cost.

    `text`, `finish_reason` and `logprobs` are those of the first of the `choices`; usage, cost and
    findings are those of all, and of the input. `cost_nanos` counts nano units (1e-9) of
    `currency`. Both are None in the rare case that the ledger was away when the text was done: it
    then charges the same request later.
    """

    request_id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    cost_nanos: int | None
    currency: str | None
    findings: tuple[Finding, ...]

    @property
    def text(self) -> str:
        """The first choice's."""
        return self.choices[0].text

    @property
    def finish_reason(self) -> FinishReason:
        """The first choice's."""
        return self.choices[0].finish_reason

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The first choice's."""
        return self.choices[0].logprobs


@dataclass(frozen=True)
class Model:
    """A model on offer.

    `context_tokens`: prompt and output tokens together, at most. `task`: what it does,
    `generation`, `text-classification`, `embedding`, … `version`: the one that answers by default,
    empty for a model without.
    """

    name: str
    context_tokens: int
    created_at_s: int
    task: str
    version: str


def generation_of(response: generation_pb2.GenerateResponse) -> Generation:
    """A generation from its proto."""
    result = response.result
    has_cost = result.HasField("cost")
    return Generation(
        request_id=response.request_id,
        model=response.model,
        choices=tuple(map(_choice, result.choices)),
        usage=Usage(
            result.usage.input_tokens,
            result.usage.cached_input_tokens,
            result.usage.output_tokens,
        ),
        cost_nanos=result.cost.nanos if has_cost else None,
        currency=result.cost.currency_code if has_cost else None,
        findings=findings_of(result.findings),
    )


def piece_of(delta: generation_pb2.StreamDelta) -> Piece:
    """A piece from its proto."""
    return Piece(delta.choice, delta.text, tuple(map(_logprob, delta.logprobs)))


def models_of(response: model_pb2.ListModelsResponse) -> list[Model]:
    """Models from their protos."""
    return [
        Model(m.name, m.context_tokens, m.created_at_s, m.task, m.version) for m in response.models
    ]


def findings_of(findings: Iterable[finding_pb2.Finding]) -> tuple[Finding, ...]:
    """Findings from their protos."""
    return tuple(
        Finding(
            finding.rule,
            finding_pb2.Action.Name(finding.action).removeprefix("ACTION_").lower(),
            finding.where,
            finding.start,
            finding.end,
        )
        for finding in findings
    )


def _choice(choice: generation_pb2.Choice) -> Choice:
    reason = inference_pb2.FinishReason.Name(choice.finish_reason)
    return Choice(
        text=choice.text,
        finish_reason=FinishReason(reason.removeprefix("FINISH_REASON_").lower()),
        logprobs=tuple(map(_logprob, choice.logprobs)),
        findings=findings_of(choice.findings),
    )


def _logprob(token: generation_pb2.TokenLogprob) -> TokenLogprob:
    logprob = token.logprob if token.HasField("logprob") else None
    top = tuple((one.text, one.logprob) for one in token.top)
    return TokenLogprob(token.text, logprob, top, token.start)
