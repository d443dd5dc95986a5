"""Billing: money is held before the work, and charged or given back after."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from weir_billing.core import hold as holding
from weir_billing.core.counters import Counters
from weir_billing.core.hold import Change, Hold, Reservation, Witness
from weir_billing.core.meter import MeterRecord
from weir_billing.core.money import Money
from weir_billing.core.price import PriceBook
from weir_billing.core.usage import Usage
from weir_kit.admission import Admission
from weir_kit.clock import Clock
from weir_kit.errors import (
    AlreadyExists,
    InsufficientCredit,
    PermissionDenied,
    PriceNotFound,
    Unavailable,
)

LOG = logging.getLogger("weir.billing")
RESERVE_TRIES = 3

Decide = Callable[[Hold, PriceBook], Change]
DecideExpired = Callable[[Hold, PriceBook, MeterRecord | None], Change]


@dataclass(frozen=True)
class Standing:
    """What a reservation meets: its hold if it was made before, the tenant's credit, the prices.

    `available` is None where the tenant has no account, `book` where no prices are published in
    its currency (in any, without an account).
    """

    hold: Hold | None
    available: Money | None
    book: PriceBook | None


class Holds(Protocol):
    """Where holds and the ledger are kept."""

    async def standing(self, request_id: str, tenant_id: str) -> Standing:
        """What a reservation meets; a moment's view that `open` checks again."""
        ...

    async def open(self, change: Change) -> None:
        """Write a new hold and move its money, at once or not at all.

        Raises `AlreadyExists` if the request has a hold, `InsufficientCredit` if the money is gone.
        """
        ...

    async def end(self, request_id: str, decide: Decide) -> Change:
        """Lock the hold, ask `decide`, write its answer.

        Raises `NotFound` and what `decide` raises.
        """
        ...

    async def end_expired(
        self, now_s: float, void_before_s: float, limit: int, decide: DecideExpired
    ) -> list[Change]:
        """Lock at most `limit` expired holds that nobody else has locked, and end each by `decide`.

        A hold without a meter record is left alone unless it expired before `void_before_s`.
        """
        ...


class Billing:
    """Reserve, settle and release for admitted requests."""

    def __init__(self, holds: Holds, clock: Clock, counters: Counters) -> None:
        self._holds = holds
        self._clock = clock
        self._counters = counters

    async def reserve(self, admission: Admission, wanted: Reservation) -> Hold:
        """Hold the worst-case price; again with the same numbers: the same hold.

        Raises `PermissionDenied`, `PriceNotFound`, `InsufficientCredit`, `Conflict`.
        """
        _permit(admission, wanted.request_id)
        if admission.model != wanted.model:
            raise PermissionDenied("the admission is for another model")
        for _ in range(RESERVE_TRIES):
            standing = await self._holds.standing(wanted.request_id, wanted.tenant_id)
            if standing.hold:
                return holding.replayed(standing.hold, wanted)
            change = _opened(standing, wanted, self._now_s())
            try:
                await self._holds.open(change)
            except AlreadyExists:
                continue  # the same request reserved twice at once: the other one was first
            except InsufficientCredit:
                raise insufficient(change.hold.amount) from None
            return change.hold
        raise Unavailable("the hold could not be written; try again", retry_after_s=1)

    async def settle(self, admission: Admission, request_id: str, usage: Usage) -> Hold:
        """Charge `usage`, never above the hold.

        Raises `PermissionDenied`, `NotFound`, `Conflict`, and `InvalidArgument` where the hold is
        for the other kind of usage.
        """
        _permit(admission, request_id)

        def decide(hold: Hold, book: PriceBook) -> Change:
            _permit_tenant(admission, hold)
            return holding.settle(hold, book, usage, Witness.GATEWAY, self._now_s())

        change = await self._holds.end(request_id, decide)
        note_cap(change, self._counters)
        return change.hold

    async def release(self, admission: Admission, request_id: str) -> Hold:
        """Give the hold back.

        Raises `PermissionDenied`, `NotFound`, and `Conflict` once it is settled.
        """
        _permit(admission, request_id)

        def decide(hold: Hold, book: PriceBook) -> Change:
            _permit_tenant(admission, hold)
            return holding.release(hold, self._now_s())

        return (await self._holds.end(request_id, decide)).hold

    def _now_s(self) -> float:
        return microseconds(self._clock.now_s())


def microseconds(seconds: float) -> float:
    """A time as PostgreSQL keeps it, so that a hold reads back equal to what was written."""
    return round(seconds, 6)


def insufficient(needed: Money) -> InsufficientCredit:
    """The refusal: it names what is needed, never what anybody has."""
    return InsufficientCredit(
        f"the available credit does not cover this request's worst-case price of {needed}; "
        "add credit or ask for less",
        details={"currency": needed.currency, "needed_nanos": str(needed.nanos)},
    )


def note_cap(change: Change, counters: Counters) -> None:
    """Count and log a charge that would have been above its hold; the hold row keeps the amount."""
    if change.changed and change.hold.uncharged_nanos:
        counters.charges_capped += 1
        LOG.warning(
            "charge capped at the hold: request_id=%s uncharged=%s charges_capped=%d",
            change.hold.request_id,
            change.hold.uncharged,
            counters.charges_capped,
        )


def _opened(standing: Standing, wanted: Reservation, now_s: float) -> Change:
    if standing.book is None:
        raise PriceNotFound(
            "no price book is published in the account's currency; publish one first",
            details={"model": wanted.model},
        )
    change = holding.open_hold(wanted, standing.book, now_s)
    needed = change.hold.amount
    if standing.available is None or standing.available.nanos < needed.nanos:
        raise insufficient(needed)
    return change


def _permit(admission: Admission, request_id: str) -> None:
    if admission.request_id != request_id:
        raise PermissionDenied("the admission is for another request")


def _permit_tenant(admission: Admission, hold: Hold) -> None:
    if admission.tenant_id != hold.tenant_id:
        raise PermissionDenied("the admission is for another tenant")
