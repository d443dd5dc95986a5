"""Reading the ledger: statements, and adding everything up again."""

from dataclasses import dataclass

from psycopg.rows import class_row

from weir_billing.adapters.database import Connection, transaction
from weir_billing.core import account
from weir_billing.core.money import Money
from weir_billing.core.statement import Line, Query
from weir_billing.core.transfer import Kind
from weir_billing.core.verification import Verification

LINE = """
SELECT entry.entry_id, entry.transfer_id, account.name AS account, entry.currency, entry.amount,
    entry.balance_after, transfer.kind, transfer.request_id, transfer.description,
    extract(epoch FROM transfer.created_at)::float8 AS created_at_s
"""
JOINED = """
JOIN transfers AS transfer ON transfer.transfer_id = entry.transfer_id
JOIN accounts AS account ON account.account_id = entry.account_id
"""
OLDER = "(%(before)s::bigint IS NULL OR entry.entry_id < %(before)s)"
NEWEST_FIRST = "ORDER BY entry.entry_id DESC LIMIT %(limit)s"

ALL_LINES = f"{LINE} FROM entries AS entry {JOINED} WHERE {OLDER} {NEWEST_FIRST}"
# The entries of a request in every account, the model's revenue among them.
REQUEST_LINES = f"""
{LINE} FROM entries AS entry {JOINED}
WHERE transfer.request_id = %(request_id)s
    AND (%(tenant_id)s = '' OR transfer.tenant_id = %(tenant_id)s) AND {OLDER}
{NEWEST_FIRST}
"""
# A short walk along the index of each of the tenant's accounts, however long its history is.
TENANT_LINES = f"""
{LINE} FROM accounts AS own CROSS JOIN LATERAL (
    SELECT * FROM entries AS entry WHERE entry.account_id = own.account_id AND {OLDER}
    {NEWEST_FIRST}
) AS entry {JOINED}
WHERE own.name = ANY(%(accounts)s) AND own.tenant_id IS NOT NULL
{NEWEST_FIRST}
"""  # noqa: S608 - put together from constants

# One snapshot for every question, so that requests going on meanwhile do not look like faults.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
SUMS = (
    "SELECT currency, sum(amount)::bigint AS nanos FROM entries GROUP BY currency ORDER BY currency"
)
# A transfer without entries is as wrong as one that does not add up.
FAULTS = """
SELECT (SELECT count(*) FROM entries) AS entries, (
    SELECT count(*) FROM (
        SELECT transfer_id FROM entries GROUP BY transfer_id, currency HAVING sum(amount) <> 0
        UNION
        SELECT transfer_id FROM transfers
        WHERE NOT EXISTS (SELECT FROM entries WHERE entries.transfer_id = transfers.transfer_id)
    ) AS unbalanced
) AS unbalanced_transfers, (
    SELECT count(*) FROM accounts
    LEFT JOIN (SELECT account_id, sum(amount) AS balance FROM entries GROUP BY account_id) AS added
        USING (account_id)
    LEFT JOIN (
        SELECT 'tenant:' || tenant_id || ':held' AS name, currency, sum(amount) AS balance
        FROM holds WHERE state = 'HELD' GROUP BY tenant_id, currency
    ) AS open_holds USING (name, currency)
    WHERE accounts.balance <> coalesce(added.balance, 0)
        OR (tenant_id IS NOT NULL AND name LIKE '%:held'
            AND accounts.balance <> coalesce(open_holds.balance, 0))
) AS wrong_balances, (
    SELECT count(*) FROM holds WHERE state = 'HELD'
) AS open_holds
"""
# Adding up a long ledger takes longer than a request may, and reads whole tables: what the pool's
# connections rule out for look-ups by key is right here.
WHOLE_TABLES = """
SELECT set_config('statement_timeout', '300s', true), set_config('enable_seqscan', 'on', true),
    set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true)
"""


@dataclass(frozen=True)
class LineRow:
    entry_id: int
    transfer_id: str
    account: str
    currency: str
    amount: int
    balance_after: int
    kind: str
    request_id: str
    description: str
    created_at_s: float

    def line(self) -> Line:
        return Line(
            entry_id=self.entry_id,
            transfer_id=self.transfer_id,
            account=self.account,
            amount=Money(self.amount, self.currency),
            balance_after=Money(self.balance_after, self.currency),
            kind=Kind(self.kind),
            request_id=self.request_id,
            description=self.description,
            created_at_s=self.created_at_s,
        )


@dataclass(frozen=True)
class SumRow:
    currency: str
    nanos: int


@dataclass(frozen=True)
class FaultsRow:
    entries: int
    unbalanced_transfers: int
    wrong_balances: int
    open_holds: int


async def lines(connection: Connection, query: Query) -> list[Line]:
    """The entries that `query` asks for, newest first."""
    statement = (
        REQUEST_LINES if query.request_id else TENANT_LINES if query.tenant_id else ALL_LINES
    )
    arguments = {
        "tenant_id": query.tenant_id,
        "request_id": query.request_id,
        "accounts": [account.available(query.tenant_id), account.held(query.tenant_id)],
        "before": query.before_entry_id,
        "limit": query.page_size,
    }
    async with connection.cursor(row_factory=class_row(LineRow)) as cursor:
        await cursor.execute(statement, arguments)
        return [row.line() async for row in cursor]


async def verify(connection: Connection) -> Verification:
    """Add up all entries, transfers, balances and open holds as they were at one moment."""
    async with transaction(connection):
        await connection.execute(SNAPSHOT)
        await connection.execute(WHOLE_TABLES)
        async with (
            connection.cursor(row_factory=class_row(SumRow)) as sums,
            connection.cursor(row_factory=class_row(FaultsRow)) as faults,
        ):
            # Not prepared: the plan is for the ledger as long as it is today.
            await sums.execute(SUMS, prepare=False)
            await faults.execute(FAULTS, prepare=False)
            totals, fault = await sums.fetchall(), await faults.fetchone()
    assert fault is not None
    return Verification(
        sums=tuple(Money(total.nanos, total.currency) for total in totals),
        entries=fault.entries,
        unbalanced_transfers=fault.unbalanced_transfers,
        wrong_balances=fault.wrong_balances,
        open_holds=fault.open_holds,
    )
