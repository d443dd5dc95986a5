"""Price books in PostgreSQL. A version never changes, so what was read once is kept."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from weir_billing.adapters.database import Connection, Database, transaction
from weir_billing.core.price import RATES, Price, PriceBook

KEPT_MAX = 64
LOCK_KEY = 0x7765_6972_0002

GET = """
SELECT version, currency, prices, extract(epoch FROM published_at)::float8 AS published_at_s
FROM price_books WHERE version = %(version)s
"""
NEWEST = """
SELECT max(version) AS version FROM price_books
"""
# Publishers take turns, so that versions have no gaps and none is lost.
LOCK = "SELECT pg_advisory_xact_lock(%(key)s)"
PUBLISH = """
INSERT INTO price_books (version, currency, prices, published_at)
SELECT coalesce(max(version), 0) + 1, %(currency)s, %(prices)s, to_timestamp(%(published_at_s)s)
FROM price_books
RETURNING version
"""


@dataclass(frozen=True)
class BookRow:
    version: int
    currency: str
    prices: Mapping[str, list[int]]
    published_at_s: float


class PostgresPriceBooks:
    """`weir_billing.core.pricing.PriceBooks`, with the last used books in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[int, PriceBook] = OrderedDict()

    async def publish(self, currency: str, prices: dict[str, Price], now_s: float) -> PriceBook:
        values = {
            model: [getattr(price, rate) for rate in RATES] for model, price in prices.items()
        }
        arguments = {"currency": currency, "prices": Jsonb(values), "published_at_s": now_s}

        async def work(connection: Connection) -> int:
            async with transaction(connection):
                await connection.execute(LOCK, {"key": LOCK_KEY})
                row = await (await connection.execute(PUBLISH, arguments)).fetchone()
            assert row is not None
            version: int = row[0]
            return version

        version = await self._database.run(work)
        return PriceBook(version, currency, MappingProxyType(prices), now_s)

    async def newest(self) -> PriceBook | None:
        async def work(connection: Connection) -> int | None:
            row = await (await connection.execute(NEWEST)).fetchone()
            version: int | None = row[0] if row else None
            return version

        version = await self._database.run(work)
        return await self.get(version) if version else None

    async def get(self, version: int) -> PriceBook | None:
        if version in self._kept:
            return self._recall(version)
        return await self._database.run(lambda connection: self.read(connection, version))

    async def read(self, connection: Connection, version: int) -> PriceBook | None:
        """A version, read on the caller's connection unless it is kept."""
        if version in self._kept:
            return self._recall(version)
        async with connection.cursor(row_factory=class_row(BookRow)) as cursor:
            await cursor.execute(GET, {"version": version})
            row = await cursor.fetchone()
        if row is None:
            return None
        book = _book(row)
        self._kept[version] = book
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return book

    def _recall(self, version: int) -> PriceBook:
        self._kept.move_to_end(version)
        return self._kept[version]


def _book(row: BookRow) -> PriceBook:
    # Not strict: books of before work had prices have the first two, and the others are 0.
    prices: dict[str, Any] = {
        model: Price(model, **dict(zip(RATES, nanos, strict=False)))
        for model, nanos in row.prices.items()
    }
    return PriceBook(row.version, row.currency, MappingProxyType(prices), row.published_at_s)
