"""Connections that break: nothing is half done, and what is asked again goes through."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from weir_billing.adapters.database import Connection, Database, open_database, transaction
from weir_billing.adapters.holds import PostgresHolds
from weir_billing.adapters.meter_records import PostgresMeterRecords
from weir_billing.adapters.migrate import migrate
from weir_billing.adapters.price_books import PostgresPriceBooks
from weir_billing.core.hold import Reservation
from weir_billing.core.price import Price
from weir_billing.core.usage import TokenUsage
from weir_kit.errors import Unavailable

WAITING = """
SELECT pid FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (found := condition()):
            await asyncio.sleep(0.01)
    return found


async def test_a_connection_killed_in_mid_transaction_leaves_nothing_half_done(
    bank: Any, database_url: str
) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100)
    with (
        psycopg.connect(database_url) as blocker,
        psycopg.connect(database_url, autocommit=True) as killer,
    ):
        # The settlement has ended the hold and waits for this account when it is killed.
        blocker.execute("SELECT FROM accounts WHERE name = 'revenue:tales' FOR UPDATE")
        settling = asyncio.create_task(bank.settle("a", "r1", 60))
        killed = 0
        while not settling.done() and killed < 2:  # the first try and the second
            waiting = await until(lambda: settling.done() or killer.execute(WAITING).fetchall())
            if waiting is not True:
                killer.execute("SELECT pg_terminate_backend(%s)", waiting[0])
                killed += 1
                await until(lambda pid=waiting[0]: pid not in killer.execute(WAITING).fetchall())
        with pytest.raises(Unavailable):
            await settling
        assert await bank.nanos("a") == (900_000, 100_000)
        assert (await bank.accounting.verify()).is_right
    assert (await bank.settle("a", "r1", 60)).charged.nanos == 60_000
    assert await bank.nanos("a") == (940_000, 0)
    assert (await bank.accounting.verify()).is_right


async def test_a_restart_of_postgres_is_not_seen_by_the_next_call(
    bank: Any, database_url: str
) -> None:
    await bank.open("a", 1_000_000)
    await asyncio.gather(*(bank.reserve("a", f"r{n}", 1) for n in range(20)))
    with psycopg.connect(database_url, autocommit=True) as killer:
        killer.execute(OTHERS)
    await asyncio.gather(*(bank.settle("a", f"r{n}", 1) for n in range(20)))
    assert await bank.nanos("a") == (980_000, 0)


async def test_a_cancelled_call_leaves_nothing_half_done_and_its_connection_usable(
    bank: Any, database_url: str
) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 100)
    with (
        psycopg.connect(database_url) as blocker,
        psycopg.connect(database_url, autocommit=True) as watcher,
    ):
        blocker.execute("SELECT FROM accounts WHERE name = 'revenue:tales' FOR UPDATE")
        settling = asyncio.create_task(bank.settle("a", "r1", 60))
        await until(lambda: watcher.execute(WAITING).fetchall())
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        await until(lambda: not watcher.execute(WAITING).fetchall())
    assert await bank.nanos("a") == (900_000, 100_000)
    assert (await bank.release("a", "r1")).charged.nanos == 0


async def test_an_error_in_a_transaction_undoes_what_came_before_it(database: Database) -> None:
    async def work(connection: Connection) -> None:
        async with transaction(connection):
            await connection.execute("INSERT INTO accounts (name, currency) VALUES ('x', 'USD')")
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await database.run(work)

    async def count(connection: Connection) -> Any:
        return await (await connection.execute("SELECT count(*) FROM accounts")).fetchone()

    assert await database.run(count) == (0,)


async def test_a_ledger_that_is_away_is_unavailable(database_url: str) -> None:
    async with open_database(database_url) as database:

        async def work(connection: Connection) -> None:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(Unavailable) as caught:
            await database.run(work)
    assert caught.value.retry_after_s == 1


async def test_two_processes_that_migrate_at_once_take_turns(database_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(_migrate_alone, database_url) for _ in range(2)))
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            ("0003",)
        ]


def _migrate_alone(database_url: str) -> None:
    code = "import sys; from weir_billing.adapters.migrate import migrate; migrate(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, database_url], check=True, timeout=60)


HELD_BEFORE = """
INSERT INTO holds (request_id, tenant_id, model, input_tokens, max_output_tokens, ttl_s, currency,
    amount, price_book_version, created_at, expires_at, state)
VALUES ('r1', 'a', 'tales', 100, 0, 300, 'USD', 100000, 1, now(), now(), 'HELD')
"""


METERED_BEFORE = """
INSERT INTO meter_records (request_id, tenant_id, model, input_tokens, output_tokens, reason, at)
VALUES ('r1', 'a', 'tales', 7, 3, 'stop', now())
"""
PRICED_BEFORE = """
INSERT INTO price_books (version, currency, prices, published_at)
VALUES (1, 'USD', '{"*": [5, 6]}', now())
"""


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_what_was_written_before_is_still_read(database_url: str, revision: str) -> None:
    migrate(database_url, revision)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in (HELD_BEFORE, METERED_BEFORE, PRICED_BEFORE):
            connection.execute(statement)
        migrate(database_url)
        connection.execute(HELD_BEFORE.replace("r1", "r2"))  # a replica of before goes on
    async with open_database(database_url) as database:
        books = PostgresPriceBooks(database)
        holds = PostgresHolds(database, books)
        for request_id in ("r1", "r2"):
            hold = (await holds.standing(request_id, "a")).hold
            assert hold is not None
            assert hold.reservation == Reservation(
                request_id, "a", "tales", TokenUsage(100, 0), 300, base_model=""
            )
        record = await PostgresMeterRecords(database).get("r1")
        assert record is not None
        assert (record.output_tokens, record.items, record.compute_us) == (3, 0, 0)
        book = await books.newest()
        assert book is not None
        assert book.price_of("tales") == Price("*", 5, 6, 0, 0, 0)
