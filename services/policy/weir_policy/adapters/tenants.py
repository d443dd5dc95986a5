"""Tenants and their projects in PostgreSQL."""

import psycopg
from psycopg.rows import class_row

from weir_kit.errors import NotFound
from weir_policy.adapters.database import Connection, Database
from weir_policy.core.tenants import Project, Tenant

ADD_TENANT = """
INSERT INTO tenants (tenant_id, display_name, created_at)
VALUES (%(tenant_id)s, %(display_name)s, to_timestamp(%(created_at_s)s))
ON CONFLICT DO NOTHING
"""
TENANT_EXISTS = "SELECT FROM tenants WHERE tenant_id = %(tenant_id)s"
TENANTS_AFTER = """
SELECT tenant_id, display_name, extract(epoch FROM created_at)::float8 AS created_at_s
FROM tenants WHERE tenant_id > %(tenant_id)s ORDER BY tenant_id LIMIT %(limit)s
"""
ADD_PROJECT = """
INSERT INTO projects (tenant_id, project_id, display_name, created_at)
VALUES (%(tenant_id)s, %(project_id)s, %(display_name)s, to_timestamp(%(created_at_s)s))
ON CONFLICT DO NOTHING
"""
PROJECTS_AFTER = """
SELECT project_id, tenant_id, display_name, extract(epoch FROM created_at)::float8 AS created_at_s
FROM projects WHERE tenant_id = %(tenant_id)s AND project_id > %(project_id)s
ORDER BY project_id LIMIT %(limit)s
"""


class PostgresTenants:
    """`weir_policy.core.tenants.Tenants`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant: Tenant) -> bool:
        async def work(connection: Connection) -> bool:
            return (await connection.execute(ADD_TENANT, vars(tenant))).rowcount == 1

        return await self._database.run(work)

    async def exists(self, tenant_id: str) -> bool:
        async def work(connection: Connection) -> bool:
            return (await connection.execute(TENANT_EXISTS, {"tenant_id": tenant_id})).rowcount == 1

        return await self._database.run(work)

    async def after(self, tenant_id: str, limit: int) -> list[Tenant]:
        async def work(connection: Connection) -> list[Tenant]:
            async with connection.cursor(row_factory=class_row(Tenant)) as cursor:
                await cursor.execute(TENANTS_AFTER, {"tenant_id": tenant_id, "limit": limit})
                return await cursor.fetchall()

        return await self._database.run(work)


class PostgresProjects:
    """`weir_policy.core.tenants.Projects`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, project: Project) -> bool:
        async def work(connection: Connection) -> bool:
            return (await connection.execute(ADD_PROJECT, vars(project))).rowcount == 1

        try:
            return await self._database.run(work)
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotFound("there is no tenant with this id", field="tenant_id") from error

    async def after(self, tenant_id: str, project_id: str, limit: int) -> list[Project]:
        arguments = {"tenant_id": tenant_id, "project_id": project_id, "limit": limit}

        async def work(connection: Connection) -> list[Project]:
            async with connection.cursor(row_factory=class_row(Project)) as cursor:
                await cursor.execute(PROJECTS_AFTER, arguments)
                return await cursor.fetchall()

        return await self._database.run(work)
