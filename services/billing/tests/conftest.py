"""Billing over a real, migrated PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from weir_billing.adapters.accounts import PostgresAccounts
from weir_billing.adapters.database import Database, open_database
from weir_billing.adapters.holds import PostgresHolds
from weir_billing.adapters.meter_records import PostgresMeterRecords
from weir_billing.adapters.migrate import migrate
from weir_billing.adapters.price_books import PostgresPriceBooks
from weir_billing.core.accounting import Accounting
from weir_billing.core.billing import Billing
from weir_billing.core.counters import Counters
from weir_billing.core.hold import Hold, Reservation
from weir_billing.core.money import Money
from weir_billing.core.price import Price
from weir_billing.core.pricing import Pricing
from weir_billing.core.usage import TokenUsage, Usage
from weir_kit.admission import Admission
from weir_kit.clock import ManualClock


@dataclass
class Bank:
    """Core over adapters, and a few short ways to use it."""

    database: Database
    clock: ManualClock
    counters: Counters
    accounts: PostgresAccounts
    books: PostgresPriceBooks
    holds: PostgresHolds
    meter: PostgresMeterRecords
    billing: Billing
    accounting: Accounting
    pricing: Pricing

    async def open(self, tenant_id: str, nanos: int) -> None:
        """An account with credit.

        A million input tokens cost 1 USD, as many output tokens 2, calls 3, items 4 and seconds of
        computing 5.
        """
        if await self.books.newest() is None:
            await self.pricing.publish("USD", [Price("*", *(n * 10**9 for n in range(1, 6)))])
        await self.accounting.open(tenant_id, "USD")
        await self.accounting.credit(tenant_id, Money(nanos, "USD"), "first", "a gift")

    async def reserve(self, tenant_id: str, request_id: str, tokens: int, ttl_s: int = 300) -> Hold:
        """Hold for input tokens alone: 1000 nanos each."""
        return await self.reserve_most(tenant_id, request_id, TokenUsage(tokens, 0), ttl_s)

    async def reserve_most(
        self, tenant_id: str, request_id: str, most: Usage, ttl_s: int = 300
    ) -> Hold:
        wanted = Reservation(request_id, tenant_id, "tales", most, ttl_s)
        return await self.billing.reserve(self.admission(tenant_id, request_id), wanted)

    async def settle(self, tenant_id: str, request_id: str, tokens: int) -> Hold:
        return await self.settle_usage(tenant_id, request_id, TokenUsage(tokens, 0))

    async def settle_usage(self, tenant_id: str, request_id: str, usage: Usage) -> Hold:
        admission = self.admission(tenant_id, request_id)
        return await self.billing.settle(admission, request_id, usage)

    async def release(self, tenant_id: str, request_id: str) -> Hold:
        return await self.billing.release(self.admission(tenant_id, request_id), request_id)

    async def nanos(self, tenant_id: str) -> tuple[int, int]:
        """What is available and what is held."""
        balance = await self.accounting.balance(tenant_id)
        return balance.available.nanos, balance.held.nanos

    def admission(self, tenant_id: str, request_id: str) -> Admission:
        return Admission(request_id, tenant_id, "project", "key", "tales", self.clock.now_s() + 60)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    migrate(database_url)
    async with open_database(database_url) as database:
        yield database


@pytest.fixture
def bank_of() -> Callable[[Database], Bank]:
    return _bank


@pytest.fixture
def bank(database: Database) -> Bank:
    return _bank(database)


def _bank(database: Database) -> Bank:
    clock, counters = ManualClock(), Counters()
    accounts, books = PostgresAccounts(database), PostgresPriceBooks(database)
    holds = PostgresHolds(database, books)
    return Bank(
        database=database,
        clock=clock,
        counters=counters,
        accounts=accounts,
        books=books,
        holds=holds,
        meter=PostgresMeterRecords(database),
        billing=Billing(holds, clock, counters),
        accounting=Accounting(accounts, clock),
        pricing=Pricing(books, clock),
    )
