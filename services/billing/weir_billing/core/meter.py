"""Meter records: what the inference service says it did, the second witness of usage."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from weir_billing.core import fields
from weir_billing.core.hold import Change, Hold, Witness, expire, settle
from weir_billing.core.price import PriceBook
from weir_billing.core.usage import TokenUsage, Usage, WorkUsage
from weir_kit.errors import InvalidArgument

FINISHED = frozenset({"stop", "length"})
REASONS = FINISHED | {"cancelled", "deadline", "error"}
AT_S_MAX = 2**33  # the year 2242: later is a mistake in units
COUNT_DIGITS_MAX = 18


@dataclass(frozen=True)
class MeterRecord:
    """Usage of one request as inference saw it; `reason` says how it ended, `at_s` when.

    A model that answers in one piece looked at `items`, at least one, and counts no tokens.
    """

    request_id: str
    tenant_id: str
    model: str
    input_tokens: int
    output_tokens: int
    reason: str
    at_s: float
    items: int = 0
    compute_us: int = 0


def meter_record_of(message: Mapping[str, str]) -> MeterRecord:
    """The record in a message of the stream `weir:meter`. Raises `InvalidArgument`."""
    reason = _field(message, "reason")
    if reason not in REASONS:
        raise InvalidArgument(f"must be one of {', '.join(sorted(REASONS))}", field="reason")
    return MeterRecord(
        request_id=fields.request_id(_field(message, "request_id")),
        tenant_id=fields.tenant_id(_field(message, "tenant_id")),
        model=fields.model_name(_field(message, "model")),
        input_tokens=fields.tokens(_count(message, "input_tokens"), "input_tokens"),
        output_tokens=fields.tokens(_count(message, "output_tokens"), "output_tokens"),
        reason=reason,
        at_s=_seconds(message, "at_s"),
        # Inference services of before have no such models and leave these out.
        items=fields.items(_count(message, "items", "0"), "items"),
        compute_us=fields.compute_us(_count(message, "compute_us", "0"), "compute_us"),
    )


def chargeable(record: MeterRecord) -> Usage | None:
    """The usage to charge when the gateway never settled; None: the request is free.

    The published rule: what finished is charged in full; what broke off is charged for its input
    and the tokens generated until then, but is free when it broke off before its first token. An
    answer in one piece has no tokens, so it is charged in full or free.
    """
    if record.reason not in FINISHED and record.output_tokens == 0:
        return None
    if record.items:
        return WorkUsage(1, record.items, record.compute_us)
    return TokenUsage(record.input_tokens, record.output_tokens)


def end_expired(hold: Hold, book: PriceBook, record: MeterRecord | None, now_s: float) -> Change:
    """How an expired hold ends: settled from its meter record, else voided.

    A record that names another tenant, or work where tokens are held for, is no witness for this
    hold.
    """
    stands = record is not None and record.tenant_id == hold.tenant_id
    usage = chargeable(record) if record and stands else None
    if usage is None or not hold.reservation.is_for(usage):
        return expire(hold, now_s)
    return settle(hold, book, usage, Witness.METER, now_s)


def _field(message: Mapping[str, str], name: str) -> str:
    if name not in message:
        raise InvalidArgument("is missing", field=name)
    return message[name]


def _count(message: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = _field(message, name) if default is None else message.get(name, default)
    if not (text.isascii() and text.isdigit() and len(text) <= COUNT_DIGITS_MAX):
        raise InvalidArgument("must be a count in decimal digits", field=name)
    return int(text)


def _seconds(message: Mapping[str, str], name: str) -> float:
    try:
        seconds = float(_field(message, name))
    except ValueError as error:
        raise InvalidArgument("must be seconds since 1970-01-01 UTC", field=name) from error
    if not (math.isfinite(seconds) and 0 <= seconds <= AT_S_MAX):
        raise InvalidArgument("must be seconds since 1970-01-01 UTC", field=name)
    return seconds
