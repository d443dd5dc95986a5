"""A charge costs as much in a long ledger as in a short one."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from weir_billing.adapters.database import Database, open_database
from weir_billing.adapters.migrate import migrate

PAIRS = 300
READ_PER_PAIR_MAX = 60
WRITTEN = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'entries'"
READ = """
SELECT sum(seq_tup_read) + sum(idx_tup_fetch) FROM pg_stat_user_tables
WHERE relname IN ('entries', 'transfers', 'holds')
"""


async def test_look_ups_planned_for_an_empty_ledger_do_not_read_all_of_a_full_one(
    database_url: str, bank_of: Callable[[Database], Any]
) -> None:
    migrate(database_url)
    async with open_database(database_url) as database:
        bank = bank_of(database)
        await bank.open("a", 1_000_000_000)

        async def pair(request_id: str) -> None:
            await bank.reserve("a", request_id, 100)
            await bank.settle("a", request_id, 50)

        for first in range(0, PAIRS, 10):
            await asyncio.gather(*(pair(f"r{first + n}") for n in range(10)))
    # Sessions report their statistics when they end.
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with asyncio.timeout(20):
            while _number(connection, WRITTEN) < 2 + 5 * PAIRS:
                await asyncio.sleep(0.01)
        assert _number(connection, READ) < READ_PER_PAIR_MAX * PAIRS


def _number(connection: psycopg.Connection[Any], statement: Any) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
