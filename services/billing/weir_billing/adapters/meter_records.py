"""Meter records in PostgreSQL: one a request, whatever was delivered twice or out of order."""

from collections.abc import Sequence

from psycopg.rows import class_row

from weir_billing.adapters.database import Connection, Database
from weir_billing.core.meter import MeterRecord

# Two different records of one request (a retry on another engine) keep the one that generated
# more, then the one that finished: `stop` and `length` are the last of the reasons in the alphabet.
# The comparison orders all records, so the outcome does not depend on the order of arrival.
KEEP = """
INSERT INTO meter_records (request_id, tenant_id, model, input_tokens, output_tokens, items,
    compute_us, reason, at)
SELECT DISTINCT ON (request_id) request_id, tenant_id, model, input_tokens, output_tokens, items,
    compute_us, reason, to_timestamp(at_s)
FROM unnest(
    %(request_ids)s::text[], %(tenants)s::text[], %(models)s::text[], %(inputs)s::integer[],
    %(outputs)s::integer[], %(items)s::integer[], %(computes_us)s::bigint[], %(reasons)s::text[],
    %(times)s::float8[]
) AS record (request_id, tenant_id, model, input_tokens, output_tokens, items, compute_us, reason,
    at_s)
ORDER BY request_id, output_tokens DESC, input_tokens DESC, reason DESC, items DESC,
    compute_us DESC, at_s DESC, model DESC
ON CONFLICT (request_id) DO UPDATE SET model = excluded.model,
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
    items = excluded.items, compute_us = excluded.compute_us, reason = excluded.reason,
    at = excluded.at
WHERE meter_records.tenant_id = excluded.tenant_id
    AND (excluded.output_tokens, excluded.input_tokens, excluded.reason, excluded.items,
         excluded.compute_us, excluded.at, excluded.model)
    > (meter_records.output_tokens, meter_records.input_tokens, meter_records.reason,
       meter_records.items, meter_records.compute_us, meter_records.at, meter_records.model)
"""
OF_REQUESTS = """
SELECT request_id, tenant_id, model, input_tokens, output_tokens, items, compute_us, reason,
    extract(epoch FROM at)::float8 AS at_s
FROM meter_records WHERE request_id = ANY(%(request_ids)s)
"""


class PostgresMeterRecords:
    """Where the meter stream ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, records: Sequence[MeterRecord]) -> None:
        """Write the records; any that is there already changes nothing."""
        arguments = {
            "request_ids": [record.request_id for record in records],
            "tenants": [record.tenant_id for record in records],
            "models": [record.model for record in records],
            "inputs": [record.input_tokens for record in records],
            "outputs": [record.output_tokens for record in records],
            "items": [record.items for record in records],
            "computes_us": [record.compute_us for record in records],
            "reasons": [record.reason for record in records],
            "times": [record.at_s for record in records],
        }

        async def work(connection: Connection) -> None:
            await connection.execute(KEEP, arguments)

        await self._database.run(work)

    async def get(self, request_id: str) -> MeterRecord | None:
        """The record of a request."""

        async def work(connection: Connection) -> MeterRecord | None:
            return (await of_requests(connection, [request_id])).get(request_id)

        return await self._database.run(work)


async def of_requests(connection: Connection, request_ids: Sequence[str]) -> dict[str, MeterRecord]:
    """The records of requests, by request id."""
    async with connection.cursor(row_factory=class_row(MeterRecord)) as cursor:
        await cursor.execute(OF_REQUESTS, {"request_ids": list(request_ids)})
        return {record.request_id: record async for record in cursor}
