"""The sweeper: ends holds that nobody ended in time."""

import logging
from dataclasses import dataclass
from typing import Protocol

from weir_billing.core.billing import Holds, microseconds, note_cap
from weir_billing.core.counters import Counters
from weir_billing.core.hold import Change, Hold, HoldState
from weir_billing.core.meter import MeterRecord, end_expired
from weir_billing.core.price import PriceBook
from weir_kit.clock import Clock

LOG = logging.getLogger("weir.billing.sweeper")
BATCH_HOLDS = 100
BATCHES_MAX = 100
# How long an expired hold waits for a meter that cannot be read. Voiding at once would give away
# what was generated while Redis or billing was down; waiting for ever would keep tenants' money.
METER_PATIENCE_S = 900.0


class Horizon(Protocol):
    """How far the meter has been read."""

    def read_until_s(self) -> float | None:
        """Every record written before this time is known; None while nothing is known."""
        ...


@dataclass(frozen=True)
class Swept:
    """What one sweep ended."""

    settled: int
    voided: int


class Sweeper:
    """Settles expired holds from their meter records and voids those that have none.

    Several replicas may sweep at once: each takes holds that no other has locked.
    """

    def __init__(self, holds: Holds, horizon: Horizon, clock: Clock, counters: Counters) -> None:
        self._holds = holds
        self._horizon = horizon
        self._clock = clock
        self._counters = counters

    async def sweep(self) -> Swept:
        """End every hold that has expired by now, at most `BATCH_HOLDS * BATCHES_MAX`."""
        now_s = microseconds(self._clock.now_s())
        void_before_s = max(self._horizon.read_until_s() or 0.0, now_s - METER_PATIENCE_S)
        settled = voided = 0

        def decide(hold: Hold, book: PriceBook, record: MeterRecord | None) -> Change:
            return end_expired(hold, book, record, now_s)

        for _ in range(BATCHES_MAX):
            changes = await self._holds.end_expired(now_s, void_before_s, BATCH_HOLDS, decide)
            for change in changes:
                note_cap(change, self._counters)
            n_settled = sum(change.hold.state is HoldState.SETTLED for change in changes)
            settled += n_settled
            voided += len(changes) - n_settled
            if len(changes) < BATCH_HOLDS:
                break
        self._counters.holds_settled_from_meter += settled
        self._counters.holds_voided += voided
        if settled or voided:
            LOG.info("expired holds ended: settled_from_meter=%d voided=%d", settled, voided)
        return Swept(settled, voided)
