"""Accounts, credit and statements."""

import asyncio
from typing import Any

import pytest

from weir_billing.core.money import NANOS_MAX, Money
from weir_kit.errors import Conflict, InvalidArgument, NotFound


def usd(nanos: int) -> Money:
    return Money(nanos, "USD")


async def test_opening_an_account_again_is_fine_in_the_same_currency(bank: Any) -> None:
    opened = await asyncio.gather(*(bank.accounting.open("a", "USD") for _ in range(10)))
    assert {balance.credit for balance in opened} == {usd(0)}
    with pytest.raises(Conflict):
        await bank.accounting.open("a", "EUR")
    assert (await bank.accounting.balance("a")).credit == usd(0)


async def test_credit_is_added_once_per_request_id(bank: Any) -> None:
    await bank.accounting.open("a", "USD")
    await bank.accounting.open("b", "USD")
    await asyncio.gather(*(bank.accounting.credit("a", usd(7), "c1", "") for _ in range(10)))
    assert (await bank.accounting.credit("a", usd(7), "c1", "")).credit == usd(7)
    with pytest.raises(Conflict):
        await bank.accounting.credit("a", usd(8), "c1", "")
    await bank.accounting.credit("b", usd(8), "c1", "")  # ids are the tenant's own
    assert (await bank.accounting.balance("a")).credit == usd(7)
    assert (await bank.accounting.verify()).sums == (usd(0),)


async def test_wrong_credit_is_refused(bank: Any) -> None:
    with pytest.raises(NotFound):
        await bank.accounting.credit("nobody", usd(1), "c1", "")
    with pytest.raises(NotFound):
        await bank.accounting.balance("nobody")
    await bank.accounting.open("a", "USD")
    for amount, field in [
        (usd(0), "amount.nanos"),
        (usd(-1), "amount.nanos"),
        (usd(10**18 + 1), "amount.nanos"),
        (Money(1, "EUR"), "amount.currency_code"),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            await bank.accounting.credit("a", amount, "c1", "")
        assert caught.value.field == field


async def test_credit_that_would_not_fit_is_refused_and_changes_nothing(bank: Any) -> None:
    await bank.accounting.open("a", "USD")
    for n in range(9):
        await bank.accounting.credit("a", usd(10**18), f"c{n}", "")
    with pytest.raises(InvalidArgument):
        await bank.accounting.credit("a", usd(10**18), "c9", "")
    assert (await bank.accounting.balance("a")).credit == usd(9 * 10**18)
    assert NANOS_MAX > 9 * 10**18
    assert (await bank.accounting.verify()).is_right


async def test_a_statement_is_paged_newest_first_without_gaps(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.open("b", 1_000_000)
    for n in range(5):
        await bank.reserve("a", f"a{n}", 10)
        await bank.settle("a", f"a{n}", 4)
        await bank.reserve("b", f"b{n}", 10)
    lines, token = [], ""
    while True:
        page = await bank.accounting.statement("a", "", 3, token)
        lines += page.lines
        token = page.next_page_token
        if not token:
            break
    assert len(lines) == 1 + 5 * 4
    assert [line.entry_id for line in lines] == sorted((x.entry_id for x in lines), reverse=True)
    assert {line.account for line in lines} == {"tenant:a:available", "tenant:a:held"}
    # Each account's balances follow from its entries.
    for account in ("tenant:a:available", "tenant:a:held"):
        balance = usd(0)
        for line in reversed([line for line in lines if line.account == account]):
            balance += line.amount
            assert line.balance_after == balance
    first = await bank.accounting.statement("a", "", 3, "")
    with pytest.raises(InvalidArgument):
        await bank.accounting.statement("b", "", 3, first.next_page_token)


async def test_entries_are_found_by_request_and_by_nothing(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 10)
    await bank.settle("a", "r1", 4)
    everything = (await bank.accounting.statement("", "", 100, "")).lines
    assert len(everything) == 2 + 2 + 3
    assert everything[-1].description == "a gift"
    mine = (await bank.accounting.statement("a", "r1", 100, "")).lines
    assert "revenue:tales" in {line.account for line in mine}
    assert (await bank.accounting.statement("b", "r1", 100, "")).lines == ()
    assert (await bank.accounting.statement("nobody", "", 100, "")).lines == ()
