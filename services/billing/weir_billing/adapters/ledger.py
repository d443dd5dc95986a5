"""The ledger's one way to write: post transfers, moving kept balances beside their entries."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from weir_billing.adapters.database import Connection
from weir_billing.core.transfer import Transfer

# One statement for any number of transfers. `locked` takes the accounts' row locks in the order of
# their names, and each row is updated only after `locked` gave it, so two postings never wait for
# each other in a circle. LATERAL keeps it a look-up per name, in that order, whatever the planner
# thinks. NO KEY: moving a balance must not block foreign keys that point here.
# A running sum from the end turns the account's final balance into the balance after each entry.
# LEFT JOIN: an account that is missing becomes a NULL that `entries` refuses, and nothing happens.
POST = """
WITH line AS (
    SELECT * FROM unnest(
        %(line_transfers)s::text[], %(accounts)s::text[], %(currencies)s::text[],
        %(amounts)s::bigint[]
    ) WITH ORDINALITY AS line (transfer_id, account, currency, amount, place)
), delta AS (
    SELECT account, currency, sum(amount)::bigint AS amount
    FROM line GROUP BY account, currency ORDER BY account, currency
), locked AS (
    SELECT found.account_id, delta.amount FROM delta CROSS JOIN LATERAL (
        SELECT account_id FROM accounts
        WHERE name = delta.account AND currency = delta.currency FOR NO KEY UPDATE
    ) AS found
), moved AS (
    UPDATE accounts SET balance = accounts.balance + locked.amount
    FROM locked
    WHERE accounts.account_id = locked.account_id
    RETURNING accounts.account_id, accounts.name, accounts.currency, accounts.balance
), posted AS (
    INSERT INTO transfers
        (transfer_id, kind, tenant_id, request_id, pending_id, description, created_at)
    SELECT transfer_id, kind, tenant_id, request_id, pending_id, description,
        to_timestamp(created_at_s)
    FROM unnest(
        %(transfers)s::text[], %(kinds)s::text[], %(tenants)s::text[], %(requests)s::text[],
        %(pendings)s::text[], %(descriptions)s::text[], %(times)s::float8[]
    ) AS transfer (transfer_id, kind, tenant_id, request_id, pending_id, description, created_at_s)
)
INSERT INTO entries (transfer_id, account_id, currency, amount, balance_after)
SELECT line.transfer_id, moved.account_id, line.currency, line.amount,
    moved.balance - coalesce(sum(line.amount) OVER (
        PARTITION BY line.account, line.currency ORDER BY line.place DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0)
FROM line LEFT JOIN moved ON moved.name = line.account AND moved.currency = line.currency
ORDER BY line.place
"""

OPEN_SYSTEM_ACCOUNTS = """
INSERT INTO accounts (name, currency)
SELECT name, %(currency)s FROM unnest(%(names)s::text[]) AS name ORDER BY name
ON CONFLICT (name, currency) DO NOTHING
"""


async def post(connection: Connection, transfers: Sequence[Transfer]) -> None:
    """Write the transfers inside the caller's transaction; all accounts must be open.

    In a pipeline errors come when it ends.
    """
    if transfers:
        await connection.execute(POST, _columns(transfers))


async def open_system_accounts(connection: Connection, currency: str, names: Iterable[str]) -> None:
    """Open accounts that are no tenant's, unless they are there.

    A statement of its own, outside any transaction that holds locks: two first requests for a new
    model would otherwise wait for each other's insert.
    """
    await connection.execute(OPEN_SYSTEM_ACCOUNTS, {"currency": currency, "names": list(names)})


def is_insufficient(error: psycopg.errors.CheckViolation) -> bool:
    """Whether the refusal is a tenant's balance that would fall below zero."""
    return error.diag.constraint_name == "tenant_not_below_zero"


def _columns(transfers: Sequence[Transfer]) -> dict[str, list[Any]]:
    lines = [(transfer.transfer_id, entry) for transfer in transfers for entry in transfer.entries]
    return {
        "line_transfers": [transfer_id for transfer_id, _ in lines],
        "accounts": [entry.account for _, entry in lines],
        "currencies": [entry.amount.currency for _, entry in lines],
        "amounts": [entry.amount.nanos for _, entry in lines],
        "transfers": [transfer.transfer_id for transfer in transfers],
        "kinds": [str(transfer.kind) for transfer in transfers],
        "tenants": [transfer.tenant_id for transfer in transfers],
        "requests": [transfer.request_id for transfer in transfers],
        "pendings": [transfer.pending_id for transfer in transfers],
        "descriptions": [transfer.description for transfer in transfers],
        "times": [transfer.created_at_s for transfer in transfers],
    }
