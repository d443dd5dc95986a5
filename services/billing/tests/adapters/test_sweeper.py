"""The sweeper: an expired hold is settled from its meter record, or voided, or left to wait."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from weir_billing.core.hold import HoldState
from weir_billing.core.meter import MeterRecord
from weir_billing.core.sweeper import METER_PATIENCE_S, Sweeper, Swept
from weir_billing.core.usage import WorkUsage
from weir_kit.errors import Conflict


@dataclass
class MeterReadUntil:
    """A meter read up to a moment."""

    until_s: float | None

    def read_until_s(self) -> float | None:
        return self.until_s


def sweeper_of(bank: Any, until_s: float | None = float("inf")) -> Sweeper:
    return Sweeper(bank.holds, MeterReadUntil(until_s), bank.clock, bank.counters)


def record(request_id: str, tokens: int, reason: str = "stop", tenant: str = "a") -> MeterRecord:
    return MeterRecord(request_id, tenant, "tales", tokens, 0, reason, 1_800_000_000.0)


def predicted(request_id: str, items: int, reason: str = "stop") -> MeterRecord:
    return MeterRecord(request_id, "a", "tales", 0, 0, reason, 1_800_000_000.0, items, 1_000_000)


async def test_a_hold_that_has_not_expired_is_left_alone(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100, ttl_s=60)
    await bank.meter.keep([record("r1", 30)])
    bank.clock.advance(59.9)
    assert await sweeper_of(bank).sweep() == Swept(0, 0)
    assert await bank.nanos("a") == (900_000, 100_000)
    # Expired, but not swept yet: the gateway's word still counts.
    bank.clock.advance(10)
    assert (await bank.settle("a", "r1", 20)).charged.nanos == 20_000
    assert await sweeper_of(bank).sweep() == Swept(0, 0)


async def test_an_expired_hold_with_a_meter_record_is_settled_from_it(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100, ttl_s=60)
    await bank.meter.keep([record("r1", 30)])
    bank.clock.advance(60)
    assert await sweeper_of(bank).sweep() == Swept(1, 0)
    assert await bank.nanos("a") == (970_000, 0)
    assert (await bank.settle("a", "r1", 30)).state is HoldState.SETTLED
    with pytest.raises(Conflict, match="meter"):
        await bank.settle("a", "r1", 31)


async def test_an_expired_hold_without_a_meter_record_is_voided(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100, ttl_s=60)
    await bank.reserve("a", "r2", 100, ttl_s=60)
    await bank.reserve("a", "r3", 100, ttl_s=60)
    await bank.meter.keep([record("r2", 50, tenant="b"), record("r3", 50, reason="error")])
    bank.clock.advance(60)
    assert await sweeper_of(bank).sweep() == Swept(0, 3)
    assert await bank.nanos("a") == (1_000_000, 0)
    lines = (await bank.accounting.statement("", "r1", 1, "")).lines
    assert lines[0].kind == "expire"
    with pytest.raises(Conflict, match="EXPIRED"):
        await bank.settle("a", "r1", 30)
    assert (await bank.release("a", "r1")).state is HoldState.EXPIRED


async def test_a_hold_waits_for_a_meter_that_is_behind_but_not_for_ever(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "behind", 100, ttl_s=60)
    await bank.reserve("a", "metered", 100, ttl_s=60)
    await bank.meter.keep([record("metered", 30)])
    bank.clock.advance(60)
    for until_s in (None, bank.clock.now_s() - 1):
        await sweeper_of(bank, until_s).sweep()
        assert await bank.nanos("a") == (870_000, 100_000)
    bank.clock.advance(METER_PATIENCE_S)
    assert await sweeper_of(bank, None).sweep() == Swept(0, 1)
    assert await bank.nanos("a") == (970_000, 0)


async def test_replicas_that_sweep_at_once_share_the_work(bank: Any) -> None:
    await bank.open("a", 10_000_000)
    requests = [f"r{n}" for n in range(250)]
    await asyncio.gather(*(bank.reserve("a", request, 10, ttl_s=60) for request in requests))
    await bank.meter.keep([record(request, 4) for request in requests[:120]])
    bank.clock.advance(60)
    swept: Sequence[Swept] = await asyncio.gather(*(sweeper_of(bank).sweep() for _ in range(4)))
    assert sum(one.settled for one in swept) == 120
    assert sum(one.voided for one in swept) == 130
    assert await bank.nanos("a") == (10_000_000 - 120 * 4_000, 0)
    verification = await bank.accounting.verify()
    assert verification.is_right
    assert verification.open_holds == 0


async def test_sweeping_and_settling_at_once_end_each_hold_once(bank: Any) -> None:
    await bank.open("a", 10_000_000)
    requests = [f"r{n}" for n in range(60)]
    await asyncio.gather(*(bank.reserve("a", request, 10, ttl_s=60) for request in requests))
    bank.clock.advance(60)
    answers = await asyncio.gather(
        *(bank.settle("a", request, 4) for request in requests),
        sweeper_of(bank).sweep(),
        sweeper_of(bank).sweep(),
        return_exceptions=True,
    )
    settled = sum(not isinstance(answer, Conflict) for answer in answers[:60])
    voided = sum(swept.voided for swept in answers[60:] if isinstance(swept, Swept))
    assert settled + voided == 60
    assert await bank.nanos("a") == (10_000_000 - settled * 4_000, 0)
    assert (await bank.accounting.verify()).is_right


async def test_a_prediction_is_settled_from_its_meter_record_by_the_same_rule(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    for request_id in ("answered", "broken", "silent", "generated"):
        await bank.reserve_most("a", request_id, WorkUsage(1, 10, 2_000_000), ttl_s=60)
    await bank.reserve("a", "tokens", 100, ttl_s=60)
    await bank.meter.keep(
        [
            predicted("answered", 4),
            predicted("broken", 4, reason="error"),
            record("generated", 30),
            predicted("tokens", 4),
        ]
    )
    bank.clock.advance(60)
    assert await sweeper_of(bank).sweep() == Swept(1, 4)
    assert await bank.nanos("a") == (1_000_000 - 3_000 - 16_000 - 5_000, 0)
    used = WorkUsage(1, 4, 1_000_000)
    assert (await bank.settle_usage("a", "answered", used)).state is HoldState.SETTLED
    with pytest.raises(Conflict, match="meter"):
        await bank.settle_usage("a", "answered", WorkUsage(1, 5, 1_000_000))
    (line, *_) = (await bank.accounting.statement("", "answered", 1, "")).lines
    assert line.description == "1 request, 4 items, 1.000000 s of computing"
    assert (await bank.accounting.verify()).is_right


async def test_a_meter_charge_is_capped_too(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 10, ttl_s=60)
    await bank.meter.keep([record("r1", 15)])
    bank.clock.advance(60)
    await sweeper_of(bank).sweep()
    assert await bank.nanos("a") == (990_000, 0)
    assert bank.counters.charges_capped == 1
