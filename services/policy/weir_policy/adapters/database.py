"""The database: a pool of PostgreSQL connections, and its errors as Weir's."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from weir_kit.errors import Unavailable

LOG = logging.getLogger(__name__)
Connection = AsyncConnection[Any]
T = TypeVar("T")

CONNECTIONS_MIN = 2
CONNECTIONS_MAX = 8
WAITING_MAX = 1024
OPEN_S_MAX = 30.0
CHECKOUT_S_MAX = 2.0
TRIES = 2
TIMEOUTS = "-c statement_timeout=5s -c lock_timeout=3s -c idle_in_transaction_session_timeout=10s"
# Statements look rows up by an index, whatever their values: each is planned once, and not for the
# empty tables of the first day, when reading all of a table looks cheaper than its index.
PLANS = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"


class Database:
    """A pool; `run` lends one of its connections."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of `work(connection)`. Raises `Unavailable` when PostgreSQL is away or busy.

        Where the connection broke, `work` runs once more on a new one, so it must bear running
        twice: whether its COMMIT arrived is not known then.
        """
        for tries_left in reversed(range(TRIES)):
            broken = False
            try:
                async with self._pool.connection() as connection:
                    try:
                        return await work(connection)
                    finally:
                        broken = connection.closed
            except psycopg.OperationalError as error:
                LOG.warning("PostgreSQL: %s, tries left: %d", type(error).__name__, tries_left)
                if not (broken and tries_left):
                    raise Unavailable("policy's database is away", retry_after_s=1) from error
                # PostgreSQL was restarted, perhaps: the other connections are broken then as well.
                await self._pool.check()
        raise AssertionError("the last try returns or raises")


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """A database with its pool open; closed in the end."""
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        url,
        min_size=CONNECTIONS_MIN,
        max_size=CONNECTIONS_MAX,
        max_waiting=WAITING_MAX,
        timeout=CHECKOUT_S_MAX,
        open=False,
        name="policy",
        kwargs={"autocommit": True, "prepare_threshold": 1, "options": f"{TIMEOUTS} {PLANS}"},
    )
    await pool.open(wait=True, timeout=OPEN_S_MAX)
    try:
        yield Database(pool)
    finally:
        await pool.close()


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """All or nothing, in few round trips: statements travel until a result is asked for."""
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            yield
            await connection.execute("COMMIT")
    except BaseException:
        if connection.info.transaction_status not in (
            TransactionStatus.IDLE,
            TransactionStatus.UNKNOWN,
        ):
            await connection.rollback()
        raise
