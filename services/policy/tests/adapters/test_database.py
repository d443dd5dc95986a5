"""The pool: migrations take turns, and a PostgreSQL that is away is told as such."""

import asyncio
import time

import psycopg
import pytest

from weir_kit.errors import Unavailable
from weir_policy.adapters.database import CHECKOUT_S_MAX, Connection, open_database
from weir_policy.adapters.migrate import migrate


async def answer(connection: Connection) -> int:
    row = await (await connection.execute("SELECT 42")).fetchone()
    assert row is not None
    return int(row[0])


async def test_services_that_start_together_migrate_once(database_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, database_url) for _ in range(3)))
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM audit_head").fetchone() == (1,)


async def test_connections_that_broke_are_replaced_without_anybody_noticing(
    database_url: str,
) -> None:
    async with open_database(database_url) as database:
        assert await database.run(answer) == 42
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await database.run(answer) == 42


async def test_a_statement_that_takes_too_long_is_unavailable(database_url: str) -> None:
    async def slow(connection: Connection) -> None:
        await connection.execute("SET statement_timeout = '50ms'")
        await connection.execute("SELECT pg_sleep(5)")

    async with open_database(database_url) as database:
        with pytest.raises(Unavailable):
            await database.run(slow)
        assert await database.run(answer) == 42


async def test_a_postgresql_that_is_away_is_unavailable_soon_and_found_again(
    database_url: str, postgres_server: str
) -> None:
    def allow(connections: bool) -> None:
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {connections}')
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    async with open_database(database_url) as database:
        allow(False)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await database.run(answer)
        assert time.monotonic() - began < 2 * CHECKOUT_S_MAX + 1
        allow(True)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await database.run(answer) == 42
                    break
                except Unavailable:
                    continue
