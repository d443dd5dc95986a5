"""Holds against a real PostgreSQL: idempotent, exclusive, never above the balance."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from weir_billing.core.hold import HoldState
from weir_billing.core.price import Price
from weir_billing.core.usage import TokenUsage, WorkUsage
from weir_kit.errors import (
    Conflict,
    InsufficientCredit,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    WeirError,
)


async def outcome(call: Any) -> str:
    try:
        return str((await call).state)
    except WeirError as error:
        return type(error).__name__


async def test_reserve_settle_charges_the_usage_and_gives_the_rest_back(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    hold = await bank.reserve("a", "r1", 600)
    assert (hold.amount.nanos, hold.state) == (600_000, HoldState.HELD)
    assert await bank.nanos("a") == (400_000, 600_000)
    settled = await bank.settle("a", "r1", 250)
    assert (settled.charged.nanos, settled.state) == (250_000, HoldState.SETTLED)
    assert await bank.nanos("a") == (750_000, 0)
    lines = (await bank.accounting.statement("", "r1", 100, "")).lines
    assert [(line.kind, line.account, line.amount.nanos) for line in reversed(lines)] == [
        ("hold", "tenant:a:available", -600_000),
        ("hold", "tenant:a:held", 600_000),
        ("settle", "tenant:a:held", -600_000),
        ("settle", "tenant:a:available", 350_000),
        ("settle", "revenue:tales", 250_000),
    ]
    assert (await bank.accounting.verify()).is_right


async def test_what_was_written_reads_back_equal(bank: Any) -> None:
    bank.clock.advance(0.1234567)
    await bank.open("a", 1_000_000)
    assert await bank.reserve("a", "r1", 600) == await bank.reserve("a", "r1", 600)
    assert await bank.settle("a", "r1", 5) == await bank.settle("a", "r1", 5)
    assert await bank.reserve("a", "r1", 600) == await bank.settle("a", "r1", 5)


async def test_work_is_held_charged_and_told_in_the_statement(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    most = WorkUsage(1, 100, 9_000_000)
    hold = await bank.reserve_most("a", "r1", most)
    assert hold.amount.nanos == 3_000 + 400_000 + 45_000
    assert await bank.reserve_most("a", "r1", most) == hold
    settled = await bank.settle_usage("a", "r1", WorkUsage(1, 12, 2_000_000))
    assert settled.charged.nanos == 3_000 + 48_000 + 10_000
    assert await bank.settle_usage("a", "r1", WorkUsage(1, 12, 2_000_000)) == settled
    assert await bank.reserve_most("a", "r1", most) == settled
    assert await bank.nanos("a") == (939_000, 0)
    lines = (await bank.accounting.statement("", "r1", 100, "")).lines
    assert {(line.kind, line.description) for line in lines} == {
        ("hold", ""),
        ("settle", "1 request, 12 items, 2.000000 s of computing"),
    }
    assert (await bank.accounting.verify()).is_right


async def test_work_above_what_was_held_is_not_charged(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve_most("a", "r1", WorkUsage(1, 100, 0))
    settled = await bank.settle_usage("a", "r1", WorkUsage(1, 130, 1_000_000))
    assert settled.charged == settled.amount
    assert settled.uncharged.nanos == 30 * 4_000 + 5_000
    assert bank.counters.charges_capped == 1


async def test_a_hold_is_for_tokens_or_for_work(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    holds = {"tokens": TokenUsage(100, 0), "work": WorkUsage(1, 100, 0)}
    for request_id, most in holds.items():
        await bank.reserve_most("a", request_id, most)
    for request_id, usage in zip(holds, reversed(holds.values()), strict=True):
        with pytest.raises(InvalidArgument) as caught:
            await bank.settle_usage("a", request_id, usage)
        assert caught.value.field == "work"
        with pytest.raises(Conflict):
            await bank.reserve_most("a", request_id, usage)
    assert await bank.nanos("a") == (1_000_000 - 100_000 - 403_000, 100_000 + 403_000)


async def test_a_replay_with_other_numbers_is_a_conflict(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.open("b", 1_000_000)
    await bank.reserve("a", "r1", 600)
    with pytest.raises(Conflict):
        await bank.reserve("a", "r1", 601)
    with pytest.raises(Conflict):
        await bank.reserve("b", "r1", 600)
    assert await bank.nanos("a") == (400_000, 600_000)
    assert await bank.nanos("b") == (1_000_000, 0)


async def test_a_hundred_equal_reserves_at_once_hold_once(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    holds = await asyncio.gather(*(bank.reserve("a", "r1", 600) for _ in range(100)))
    assert len(set(holds)) == 1
    assert await bank.nanos("a") == (400_000, 600_000)


async def test_two_hundred_reserves_at_once_never_hold_more_than_the_balance(bank: Any) -> None:
    await bank.open("a", 70_999)
    outcomes = Counter(
        await asyncio.gather(*(outcome(bank.reserve("a", f"r{n}", 1)) for n in range(200)))
    )
    assert outcomes == {"HELD": 70, "InsufficientCredit": 130}
    assert await bank.nanos("a") == (999, 70_000)
    verification = await bank.accounting.verify()
    assert verification.is_right
    assert verification.open_holds == 70


async def test_a_refusal_names_what_is_needed_and_nothing_else(bank: Any) -> None:
    await bank.open("a", 123_456)
    with pytest.raises(InsufficientCredit) as caught:
        await bank.reserve("a", "r1", 1_000)
    assert caught.value.details == {"currency": "USD", "needed_nanos": "1000000"}
    assert "0.001 USD" in caught.value.message
    assert "123" not in caught.value.message
    with pytest.raises(InsufficientCredit):
        await bank.reserve("nobody", "r2", 1_000)


async def test_settle_and_release_at_once_give_exactly_one_outcome(bank: Any) -> None:
    await bank.open("a", 100_000_000)
    for n in range(20):
        await bank.reserve("a", f"r{n}", 1_000)
    calls = []
    for n in range(20):
        calls += [bank.settle("a", f"r{n}", 400), bank.release("a", f"r{n}")]
        calls += [bank.settle("a", f"r{n}", 500)]
    outcomes = await asyncio.gather(*(outcome(call) for call in calls))
    charged = 0
    for n in range(20):
        three = outcomes[3 * n : 3 * n + 3]
        assert Counter(three)["Conflict"] == 2, three
        charged += {"SETTLED": 400_000 if three[0] == "SETTLED" else 500_000, "RELEASED": 0}[
            next(one for one in three if one != "Conflict")
        ]
    assert await bank.nanos("a") == (100_000_000 - charged, 0)
    assert (await bank.accounting.verify()).is_right


async def test_many_tenants_and_models_at_once_do_not_deadlock(bank: Any) -> None:
    for n in range(8):
        await bank.open(f"t{n}", 10_000_000)

    async def live(n: int) -> None:
        tenant, request = f"t{n % 8}", f"r{n}"
        await bank.reserve(tenant, request, 10)
        await (bank.settle(tenant, request, 7) if n % 3 else bank.release(tenant, request))

    await asyncio.gather(*(live(n) for n in range(240)))
    verification = await bank.accounting.verify()
    assert verification.is_right
    assert verification.open_holds == 0


async def test_a_charge_is_capped_at_the_hold_and_the_cap_is_written_down(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100)
    hold = await bank.settle("a", "r1", 130)
    assert (hold.charged.nanos, hold.uncharged.nanos) == (100_000, 30_000)
    assert bank.counters.charges_capped == 1
    assert await bank.nanos("a") == (900_000, 0)


async def test_an_ended_hold_refuses_what_contradicts_its_end(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "settled", 100)
    await bank.settle("a", "settled", 60)
    with pytest.raises(Conflict):
        await bank.release("a", "settled")
    with pytest.raises(Conflict):
        await bank.settle("a", "settled", 61)
    await bank.reserve("a", "released", 100)
    await bank.release("a", "released")
    assert (await bank.release("a", "released")).state is HoldState.RELEASED
    with pytest.raises(Conflict):
        await bank.settle("a", "released", 60)
    with pytest.raises(NotFound):
        await bank.settle("a", "unknown", 60)
    assert await bank.nanos("a") == (940_000, 0)


async def test_another_tenants_admission_ends_nothing(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100)
    with pytest.raises(PermissionDenied):
        await bank.settle("b", "r1", 60)
    with pytest.raises(PermissionDenied):
        await bank.release("b", "r1")
    assert await bank.nanos("a") == (900_000, 100_000)


async def test_a_free_request_leaves_no_entries(bank: Any) -> None:
    await bank.open("a", 1)
    await bank.reserve("a", "r1", 0)
    assert (await bank.settle("a", "r1", 0)).state is HoldState.SETTLED
    assert (await bank.accounting.statement("", "r1", 100, "")).lines == ()


async def test_a_hold_is_settled_by_the_price_book_it_was_made_by(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    hold = await bank.reserve("a", "r1", 100)
    await bank.pricing.publish("USD", [Price("*", 9_000_000_000, 0)])
    assert (await bank.settle("a", "r1", 50)).charged.nanos == 50_000
    later = await bank.reserve("a", "r2", 50)
    assert (hold.price_book_version, later.price_book_version) == (1, 2)
    assert later.amount.nanos == 450_000
