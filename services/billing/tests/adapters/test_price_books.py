"""Price books: versions without gaps, the newest in the account's currency."""

import asyncio
from typing import Any

import pytest

from weir_billing.adapters.price_books import PostgresPriceBooks
from weir_billing.core.money import Money
from weir_billing.core.price import Price
from weir_billing.core.usage import TokenUsage, WorkUsage
from weir_kit.errors import InsufficientCredit, NotFound, PriceNotFound


async def test_publishers_at_once_get_versions_without_gaps(bank: Any) -> None:
    publish = [
        bank.pricing.publish("USD", [Price("*", n, n + 1, n + 2, n + 3, n + 4)]) for n in range(10)
    ]
    books = await asyncio.gather(*publish)
    assert sorted(book.version for book in books) == list(range(1, 11))
    assert (await bank.pricing.get(0)).version == 10
    for book in books:
        assert await PostgresPriceBooks(bank.database).get(book.version) == book


async def test_no_book_is_not_found(bank: Any) -> None:
    for version in (0, 7):
        with pytest.raises(NotFound):
            await bank.pricing.get(version)
    with pytest.raises(PriceNotFound):
        await bank.pricing.quote("tales", TokenUsage(1, 1))
    await bank.accounting.open("a", "USD")
    with pytest.raises(PriceNotFound):
        await bank.reserve("a", "r1", 1)


async def test_a_quote_is_what_a_reserve_holds(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    for request_id, most in (("r1", TokenUsage(100, 0)), ("r2", WorkUsage(1, 12, 4_512))):
        amount, version = await bank.pricing.quote("tales", most)
        hold = await bank.reserve_most("a", request_id, most)
        assert (hold.amount, hold.price_book_version) == (amount, version)
        assert amount.nanos > 0


async def test_an_account_is_charged_by_the_newest_book_in_its_own_currency(bank: Any) -> None:
    await bank.open("a", 1_000_000)
    await bank.pricing.publish("EUR", [Price("tales", 5_000_000_000, 0)])
    assert (await bank.reserve("a", "r1", 10)).amount == Money(10_000, "USD")
    await bank.accounting.open("e", "EUR")
    with pytest.raises(InsufficientCredit) as caught:
        await bank.reserve("e", "r2", 10)
    assert caught.value.details == {"currency": "EUR", "needed_nanos": "50000"}
    await bank.accounting.open("k", "KWD")
    with pytest.raises(PriceNotFound):
        await bank.reserve("k", "r3", 10)


async def test_a_model_without_a_price_is_not_found(bank: Any) -> None:
    await bank.pricing.publish("USD", [Price("other", 1, 1)])
    await bank.accounting.open("a", "USD")
    with pytest.raises(PriceNotFound):
        await bank.reserve("a", "r1", 1)
