"""The database: a pool of PostgreSQL connections, transactions in few round trips, and errors.

Isolation: READ COMMITTED, and why that is enough. Nothing here reads a value, computes with it and
writes the result back without a lock: balances move by `balance + amount` in one UPDATE (the row
lock makes concurrent moves queue, and each adds to the newest value), a tenant's balance below
zero is refused by a CHECK in that same UPDATE, and a hold is read FOR UPDATE before it ends. What
is read without a lock is either immutable (price books, ended holds) or checked again by the write
(credit at Reserve). Locks are always taken in one order, holds and then accounts by name,
so there are no deadlocks.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from weir_kit.errors import Unavailable

LOG = logging.getLogger("weir.billing.database")
T = TypeVar("T")
Connection = AsyncConnection[Any]

CONNECTIONS_MIN = 2
CONNECTIONS_MAX = 16
WAITING_MAX = 1024
CHECKOUT_TIMEOUT_S = 5.0
TRIES = 2
# A statement that waits longer than this will be tried again by its caller: all are idempotent.
TIMEOUTS = "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=10s"
# Our statements look rows up by key, whatever their values, so each is planned once. They must not
# be planned for the empty tables of the first day, when reading all of a table looks cheaper than
# its index: such a plan would stay, and slow down with every row.
PLANS = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off "
    "-c enable_mergejoin=off"
)


class Database:
    """A pool; `run` gives work a connection."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of `work(connection)`. Raises `Unavailable` when PostgreSQL is away or busy.

        A connection that breaks gets one more try on a new one. Whether a COMMIT arrived is then
        unknown, so every `work` must be one that may run twice.
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
                    raise Unavailable("the ledger is away or busy", retry_after_s=1) from error
                # Where one connection broke, others have too (a restart): test them all.
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
        timeout=CHECKOUT_TIMEOUT_S,
        open=False,
        name="billing",
        kwargs={"autocommit": True, "prepare_threshold": 1, "options": f"{TIMEOUTS} {PLANS}"},
    )
    await pool.open(wait=True, timeout=30.0)
    try:
        yield Database(pool)
    finally:
        await pool.close()


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """All or nothing, pipelined: statements travel together until a result is asked for.

    BEGIN goes with the first statements and COMMIT with the last, so a transaction that reads once
    and then writes costs two round trips, and one that only writes costs one.
    """
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
