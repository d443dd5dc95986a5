"""The audit chain in a real PostgreSQL: appended to, never changed, and proved."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from weir_kit.errors import Conflict
from weir_policy.adapters.audit_rows import PostgresAuditRows
from weir_policy.adapters.database import open_database
from weir_policy.adapters.migrate import migrate
from weir_policy.core.audit import AuditEntry, AuditFinding, AuditLog, AuditWork
from weir_policy.core.principal import Principal

ENTRY = AuditEntry(
    *("req_1", Principal("acme", "web", "key_1"), "weir-tales", "stop", 5, 1, 7, 120, "USD"),
    findings=(AuditFinding("email", "redact", "output", 3, 9),),
    trace_id="0" * 31 + "1",
    started_at_us=1_800_000_000_123_456,
    duration_us=1500,
)


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[PostgresAuditRows]:
    migrate(database_url)
    async with open_database(database_url) as database:
        yield PostgresAuditRows(database)


def entry(number: int, tenant_id: str = "acme") -> AuditEntry:
    principal = replace(ENTRY.principal, tenant_id=tenant_id)
    return replace(ENTRY, request_id=f"req_{number}", principal=principal)


async def test_what_is_appended_is_read_back_exactly(rows: PostgresAuditRows) -> None:
    widest = replace(
        ENTRY,
        request_id="req_wide",
        model="模型-α",
        charged_nanos=2**63 - 1,
        started_at_us=253_402_300_799_999_999,
        duration_us=10**15,
        output_tokens=2**31 - 1,
    )
    predicted = replace(
        ENTRY,
        request_id="req_work",
        model_version="v" * 128,
        work=AuditWork(2**31 - 1, 2**31 - 1, 2**63 - 1),
    )
    few = replace(ENTRY, request_id="req_few", findings=(), trace_id="", work=AuditWork(0, 0, 0))
    for one in (ENTRY, widest, predicted, few):
        record = await rows.append(one)
        assert await rows.before(None, "", one.request_id, 9) == [record]
        assert record.entry == one
    assert (await AuditLog(rows).verify()).first_bad_sequence == 0


async def test_a_request_is_recorded_once(rows: PostgresAuditRows) -> None:
    first = await rows.append(ENTRY)
    await rows.append(entry(2))
    assert await rows.append(ENTRY) == first
    with pytest.raises(Conflict):
        await rows.append(replace(ENTRY, output_tokens=8))
    with pytest.raises(Conflict):
        await rows.append(replace(ENTRY, model_version="4"))
    assert (await AuditLog(rows).verify()).records == 2


async def test_appends_at_once_never_fork_the_chain(rows: PostgresAuditRows) -> None:
    numbers = [*range(40), *range(40)]  # everything twice
    records = await asyncio.gather(*(rows.append(entry(number)) for number in numbers))
    assert {record.sequence for record in records} == set(range(1, 41))
    verification = await AuditLog(rows).verify()
    assert (verification.records, verification.first_bad_sequence) == (40, 0)


async def test_listing_filters_and_goes_back_in_time(rows: PostgresAuditRows) -> None:
    for number in range(6):
        await rows.append(entry(number, "acme" if number % 2 else "other"))
    listed = await rows.before(None, "acme", "", 2)
    assert [record.sequence for record in listed] == [6, 4]
    assert [record.sequence for record in await rows.before(4, "acme", "", 9)] == [2]
    assert await rows.before(None, "acme", "req_0", 9) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET outcome = 'stop'",
        "DELETE FROM audit_records",
        "TRUNCATE audit_records",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
    ],
)
async def test_the_database_refuses_to_change_the_log(
    rows: PostgresAuditRows, database_url: str, statement: str
) -> None:
    await rows.append(ENTRY)
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="append-only"),
    ):
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE audit_records SET output_tokens = 0 WHERE sequence = 3", 3),
        ("UPDATE audit_records SET findings = '[]' WHERE sequence = 2", 2),
        ("UPDATE audit_records SET started_at_us = started_at_us + 1 WHERE sequence = 5", 5),
        ("UPDATE audit_records SET model_version = '3' WHERE sequence = 2", 2),
        ("UPDATE audit_records SET model_version = '' WHERE sequence = 5", 5),
        ("UPDATE audit_records SET work_compute_us = 0 WHERE sequence = 5", 5),
        ("UPDATE audit_records SET hash = repeat('a', 64) WHERE sequence = 4", 4),
        ("UPDATE audit_records SET previous_hash = repeat('a', 64) WHERE sequence = 4", 4),
        ("DELETE FROM audit_records WHERE sequence = 2", 2),
        ("DELETE FROM audit_records WHERE sequence = 5", 5),
        ("DELETE FROM audit_records", 1),
    ],
)
async def test_whoever_gets_around_the_triggers_is_found(
    rows: PostgresAuditRows, database_url: str, statement: str, first_bad: int
) -> None:
    for number in range(4):
        await rows.append(entry(number))
    await rows.append(replace(entry(4), model_version="3", work=AuditWork(1, 12, 4512)))
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE audit_records DISABLE TRIGGER append_only")
        connection.execute(statement)
    assert (await AuditLog(rows).verify()).first_bad_sequence == first_bad


# Written by the code before records had a model's version and work, with the hash that it gave.
RECORDED_BEFORE = """
INSERT INTO audit_records VALUES (1, 'req_1', 'acme', 'web', 'key_1', 'weir-tales', 'stop', 5, 1,
    7, 120, 'USD', '[["email", "redact", "output", 3, 9]]',
    '00000000000000000000000000000001', 1800000000123456, 1500, repeat('0', 64),
    'd3a6e261ea9f3b7517cf03ec0e0ae50e8be277cf7a7534a51dfafcbe1244e3a1');
UPDATE audit_head SET sequence = 1,
    hash = 'd3a6e261ea9f3b7517cf03ec0e0ae50e8be277cf7a7534a51dfafcbe1244e3a1'
"""


async def test_records_of_before_still_verify_and_the_chain_goes_on(database_url: str) -> None:
    migrate(database_url, "0001")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(RECORDED_BEFORE)
    migrate(database_url)
    async with open_database(database_url) as database:
        rows = PostgresAuditRows(database)
        assert (await rows.append(ENTRY)).sequence == 1
        await rows.append(replace(entry(2), model_version="3", work=AuditWork(1, 12, 4512)))
        verification = await AuditLog(rows).verify()
        assert (verification.records, verification.first_bad_sequence) == (2, 0)
