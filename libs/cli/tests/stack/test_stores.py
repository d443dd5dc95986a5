"""PostgreSQL and Redis from their wheels, started as `weir up` starts them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis.asyncio

from weir_cli.stack import postgres
from weir_cli.stack import redis as redis_program
from weir_cli.stack.home import Home
from weir_cli.stack.supervisor import Supervisor


@pytest.fixture
def home() -> Iterator[Home]:
    # Not tmp_path: PostgreSQL's own user (for root) cannot enter pytest's private folders.
    with tempfile.TemporaryDirectory(prefix="weir-home-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        home.make()
        yield home


async def test_both_services_databases_are_made_once_and_keep_their_rows(home: Home) -> None:
    for expected in (1, 2):
        async with Supervisor(lambda: None, lambda _: None) as supervisor:
            await postgres.prepare(home)
            await supervisor.start(postgres.program(home))
            await postgres.create_databases(home)
            url = postgres.url(home, "weir_billing")
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute("CREATE TABLE IF NOT EXISTS entries (n int)")
                await connection.execute("INSERT INTO entries VALUES (1)")
                counted = await connection.execute("SELECT count(*) FROM entries")
                assert await counted.fetchone() == (expected,)
            await supervisor.stop(["postgres"])


async def test_a_first_start_that_was_cut_off_is_begun_again(home: Home) -> None:
    unfinished = home.postgres.parent / "unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18")
    await postgres.prepare(home)
    assert (home.postgres / "global").is_dir()
    assert not unfinished.exists()


async def test_redis_keeps_what_was_written_when_it_is_killed(home: Home) -> None:
    async with Supervisor(lambda: None, lambda _: None) as supervisor:
        await supervisor.start(redis_program.program(home))
        async with redis.asyncio.from_url(redis_program.url(home)) as client:
            await client.xadd("weir:meter", {"request_id": "req_1"})
        await supervisor.stop(["redis"])
        await supervisor.start(redis_program.program(home))
        async with redis.asyncio.from_url(redis_program.url(home)) as client:
            assert await client.xlen("weir:meter") == 1
        await supervisor.stop(["redis"])


def test_a_long_home_gets_a_short_folder_for_sockets(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    assert len(str(Home(deep).sockets / "pg" / ".s.PGSQL.5432.lock")) < 104
    assert Home(deep).sockets != Home(tmp_path / ("Deep" * 30)).sockets
