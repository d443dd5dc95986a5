"""The ledger's own defences: what PostgreSQL refuses, and what verification finds."""

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors

from weir_billing.core.money import Money
from weir_billing.core.transfer import credit_transfer
from weir_billing.core.usage import WorkUsage

CORRUPT_ENTRY = "UPDATE entries SET amount = amount + 1 WHERE entry_id = 1"
LATE_ENTRY = """
INSERT INTO entries (transfer_id, account_id, currency, amount, balance_after)
SELECT 'credit:a:first', account_id, 'USD', 5, 5 FROM accounts WHERE name = 'tenant:a:available'
"""
EMPTY_TRANSFER = """
INSERT INTO transfers (transfer_id, kind, tenant_id, request_id, description, created_at)
VALUES ('credit:a:empty', 'credit', 'a', 'empty', '', now())
"""


@pytest.mark.parametrize("table", ["entries", "transfers", "price_books"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table} CASCADE"],
)
async def test_what_was_written_is_never_changed_or_removed(
    bank: Any, database_url: str, table: str, statement: str
) -> None:
    await bank.open("a", 1_000)
    column = {"entries": "amount", "transfers": "kind", "price_books": "prices"}[table]
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        pytest.raises(errors.RestrictViolation),
    ):
        connection.execute(statement.format(table=table, column=column))


async def test_an_ended_hold_is_never_changed(bank: Any, database_url: str) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve("a", "r1", 10)
    await bank.settle("a", "r1", 5)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in ("UPDATE holds SET state = 'HELD'", "DELETE FROM holds"):
            with pytest.raises(errors.RestrictViolation):
                connection.execute(statement)


@pytest.mark.parametrize(
    "change",
    ["input_tokens = 1", "max_requests = 0", "max_items = NULL", "used_compute_us = 1"],
)
async def test_a_hold_for_tokens_and_work_is_refused(
    bank: Any, database_url: str, change: LiteralString
) -> None:
    await bank.open("a", 1_000_000)
    await bank.reserve_most("a", "r1", WorkUsage(1, 1, 1))
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        pytest.raises(errors.CheckViolation),
    ):
        connection.execute(f"UPDATE holds SET {change}")


@pytest.mark.parametrize("statement", [LATE_ENTRY, EMPTY_TRANSFER])
async def test_a_transaction_that_does_not_add_up_is_refused(
    bank: Any, database_url: str, statement: str
) -> None:
    await bank.open("a", 1_000)
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(errors.IntegrityConstraintViolation),
    ):
        connection.execute(statement)
        connection.commit()
    assert (await bank.accounting.verify()).is_right


async def test_a_transfer_to_an_account_that_is_not_open_leaves_nothing(bank: Any) -> None:
    await bank.open("a", 1_000)
    with pytest.raises(errors.NotNullViolation):
        await bank.accounts.credit(credit_transfer("nobody", "r", Money(5, "USD"), "", 0.0))
    verification = await bank.accounting.verify()
    assert verification.is_right
    assert verification.entries == 2


async def test_verification_finds_an_entry_changed_behind_the_ledgers_back(
    bank: Any, database_url: str
) -> None:
    await bank.open("a", 1_000)
    await bank.reserve("a", "r1", 1)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE entries DISABLE TRIGGER entries_immutable")
        connection.execute(CORRUPT_ENTRY)
    verification = await bank.accounting.verify()
    assert not verification.is_right
    assert verification.sums == (Money(1, "USD"),)
    assert (verification.unbalanced_transfers, verification.wrong_balances) == (1, 1)
    assert (verification.entries, verification.open_holds) == (4, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET balance = balance - 1 WHERE name = 'tenant:a:available'",
        "UPDATE holds SET amount = amount + 1",
    ],
)
async def test_verification_finds_a_wrong_balance(
    bank: Any, database_url: str, statement: str
) -> None:
    await bank.open("a", 5_000)
    await bank.reserve("a", "r1", 1)
    assert (await bank.accounting.verify()).is_right
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement)
    verification = await bank.accounting.verify()
    assert (verification.wrong_balances, verification.unbalanced_transfers) == (1, 0)


async def test_an_empty_ledger_is_right(bank: Any) -> None:
    verification = await bank.accounting.verify()
    assert verification.is_right
    assert verification.sums == ()
