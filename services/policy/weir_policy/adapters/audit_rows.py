"""The audit chain in PostgreSQL."""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from weir_kit.errors import Conflict
from weir_policy.adapters.database import Connection, Database, transaction
from weir_policy.core.audit import AuditEntry, AuditFinding, AuditRecord, AuditWork, Head, link
from weir_policy.core.principal import Principal

COLUMNS = """
sequence, request_id, tenant_id, project_id, key_id, model, outcome, input_tokens,
cached_input_tokens, output_tokens, charged_nanos, currency, findings, trace_id, started_at_us,
duration_us, model_version, work_requests, work_items, work_compute_us, previous_hash, hash
"""
# The lock makes appends take turns, and what the next statement reads is what the last one wrote.
LOCK_HEAD = "SELECT sequence, hash FROM audit_head FOR UPDATE"
OF_REQUEST = f"SELECT {COLUMNS} FROM audit_records WHERE request_id = %(request_id)s"  # noqa: S608
APPEND = f"""
INSERT INTO audit_records ({COLUMNS}) VALUES (
    %(sequence)s, %(request_id)s, %(tenant_id)s, %(project_id)s, %(key_id)s, %(model)s,
    %(outcome)s, %(input_tokens)s, %(cached_input_tokens)s, %(output_tokens)s, %(charged_nanos)s,
    %(currency)s, %(findings)s, %(trace_id)s, %(started_at_us)s, %(duration_us)s,
    %(model_version)s, %(work_requests)s, %(work_items)s, %(work_compute_us)s,
    %(previous_hash)s, %(hash)s
)
"""  # noqa: S608
MOVE_HEAD = "UPDATE audit_head SET sequence = %(sequence)s, hash = %(hash)s"
AFTER = f"""
SELECT {COLUMNS} FROM audit_records WHERE sequence > %(sequence)s ORDER BY sequence LIMIT %(limit)s
"""  # noqa: S608
END = """
SELECT sequence, hash, coalesce((SELECT max(sequence) FROM audit_records), 0) AS last
FROM audit_head
"""
FILTERS = {"tenant_id": "tenant_id = %(tenant_id)s", "request_id": "request_id = %(request_id)s"}


@dataclass(frozen=True)
class AuditRow:
    sequence: int
    request_id: str
    tenant_id: str
    project_id: str
    key_id: str
    model: str
    outcome: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    charged_nanos: int
    currency: str
    findings: list[list[Any]]
    trace_id: str
    started_at_us: int
    duration_us: int
    model_version: str
    work_requests: int | None
    work_items: int | None
    work_compute_us: int | None
    previous_hash: str
    hash: str

    def record(self) -> AuditRecord:
        """The row as core knows it."""
        entry = AuditEntry(
            self.request_id,
            Principal(self.tenant_id, self.project_id, self.key_id),
            self.model,
            self.outcome,
            self.input_tokens,
            self.cached_input_tokens,
            self.output_tokens,
            self.charged_nanos,
            self.currency,
            tuple(AuditFinding(*finding) for finding in self.findings),
            self.trace_id,
            self.started_at_us,
            self.duration_us,
            self.model_version,
            self._work(),
        )
        return AuditRecord(self.sequence, entry, self.previous_hash, self.hash)

    def _work(self) -> AuditWork | None:
        if self.work_requests is None:
            return None
        assert self.work_items is not None and self.work_compute_us is not None
        return AuditWork(self.work_requests, self.work_items, self.work_compute_us)


class PostgresAuditRows:
    """`weir_policy.core.audit.AuditRows`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entry: AuditEntry) -> AuditRecord:
        async def work(connection: Connection) -> AuditRecord:
            async with transaction(connection):
                head = connection.cursor(row_factory=class_row(Head))
                await head.execute(LOCK_HEAD)
                standing = connection.cursor(row_factory=class_row(AuditRow))
                await standing.execute(OF_REQUEST, {"request_id": entry.request_id})
                at = await head.fetchone()
                assert at is not None, "the migration made it, and a trigger keeps it"
                if row := await standing.fetchone():
                    return row.record()
                record = link(entry, at)
                await connection.execute(APPEND, _arguments(record))
                await connection.execute(
                    MOVE_HEAD, {"sequence": record.sequence, "hash": record.hash}
                )
            return record

        record = await self._database.run(work)
        if record.entry != entry:
            raise Conflict("this request was recorded with other contents", field="request_id")
        return record

    async def before(
        self, sequence: int | None, tenant_id: str, request_id: str, limit: int
    ) -> list[AuditRecord]:
        arguments = {"tenant_id": tenant_id, "request_id": request_id, "sequence": sequence}
        conditions = [condition for name, condition in FILTERS.items() if arguments[name]]
        if sequence is not None:
            conditions.append("sequence < %(sequence)s")
        statement = (
            f"SELECT {COLUMNS} FROM audit_records WHERE {' AND '.join(conditions) or 'TRUE'} "  # noqa: S608
            "ORDER BY sequence DESC LIMIT %(limit)s"
        )
        return await self._records(statement, {**arguments, "limit": limit})

    async def after(self, sequence: int, limit: int) -> list[AuditRecord]:
        return await self._records(AFTER, {"sequence": sequence, "limit": limit})

    async def end(self) -> tuple[Head, int]:
        async def work(connection: Connection) -> tuple[Head, int]:
            row = await (await connection.execute(END)).fetchone()
            assert row is not None, "the migration made it, and a trigger keeps it"
            return Head(row[0], row[1]), row[2]

        return await self._database.run(work)

    async def _records(self, statement: str, arguments: dict[str, Any]) -> list[AuditRecord]:
        async def work(connection: Connection) -> list[AuditRecord]:
            async with connection.cursor(row_factory=class_row(AuditRow)) as cursor:
                await cursor.execute(statement, arguments)
                return [row.record() for row in await cursor.fetchall()]

        return await self._database.run(work)


def _arguments(record: AuditRecord) -> dict[str, Any]:
    entry = record.entry
    findings = [[f.rule, f.action, f.where, f.start, f.end] for f in entry.findings]
    arguments = {**vars(record), **vars(entry), **vars(entry.principal)}
    del arguments["entry"], arguments["principal"], arguments["work"]
    return {
        **arguments,
        "findings": Jsonb(findings),
        "work_requests": entry.work and entry.work.requests,
        "work_items": entry.work and entry.work.items,
        "work_compute_us": entry.work and entry.work.compute_us,
    }
