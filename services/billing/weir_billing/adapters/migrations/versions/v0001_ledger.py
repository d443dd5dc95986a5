"""The ledger: accounts, transfers, entries, price books, holds and meter records."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Amounts are BIGINT nanos, the range of `weir.common.v1.Money`; PostgreSQL refuses what would
# overflow instead of wrapping around. fillfactor leaves room on the page for HOT updates: a busy
# account's row changes thousands of times between vacuums.
ACCOUNTS = """
CREATE TABLE accounts (
    account_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL,
    currency TEXT NOT NULL,
    tenant_id TEXT,
    balance BIGINT NOT NULL DEFAULT 0,
    UNIQUE (name, currency),
    UNIQUE (account_id, currency),
    CONSTRAINT tenant_not_below_zero CHECK (tenant_id IS NULL OR balance >= 0)
) WITH (fillfactor = 50);
-- A tenant has one currency.
CREATE UNIQUE INDEX tenant_account_once ON accounts (name) WHERE tenant_id IS NOT NULL;
"""

# `pending_id` is the hold that a transfer ends: UNIQUE, so a hold is settled, released or expired
# once, whatever the code above does.
TRANSFERS = """
CREATE TABLE transfers (
    transfer_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('credit', 'hold', 'settle', 'release', 'expire')),
    tenant_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    pending_id TEXT UNIQUE REFERENCES transfers,
    description TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CHECK ((pending_id IS NOT NULL) = (kind IN ('settle', 'release', 'expire')))
);
CREATE INDEX transfers_by_request ON transfers (request_id);
"""

ENTRIES = """
CREATE TABLE entries (
    entry_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id TEXT NOT NULL REFERENCES transfers,
    account_id BIGINT NOT NULL,
    currency TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount <> 0),
    balance_after BIGINT NOT NULL,
    FOREIGN KEY (account_id, currency) REFERENCES accounts (account_id, currency)
);
CREATE INDEX entries_by_transfer ON entries (transfer_id);
CREATE INDEX entries_by_account ON entries (account_id, entry_id);
"""

PRICE_BOOKS = """
CREATE TABLE price_books (
    version INTEGER PRIMARY KEY CHECK (version > 0),
    currency TEXT NOT NULL,
    prices JSONB NOT NULL,
    published_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX price_books_by_currency ON price_books (currency, version);
"""

# No foreign key to the price book: each hold would lock that one row, and it is never removed.
HOLDS = """
CREATE TABLE holds (
    request_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL CHECK (input_tokens >= 0),
    max_output_tokens INTEGER NOT NULL CHECK (max_output_tokens >= 0),
    ttl_s INTEGER NOT NULL CHECK (ttl_s > 0),
    currency TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    price_book_version INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('HELD', 'SETTLED', 'RELEASED', 'EXPIRED')),
    ended_at TIMESTAMPTZ,
    witness TEXT CHECK (witness IN ('gateway', 'meter')),
    used_input_tokens INTEGER,
    used_cached_input_tokens INTEGER,
    used_output_tokens INTEGER,
    charged BIGINT NOT NULL DEFAULT 0,
    uncharged BIGINT NOT NULL DEFAULT 0 CHECK (uncharged >= 0),
    CHECK (charged BETWEEN 0 AND amount),
    CHECK ((state = 'HELD') = (ended_at IS NULL)),
    CHECK ((state = 'SETTLED') = (witness IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX holds_open ON holds (expires_at) WHERE state = 'HELD';
"""

METER_RECORDS = """
CREATE TABLE meter_records (
    request_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL CHECK (input_tokens >= 0),
    output_tokens INTEGER NOT NULL CHECK (output_tokens >= 0),
    reason TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL
);
"""

IMMUTABLE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are never changed or removed', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER entries_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_books_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON price_books
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ended_holds_immutable BEFORE UPDATE ON holds
    FOR EACH ROW WHEN (OLD.state <> 'HELD') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER holds_stay BEFORE DELETE OR TRUNCATE ON holds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# Two assertions. At COMMIT every new transfer must have two sides that add up to zero in each
# currency; and whenever entries arrive, at once, so must each transfer they belong to, so that no
# later entry can unbalance an old transfer. The second is per statement: one look for any number.
# LATERAL makes it a look-up per transfer whatever the planner thinks of a table that is new.
ZERO_SUM = """
CREATE FUNCTION assert_transfer_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) < 2 FROM entries WHERE transfer_id = NEW.transfer_id)
        OR EXISTS (SELECT FROM entries WHERE transfer_id = NEW.transfer_id
                   GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'transfer % does not add up to zero', NEW.transfer_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transfer_balanced AFTER INSERT ON transfers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION assert_transfer_balanced();
CREATE FUNCTION assert_entries_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT transfer_id FROM arrived) AS touched
        CROSS JOIN LATERAL (
            SELECT FROM entries WHERE entries.transfer_id = touched.transfer_id
            GROUP BY currency HAVING sum(amount) <> 0
        ) AS unbalanced
    ) THEN
        RAISE EXCEPTION 'entries do not add up to zero'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_balanced AFTER INSERT ON entries REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION assert_entries_balanced();
"""


def upgrade() -> None:
    for statements in (
        ACCOUNTS,
        TRANSFERS,
        ENTRIES,
        PRICE_BOOKS,
        HOLDS,
        METER_RECORDS,
        IMMUTABLE,
        ZERO_SUM,
    ):
        op.execute(statements)
