"""Core's types ⇄ the messages of `weir.common.v1`, for both wires and all peers."""

from collections.abc import Iterable

from weir_contracts.common.v1.chat_pb2 import Chat, ChatMessage
from weir_contracts.common.v1.finding_pb2 import Action as ActionProto
from weir_contracts.common.v1.finding_pb2 import Finding as FindingProto
from weir_contracts.common.v1.money_pb2 import Money as MoneyProto
from weir_contracts.common.v1.usage_pb2 import TokenUsage, WorkUsage
from weir_contracts.inference.v1.inference_pb2 import Choices as ChoicesProto
from weir_contracts.inference.v1.inference_pb2 import FinishReason as FinishReasonProto
from weir_contracts.inference.v1.inference_pb2 import Grammar as GrammarProto
from weir_contracts.inference.v1.inference_pb2 import Priority as PriorityProto
from weir_contracts.inference.v1.inference_pb2 import Sampling as SamplingProto
from weir_gateway.core.call import Action, Finding, FinishReason, Message, Money, Usage, Work
from weir_gateway.core.sampling import Grammar, GrammarKind, Priority, Sampling
from weir_kit.errors import Internal

ACTIONS = {
    Action.ALLOW: ActionProto.ACTION_ALLOW,
    Action.FLAG: ActionProto.ACTION_FLAG,
    Action.REDACT: ActionProto.ACTION_REDACT,
    Action.BLOCK: ActionProto.ACTION_BLOCK,
}
ACTIONS_OF_PROTO = {proto: action for action, proto in ACTIONS.items()}
FINISH_REASONS = {
    FinishReason.STOP: FinishReasonProto.FINISH_REASON_STOP,
    FinishReason.LENGTH: FinishReasonProto.FINISH_REASON_LENGTH,
    FinishReason.CONTENT_FILTER: FinishReasonProto.FINISH_REASON_CONTENT_FILTER,
}
FINISH_REASONS_OF_PROTO = {proto: reason for reason, proto in FINISH_REASONS.items()}
PRIORITIES = {
    Priority.HIGH: PriorityProto.PRIORITY_HIGH,
    Priority.NORMAL: PriorityProto.PRIORITY_NORMAL,
    Priority.LOW: PriorityProto.PRIORITY_LOW,
}
PRIORITIES_OF_PROTO = {proto: priority for priority, proto in PRIORITIES.items()}
# Fields of `Sampling` that may be unset.
OPTIONAL = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)


def chat_to_proto(messages: Iterable[Message]) -> Chat:
    """A conversation."""
    return Chat(messages=[ChatMessage(role=m.role, content=m.content) for m in messages])


def chat_of_proto(chat: Chat) -> tuple[Message, ...]:
    """A conversation."""
    return tuple(Message(m.role, m.content) for m in chat.messages)


def usage_to_proto(usage: Usage) -> TokenUsage:
    """Tokens."""
    return TokenUsage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
    )


def usage_of_proto(usage: TokenUsage) -> Usage:
    """Tokens."""
    return Usage(usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)


def work_to_proto(work: Work) -> WorkUsage:
    """Work."""
    return WorkUsage(requests=work.requests, items=work.items, compute_us=work.compute_us)


def work_of_proto(work: WorkUsage) -> Work:
    """Work."""
    return Work(work.requests, work.items, work.compute_us)


def money_to_proto(money: Money | None) -> MoneyProto | None:
    """An amount."""
    if money is None:
        return None
    return MoneyProto(nanos=money.nanos, currency_code=money.currency)


def money_of_proto(money: MoneyProto) -> Money:
    """An amount."""
    return Money(money.nanos, money.currency_code)


def findings_to_proto(findings: Iterable[Finding]) -> list[FindingProto]:
    """What rules found."""
    return [
        FindingProto(rule=f.rule, action=ACTIONS[f.action], where=f.where, start=f.start, end=f.end)
        for f in findings
    ]


def findings_of_proto(findings: Iterable[FindingProto]) -> tuple[Finding, ...]:
    """What rules found. Raises `Internal` for an action that this gateway does not know."""
    found = []
    for finding in findings:
        action = ACTIONS_OF_PROTO.get(finding.action)
        if action is None:
            raise Internal(f"policy answered with an unknown action for the rule {finding.rule}")
        found.append(Finding(finding.rule, action, finding.where, finding.start, finding.end))
    return tuple(found)


def sampling_to_proto(sampling: Sampling) -> SamplingProto:
    """How to choose tokens."""
    return SamplingProto(
        **{name: getattr(sampling, name) for name in OPTIONAL},
        ignore_eos=sampling.ignore_eos,
        logit_bias=dict(sampling.logit_bias),
        stop_token_ids=sampling.stop_token_ids,
        grammar=None if sampling.grammar is None else _grammar_to_proto(sampling.grammar),
    )


def sampling_of_proto(sampling: SamplingProto) -> Sampling:
    """How to choose tokens; what is unset is None."""
    set_fields = sampling.ListFields()
    chosen = {field.name: value for field, value in set_fields if field.name in OPTIONAL}
    return Sampling(
        **chosen,
        ignore_eos=sampling.ignore_eos,
        logit_bias=tuple(sampling.logit_bias.items()),
        stop_token_ids=tuple(sampling.stop_token_ids),
        grammar=_grammar_of_proto(sampling.grammar) if sampling.HasField("grammar") else None,
    )


def _grammar_to_proto(grammar: Grammar) -> GrammarProto:
    if grammar.kind is GrammarKind.CHOICES:
        return GrammarProto(choices=ChoicesProto(texts=grammar.texts))
    proto = GrammarProto()
    setattr(proto, grammar.kind.value, grammar.texts[0])
    return proto


def _grammar_of_proto(grammar: GrammarProto) -> Grammar | None:
    kind = grammar.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "choices":
        return Grammar(GrammarKind.CHOICES, tuple(grammar.choices.texts))
    return Grammar(GrammarKind(kind), (getattr(grammar, kind),))
