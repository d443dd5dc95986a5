"""Holds: HELD → SETTLED | RELEASED | EXPIRED, and nothing after.

The pure functions here decide; adapters lock the hold, ask, and write what they are told.
A hold ends when somebody ends it, not when the clock passes `expires_at_s`: until the sweeper
has been there, a late Settle or Release still counts.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from weir_billing.core.money import Money
from weir_billing.core.price import PriceBook
from weir_billing.core.transfer import Kind, Transfer, hold_transfer, settle_transfer, void_transfer
from weir_billing.core.usage import Usage, WorkUsage
from weir_kit.errors import Conflict, InvalidArgument


class HoldState(StrEnum):
    """What a hold is doing."""

    HELD = "HELD"
    SETTLED = "SETTLED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


class Witness(StrEnum):
    """Who said what was used: the gateway, or the inference service's meter."""

    GATEWAY = "gateway"
    METER = "meter"


@dataclass(frozen=True)
class Reservation:
    """What to hold for: the most that one request may use.

    `base_model` is the model that `model` is an adapter of, if it is one.
    """

    request_id: str
    tenant_id: str
    model: str
    most: Usage
    ttl_s: int
    base_model: str = ""

    def is_for(self, usage: Usage) -> bool:
        """Whether `usage` is of the kind that is reserved, tokens or work."""
        return type(usage) is type(self.most)

    def cost(self, book: PriceBook, usage: Usage) -> Money:
        """What `usage` of its model costs. Raises `PriceNotFound`."""
        return book.cost(self.model, usage, self.base_model)


@dataclass(frozen=True)
class Hold:
    """Money set aside for one request, and what became of it.

    `uncharged` is what the usage cost above the hold: a charge is capped at the hold, and the
    difference is written down here instead of being taken.
    """

    reservation: Reservation
    amount: Money
    price_book_version: int
    created_at_s: float
    expires_at_s: float
    state: HoldState = HoldState.HELD
    ended_at_s: float | None = None
    witness: Witness | None = None
    usage: Usage | None = None
    charged_nanos: int = 0
    uncharged_nanos: int = 0

    @property
    def request_id(self) -> str:
        return self.reservation.request_id

    @property
    def tenant_id(self) -> str:
        return self.reservation.tenant_id

    @property
    def charged(self) -> Money:
        return Money(self.charged_nanos, self.amount.currency)

    @property
    def uncharged(self) -> Money:
        return Money(self.uncharged_nanos, self.amount.currency)


@dataclass(frozen=True)
class Change:
    """A hold as it becomes, and the transfer that goes with it: written together or not at all.

    `transfer` is None where nothing moves: the hold is free, or it is as it was (`changed` False).
    """

    hold: Hold
    transfer: Transfer | None = None
    changed: bool = True


def open_hold(reservation: Reservation, book: PriceBook, now_s: float) -> Change:
    """A new hold of the worst-case price. Raises `PriceNotFound`."""
    amount = reservation.cost(book, reservation.most)
    hold = Hold(reservation, amount, book.version, now_s, now_s + reservation.ttl_s)
    return Change(hold, hold_transfer(hold.tenant_id, hold.request_id, amount, now_s))


def replayed(hold: Hold, reservation: Reservation) -> Hold:
    """The hold that the same Reserve made before. Raises `Conflict` where the numbers differ."""
    if hold.reservation != reservation:
        raise Conflict("this request_id already holds money for another reservation")
    return hold


def settle(hold: Hold, book: PriceBook, usage: Usage, witness: Witness, now_s: float) -> Change:
    """Charge `usage` by the hold's own price book, at most the hold; give the rest back.

    Raises `Conflict` when the hold ended in another way, or was settled with other numbers, and
    `InvalidArgument` when it is for the other kind of usage.
    """
    assert book.version == hold.price_book_version, "a hold is settled by the book it was made by"
    if not hold.reservation.is_for(usage):
        raise InvalidArgument(
            "must be set where max_work was reserved, and unset where tokens were", field="work"
        )
    if hold.state is HoldState.SETTLED:
        if hold.usage == usage:
            return Change(hold, changed=False)
        raise Conflict(
            f"the hold is already settled with another usage, as the {hold.witness} told"
        )
    if hold.state is not HoldState.HELD:
        raise Conflict(f"the hold is {hold.state} and its money is given back; nothing is charged")
    cost = hold.reservation.cost(book, usage)
    charged = Money(min(cost.nanos, hold.amount.nanos), hold.amount.currency)
    ended = replace(
        hold,
        state=HoldState.SETTLED,
        ended_at_s=now_s,
        witness=witness,
        usage=usage,
        charged_nanos=charged.nanos,
        uncharged_nanos=cost.nanos - charged.nanos,
    )
    moved = settle_transfer(
        hold.tenant_id,
        hold.request_id,
        hold.reservation.model,
        hold.amount,
        charged,
        now_s,
        description=str(usage) if isinstance(usage, WorkUsage) else "",
    )
    return Change(ended, moved)


def release(hold: Hold, now_s: float) -> Change:
    """Give all back. Fine again, and after expiry; raises `Conflict` once the hold is settled."""
    if hold.state is HoldState.SETTLED:
        raise Conflict("the hold is settled; a charge is not undone by Release")
    if hold.state is not HoldState.HELD:
        return Change(hold, changed=False)
    return _voided(hold, HoldState.RELEASED, Kind.RELEASE, now_s)


def expire(hold: Hold, now_s: float) -> Change:
    """Give all back, because nobody ended the hold in time."""
    assert hold.state is HoldState.HELD and hold.expires_at_s <= now_s
    return _voided(hold, HoldState.EXPIRED, Kind.EXPIRE, now_s)


def _voided(hold: Hold, state: HoldState, kind: Kind, now_s: float) -> Change:
    ended = replace(hold, state=state, ended_at_s=now_s)
    return Change(ended, void_transfer(kind, hold.tenant_id, hold.request_id, hold.amount, now_s))
