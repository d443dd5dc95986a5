"""Tenants' accounts in PostgreSQL: opening, crediting, balances, statements, verification."""

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from weir_billing.adapters import entries
from weir_billing.adapters.database import Connection, Database, transaction
from weir_billing.adapters.ledger import open_system_accounts, post
from weir_billing.core import account
from weir_billing.core.account import Balance
from weir_billing.core.money import Money
from weir_billing.core.statement import Line, Query
from weir_billing.core.transfer import Entry, Kind, Transfer
from weir_billing.core.verification import Verification
from weir_kit.errors import InvalidArgument

# ON CONFLICT without a target: whichever unique index says that the account is there.
OPEN = """
INSERT INTO accounts (name, currency, tenant_id)
VALUES (%(available)s, %(currency)s, %(tenant_id)s), (%(held)s, %(currency)s, %(tenant_id)s)
ON CONFLICT DO NOTHING
"""
BALANCE = """
SELECT available.currency, available.balance AS available, held.balance AS held
FROM accounts AS available JOIN accounts AS held USING (currency)
WHERE available.name = %(available)s AND available.tenant_id IS NOT NULL
    AND held.name = %(held)s AND held.tenant_id IS NOT NULL
"""
TRANSFER = """
SELECT transfer.kind, transfer.tenant_id, transfer.request_id, transfer.description,
    extract(epoch FROM transfer.created_at)::float8 AS created_at_s,
    account.name AS account, entry.currency, entry.amount
FROM transfers AS transfer
JOIN entries AS entry USING (transfer_id)
JOIN accounts AS account USING (account_id)
WHERE transfer_id = %(transfer_id)s ORDER BY entry.entry_id
"""


@dataclass(frozen=True)
class BalanceRow:
    currency: str
    available: int
    held: int


@dataclass(frozen=True)
class TransferRow:
    kind: str
    tenant_id: str
    request_id: str
    description: str
    created_at_s: float
    account: str
    currency: str
    amount: int


class PostgresAccounts:
    """`weir_billing.core.accounting.Accounts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, tenant_id: str, currency: str) -> Balance:
        arguments = {**_names(tenant_id), "currency": currency, "tenant_id": tenant_id}

        async def work(connection: Connection) -> Balance | None:
            await connection.execute(OPEN, arguments)
            return await _balance(connection, tenant_id)

        balance = await self._database.run(work)
        assert balance is not None, "it was opened just now or before"
        return balance

    async def balance(self, tenant_id: str) -> Balance | None:
        return await self._database.run(lambda connection: _balance(connection, tenant_id))

    async def credit(self, transfer: Transfer) -> Transfer:
        currency = transfer.entries[0].amount.currency

        async def work(connection: Connection) -> None:
            await open_system_accounts(connection, currency, [account.GRANTED])
            async with transaction(connection):
                await post(connection, [transfer])

        try:
            await self._database.run(work)
        except psycopg.errors.UniqueViolation:
            stands = await self._database.run(lambda c: _transfer(c, transfer.transfer_id))
            assert stands is not None, "its id is taken"
            return stands
        except psycopg.errors.NumericValueOutOfRange as error:
            raise InvalidArgument(
                "is too much: the ledger keeps at most 2**63 - 1 nanos of a currency",
                field="amount.nanos",
            ) from error
        return transfer

    async def lines(self, query: Query) -> list[Line]:
        return await self._database.run(lambda connection: entries.lines(connection, query))

    async def verify(self) -> Verification:
        return await self._database.run(entries.verify)


async def _balance(connection: Connection, tenant_id: str) -> Balance | None:
    async with connection.cursor(row_factory=class_row(BalanceRow)) as cursor:
        await cursor.execute(BALANCE, _names(tenant_id))
        row = await cursor.fetchone()
    if row is None:
        return None
    return Balance(tenant_id, Money(row.available, row.currency), Money(row.held, row.currency))


async def _transfer(connection: Connection, transfer_id: str) -> Transfer | None:
    async with connection.cursor(row_factory=class_row(TransferRow)) as cursor:
        await cursor.execute(TRANSFER, {"transfer_id": transfer_id})
        rows = await cursor.fetchall()
    if not rows:
        return None
    first = rows[0]
    return Transfer(
        transfer_id=transfer_id,
        kind=Kind(first.kind),
        tenant_id=first.tenant_id,
        request_id=first.request_id,
        entries=tuple(Entry(row.account, Money(row.amount, row.currency)) for row in rows),
        created_at_s=first.created_at_s,
        description=first.description,
    )


def _names(tenant_id: str) -> dict[str, str]:
    return {"available": account.available(tenant_id), "held": account.held(tenant_id)}
