"""Keys in PostgreSQL."""

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import class_row

from weir_kit.errors import NotFound
from weir_policy.adapters.database import Connection, Database
from weir_policy.core.keys import Key
from weir_policy.core.principal import Principal

COLUMNS = """
tenant_id, project_id, key_id, prefix, digest, display_name, allowed_models, requests_per_minute,
extract(epoch FROM created_at)::float8 AS created_at_s,
extract(epoch FROM expires_at)::float8 AS expires_at_s,
extract(epoch FROM revoked_at)::float8 AS revoked_at_s
"""
ADD = """
INSERT INTO keys (
    key_id, tenant_id, project_id, prefix, digest, display_name, allowed_models,
    requests_per_minute, created_at, expires_at
) VALUES (
    %(key_id)s, %(tenant_id)s, %(project_id)s, %(prefix)s, %(digest)s, %(display_name)s,
    %(allowed_models)s, %(requests_per_minute)s, to_timestamp(%(created_at_s)s),
    to_timestamp(%(expires_at_s)s)
) ON CONFLICT (prefix) DO NOTHING
"""
BY_PREFIX = f"SELECT {COLUMNS} FROM keys WHERE prefix = %(prefix)s"  # noqa: S608
NEWEST = f"""
SELECT {COLUMNS} FROM keys WHERE tenant_id = %(tenant_id)s
ORDER BY position DESC LIMIT %(limit)s
"""  # noqa: S608
BEFORE = f"""
SELECT {COLUMNS} FROM keys WHERE tenant_id = %(tenant_id)s
    AND position < (SELECT position FROM keys WHERE key_id = %(key_id)s)
ORDER BY position DESC LIMIT %(limit)s
"""  # noqa: S608
REVOKE = f"""
UPDATE keys SET revoked_at = coalesce(revoked_at, to_timestamp(%(now_s)s))
WHERE key_id = %(key_id)s RETURNING {COLUMNS}
"""  # noqa: S608


@dataclass(frozen=True)
class KeyRow:
    tenant_id: str
    project_id: str
    key_id: str
    prefix: str
    digest: bytes = field(repr=False)
    display_name: str
    allowed_models: list[str]
    requests_per_minute: int
    created_at_s: float
    expires_at_s: float | None
    revoked_at_s: float | None

    def key(self) -> Key:
        """The row as core knows it."""
        return Key(
            Principal(self.tenant_id, self.project_id, self.key_id),
            self.prefix,
            self.digest,
            self.display_name,
            tuple(self.allowed_models),
            self.requests_per_minute,
            self.created_at_s,
            self.expires_at_s,
            self.revoked_at_s,
        )


class PostgresKeys:
    """`weir_policy.core.tenants.Keys` and `weir_policy.core.admit.KeyLookup`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: Key) -> bool:
        arguments = {
            **vars(key),
            **vars(key.principal),
            "allowed_models": list(key.allowed_models),
        }
        del arguments["principal"]

        async def work(connection: Connection) -> bool:
            return (await connection.execute(ADD, arguments)).rowcount == 1

        try:
            return await self._database.run(work)
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotFound(
                "there is no project with this id in this tenant", field="project_id"
            ) from error

    async def by_prefix(self, prefix: str) -> Key | None:
        found = await self._rows(BY_PREFIX, {"prefix": prefix})
        return found[0] if found else None

    async def before(self, tenant_id: str, key_id: str, limit: int) -> list[Key]:
        arguments = {"tenant_id": tenant_id, "key_id": key_id, "limit": limit}
        return await self._rows(BEFORE if key_id else NEWEST, arguments)

    async def revoke(self, key_id: str, now_s: float) -> Key | None:
        found = await self._rows(REVOKE, {"key_id": key_id, "now_s": now_s})
        return found[0] if found else None

    async def _rows(self, statement: str, arguments: dict[str, Any]) -> list[Key]:
        async def work(connection: Connection) -> list[Key]:
            async with connection.cursor(row_factory=class_row(KeyRow)) as cursor:
                await cursor.execute(statement, arguments)
                return [row.key() for row in await cursor.fetchall()]

        return await self._database.run(work)
