"""Holds in PostgreSQL: a hold's row and its transfer are written in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from weir_billing.adapters.database import Connection, Database, transaction
from weir_billing.adapters.hold_rows import COLUMNS, HoldRow, ending, opening
from weir_billing.adapters.ledger import is_insufficient, open_system_accounts, post
from weir_billing.adapters.meter_records import of_requests
from weir_billing.adapters.price_books import PostgresPriceBooks
from weir_billing.core import account
from weir_billing.core.billing import Decide, DecideExpired, Standing
from weir_billing.core.hold import Change, Hold
from weir_billing.core.money import Money
from weir_billing.core.price import PriceBook
from weir_kit.errors import AlreadyExists, InsufficientCredit, NotFound

KNOWN_ACCOUNTS_MAX = 10_000

# A tenant's credit and the newest price book in its currency; without an account, in any.
STANDING = """
SELECT a.currency, a.balance AS available, (
    SELECT max(version) FROM price_books AS book
    WHERE a.currency IS NULL OR book.currency = a.currency
) AS book_version
FROM (VALUES (%(account)s::text)) AS wanted (account)
LEFT JOIN accounts AS a ON a.name = wanted.account AND a.tenant_id IS NOT NULL
"""
FIND = f"SELECT {COLUMNS} FROM holds WHERE request_id = %(request_id)s"  # noqa: S608 - constants
LOCK = f"{FIND} FOR UPDATE"
OPEN = """
INSERT INTO holds (request_id, tenant_id, model, base_model, input_tokens, max_output_tokens,
    max_requests, max_items, max_compute_us, ttl_s, currency, amount, price_book_version,
    created_at, expires_at, state)
VALUES (%(request_id)s, %(tenant_id)s, %(model)s, %(base_model)s, %(input_tokens)s,
    %(max_output_tokens)s, %(max_requests)s, %(max_items)s, %(max_compute_us)s, %(ttl_s)s,
    %(currency)s, %(amount)s, %(price_book_version)s, to_timestamp(%(created_at_s)s),
    to_timestamp(%(expires_at_s)s), %(state)s)
"""
# SKIP LOCKED: a hold that another replica sweeps or the gateway settles at this moment is theirs.
LOCK_EXPIRED = f"""
SELECT {COLUMNS} FROM holds
WHERE state = 'HELD' AND expires_at <= to_timestamp(%(now_s)s)
    AND (expires_at <= to_timestamp(%(void_before_s)s)
        OR EXISTS (SELECT FROM meter_records AS m WHERE m.request_id = holds.request_id))
ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - put together from constants
END = """
UPDATE holds SET state = ended.state, ended_at = to_timestamp(ended.ended_at),
    witness = ended.witness, used_input_tokens = ended.input,
    used_cached_input_tokens = ended.cached, used_output_tokens = ended.output,
    used_requests = ended.requests, used_items = ended.items,
    used_compute_us = ended.compute_us, charged = ended.charged, uncharged = ended.uncharged
FROM unnest(
    %(request_ids)s::text[], %(states)s::text[], %(ended_at)s::float8[], %(witnesses)s::text[],
    %(inputs)s::integer[], %(cached)s::integer[], %(outputs)s::integer[],
    %(requests)s::integer[], %(items)s::integer[], %(computes_us)s::bigint[],
    %(charged)s::bigint[], %(uncharged)s::bigint[]
) AS ended (request_id, state, ended_at, witness, input, cached, output, requests, items,
    compute_us, charged, uncharged)
WHERE holds.request_id = ended.request_id
"""


@dataclass(frozen=True)
class StandingRow:
    currency: str | None
    available: int | None
    book_version: int | None


class PostgresHolds:
    """`weir_billing.core.billing.Holds`: two round trips for Reserve, two to end a hold."""

    def __init__(self, database: Database, books: PostgresPriceBooks) -> None:
        self._database = database
        self._books = books
        self._known_accounts: set[tuple[str, str]] = set()

    async def standing(self, request_id: str, tenant_id: str) -> Standing:
        async def work(connection: Connection) -> Standing:
            async with (
                connection.pipeline(),
                connection.cursor(row_factory=class_row(StandingRow)) as standing,
                connection.cursor(row_factory=class_row(HoldRow)) as holds,
            ):
                await standing.execute(STANDING, {"account": account.available(tenant_id)})
                await holds.execute(FIND, {"request_id": request_id})
                row, hold = await standing.fetchone(), await holds.fetchone()
            assert row is not None, "the wanted row is there whatever is joined to it"
            available = None
            if row.currency is not None and row.available is not None:
                available = Money(row.available, row.currency)
            book = (
                await self._books.read(connection, row.book_version) if row.book_version else None
            )
            return Standing(hold.hold() if hold else None, available, book)

        return await self._database.run(work)

    async def open(self, change: Change) -> None:
        hold = change.hold

        async def work(connection: Connection) -> None:
            await self._know_revenue_account(connection, hold)
            async with transaction(connection):
                await connection.execute(OPEN, opening(hold))
                await post(connection, [change.transfer] if change.transfer else [])

        try:
            await self._database.run(work)
        except psycopg.errors.UniqueViolation as error:
            raise AlreadyExists("the request has a hold") from error
        except psycopg.errors.CheckViolation as error:
            if not is_insufficient(error):
                raise
            raise InsufficientCredit("the credit is gone") from error

    async def end(self, request_id: str, decide: Decide) -> Change:
        async def work(connection: Connection) -> Change:
            async with transaction(connection):
                async with connection.cursor(row_factory=class_row(HoldRow)) as cursor:
                    await cursor.execute(LOCK, {"request_id": request_id})
                    row = await cursor.fetchone()
                if row is None:
                    raise NotFound("no money was ever held for this request_id")
                hold = row.hold()
                change = decide(hold, await self._book(connection, hold))
                await _write(connection, [change])
            return change

        return await self._database.run(work)

    async def end_expired(
        self, now_s: float, void_before_s: float, limit: int, decide: DecideExpired
    ) -> list[Change]:
        arguments = {"now_s": now_s, "void_before_s": void_before_s, "limit": limit}

        async def work(connection: Connection) -> list[Change]:
            async with transaction(connection):
                async with connection.cursor(row_factory=class_row(HoldRow)) as cursor:
                    await cursor.execute(LOCK_EXPIRED, arguments)
                    holds = [row.hold() for row in await cursor.fetchall()]
                records = await of_requests(connection, [hold.request_id for hold in holds])
                changes = [
                    decide(hold, await self._book(connection, hold), records.get(hold.request_id))
                    for hold in holds
                ]
                await _write(connection, changes)
            return changes

        return await self._database.run(work)

    async def _book(self, connection: Connection, hold: Hold) -> PriceBook:
        book = await self._books.read(connection, hold.price_book_version)
        assert book is not None, "the book was there at Reserve and is never removed"
        return book

    async def _know_revenue_account(self, connection: Connection, hold: Hold) -> None:
        """Open the account that the hold will be charged to, once a model and process."""
        known = (account.revenue(hold.reservation.model), hold.amount.currency)
        if known in self._known_accounts:
            return
        await open_system_accounts(connection, known[1], [known[0]])
        if len(self._known_accounts) >= KNOWN_ACCOUNTS_MAX:
            self._known_accounts.clear()
        self._known_accounts.add(known)


async def _write(connection: Connection, changes: Sequence[Change]) -> None:
    """End the holds and post their transfers, inside the caller's transaction."""
    changed = [change for change in changes if change.changed]
    if changed:
        await connection.execute(END, ending([change.hold for change in changed]))
        await post(connection, [change.transfer for change in changed if change.transfer])
