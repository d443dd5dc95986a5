"""Transfers: money moves between accounts, and what leaves one arrives in others.

The five kinds follow TigerBeetle's two-phase transfers: `hold` is pending; `settle` posts it,
`release` and `expire` void it. Whatever ends a hold names it in `pending_id`, which is unique:
a hold ends once.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from weir_billing.core import account
from weir_billing.core.money import Money


class Kind(StrEnum):
    """Why money moved."""

    CREDIT = "credit"
    HOLD = "hold"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"


@dataclass(frozen=True)
class Entry:
    """One side of a transfer: added to the account, or taken from it where below zero."""

    account: str
    amount: Money


@dataclass(frozen=True)
class Transfer:
    """Two or more entries that add up to zero in every currency: asserted when it is made.

    `transfer_id` follows from what is done (`settle:req_1`), so doing it twice is one transfer.
    """

    transfer_id: str
    kind: Kind
    tenant_id: str
    request_id: str
    entries: tuple[Entry, ...]
    created_at_s: float
    pending_id: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        sums: defaultdict[str, int] = defaultdict(int)
        for entry in self.entries:
            assert entry.amount.nanos != 0, "an entry moves something"
            sums[entry.amount.currency] += entry.amount.nanos
        assert len(self.entries) >= 2, "a transfer has two sides"
        assert not any(sums.values()), "a transfer adds up to zero in every currency"


def credit_transfer(
    tenant_id: str, request_id: str, amount: Money, description: str, now_s: float
) -> Transfer:
    """Credit granted to a tenant; the id is the tenant's and the caller's request's."""
    assert amount.nanos > 0
    return Transfer(
        transfer_id=f"{Kind.CREDIT}:{tenant_id}:{request_id}",
        kind=Kind.CREDIT,
        tenant_id=tenant_id,
        request_id=request_id,
        entries=(Entry(account.GRANTED, -amount), Entry(account.available(tenant_id), amount)),
        created_at_s=now_s,
        description=description,
    )


def hold_transfer(tenant_id: str, request_id: str, amount: Money, now_s: float) -> Transfer | None:
    """Money set aside; None where the request is free and nothing moves."""
    if amount.nanos == 0:
        return None
    return Transfer(
        transfer_id=pending_id(request_id),
        kind=Kind.HOLD,
        tenant_id=tenant_id,
        request_id=request_id,
        entries=(
            Entry(account.available(tenant_id), -amount),
            Entry(account.held(tenant_id), amount),
        ),
        created_at_s=now_s,
    )


def settle_transfer(
    tenant_id: str,
    request_id: str,
    model: str,
    amount: Money,
    charged: Money,
    now_s: float,
    description: str = "",
) -> Transfer | None:
    """`charged` out of the held `amount` earned, the rest given back."""
    assert 0 <= charged.nanos <= amount.nanos, "a charge is never above the hold"
    to = ((account.available(tenant_id), amount - charged), (account.revenue(model), charged))
    return _ended(Kind.SETTLE, tenant_id, request_id, amount, to, now_s, description)


def void_transfer(
    kind: Kind, tenant_id: str, request_id: str, amount: Money, now_s: float
) -> Transfer | None:
    """The whole held `amount` given back: `release` or `expire`."""
    assert kind in (Kind.RELEASE, Kind.EXPIRE)
    to = ((account.available(tenant_id), amount),)
    return _ended(kind, tenant_id, request_id, amount, to, now_s)


def pending_id(request_id: str) -> str:
    """The id of the transfer that holds money for a request."""
    return f"{Kind.HOLD}:{request_id}"


def _ended(
    kind: Kind,
    tenant_id: str,
    request_id: str,
    amount: Money,
    to: Iterable[tuple[str, Money]],
    now_s: float,
    description: str = "",
) -> Transfer | None:
    if amount.nanos == 0:
        return None
    back = tuple(Entry(name, part) for name, part in to if part.nanos)
    return Transfer(
        transfer_id=f"{kind}:{request_id}",
        kind=kind,
        tenant_id=tenant_id,
        request_id=request_id,
        entries=(Entry(account.held(tenant_id), -amount), *back),
        created_at_s=now_s,
        pending_id=pending_id(request_id),
        description=description,
    )
