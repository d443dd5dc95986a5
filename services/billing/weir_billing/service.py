"""The composition root: the ledger's database, the meter's reader, the sweeper, the servicers."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from weir_billing.adapters.accounts import PostgresAccounts
from weir_billing.adapters.database import Database, open_database
from weir_billing.adapters.ending import end
from weir_billing.adapters.holds import PostgresHolds
from weir_billing.adapters.meter_records import PostgresMeterRecords
from weir_billing.adapters.meter_stream import MeterStream, open_redis
from weir_billing.adapters.migrate import migrate
from weir_billing.adapters.price_books import PostgresPriceBooks
from weir_billing.config import Config
from weir_billing.core.accounting import Accounting
from weir_billing.core.billing import Billing
from weir_billing.core.counters import Counters
from weir_billing.core.pricing import Pricing
from weir_billing.core.sweeper import Sweeper
from weir_billing.rpc.account import AccountServicer
from weir_billing.rpc.billing import BillingServicer
from weir_billing.rpc.price import PriceServicer
from weir_contracts.billing.v1 import (
    account_pb2,
    account_pb2_grpc,
    billing_pb2,
    billing_pb2_grpc,
    price_pb2,
    price_pb2_grpc,
)
from weir_kit.admission import AdmissionVerifier
from weir_kit.clock import Clock, SystemClock
from weir_kit.config import ConfigError
from weir_kit.errors import Unavailable
from weir_kit.service import Peers, Service, Servicer, ServiceSpec

LOG = logging.getLogger("weir.billing")


@asynccontextmanager
async def open_service(
    config: Config, peers: Peers, *, clock: Clock | None = None
) -> AsyncIterator[Service]:
    """Bring the schema up to date, then serve, read the meter and sweep until closed.

    Raises ConfigError for a wrong admission key; PostgreSQL must be there, Redis may come later.
    """
    del peers  # it needs no other service
    clock, counters = clock or SystemClock(), Counters()
    verifier = _verifier(config)
    # A thread, so that other services in this process go on while a migration runs.
    await asyncio.to_thread(migrate, config.database_url)
    async with (
        open_database(config.database_url) as database,
        aclosing(open_redis(config.redis_url)) as redis,
    ):
        books = PostgresPriceBooks(database)
        holds = PostgresHolds(database, books)
        meter = MeterStream(
            redis,
            PostgresMeterRecords(database),
            clock,
            counters,
            consumer=socket.gethostname(),
        )
        sweeper = Sweeper(holds, meter, clock, counters)
        service = _service(database, books, holds, verifier, clock, counters)
        async with asyncio.TaskGroup() as tasks:
            background = (
                tasks.create_task(meter.read_forever(), name="billing meter"),
                tasks.create_task(_sweep(sweeper, config.sweep_interval_s), name="billing sweeper"),
            )
            try:
                yield service
            finally:
                await end(background)


def _service(
    database: Database,
    books: PostgresPriceBooks,
    holds: PostgresHolds,
    verifier: AdmissionVerifier,
    clock: Clock,
    counters: Counters,
) -> Service:
    billing = BillingServicer(Billing(holds, clock, counters), verifier, clock)
    account = AccountServicer(Accounting(PostgresAccounts(database), clock))
    price = PriceServicer(Pricing(books, clock))
    return Service(
        "billing",
        (
            Servicer(
                billing_pb2.DESCRIPTOR.services_by_name["BillingService"].full_name,
                billing,
                billing_pb2_grpc.add_BillingServiceServicer_to_server,
            ),
            Servicer(
                account_pb2.DESCRIPTOR.services_by_name["AccountService"].full_name,
                account,
                account_pb2_grpc.add_AccountServiceServicer_to_server,
            ),
            Servicer(
                price_pb2.DESCRIPTOR.services_by_name["PriceService"].full_name,
                price,
                price_pb2_grpc.add_PriceServiceServicer_to_server,
            ),
        ),
    )


async def _sweep(sweeper: Sweeper, interval_s: float) -> None:
    """Sweep now and every `interval_s` until cancelled; a ledger that is away is tried again."""
    while True:
        try:
            await sweeper.sweep()
        except Unavailable as error:
            LOG.warning("expired holds wait: %s", error.message)
        await asyncio.sleep(interval_s)


def _verifier(config: Config) -> AdmissionVerifier:
    try:
        return AdmissionVerifier(config.admission_public_key)
    except ValueError as error:
        raise ConfigError(f"WEIR_ADMISSION_PUBLIC_KEY_FILE is wrong: {error}") from error


SPEC = ServiceSpec(name="billing", config=Config, open=open_service)
