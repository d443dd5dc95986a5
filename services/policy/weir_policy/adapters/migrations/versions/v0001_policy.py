"""Tenants, projects, keys and the audit chain."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TENANTS = """
CREATE TABLE tenants (
    tenant_id TEXT COLLATE "C" PRIMARY KEY,
    display_name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE projects (
    tenant_id TEXT COLLATE "C" NOT NULL REFERENCES tenants,
    project_id TEXT COLLATE "C" NOT NULL,
    display_name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (tenant_id, project_id)
);
"""

# `position` orders keys made in one microsecond. Admit reads a key by its prefix alone.
KEYS = """
CREATE TABLE keys (
    position BIGINT GENERATED ALWAYS AS IDENTITY,
    key_id TEXT COLLATE "C" PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    prefix TEXT COLLATE "C" NOT NULL UNIQUE,
    digest BYTEA NOT NULL CHECK (octet_length(digest) = 32),
    display_name TEXT NOT NULL,
    allowed_models TEXT[] NOT NULL,
    requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute >= 0),
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects
);
CREATE UNIQUE INDEX keys_of_tenant ON keys (tenant_id, position DESC);
"""

# Times are BIGINT microseconds: the hash is over exact numbers.
AUDIT = """
CREATE TABLE audit_records (
    sequence BIGINT PRIMARY KEY,
    request_id TEXT COLLATE "C" NOT NULL UNIQUE,
    tenant_id TEXT COLLATE "C" NOT NULL,
    project_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    charged_nanos BIGINT NOT NULL,
    currency TEXT NOT NULL,
    findings JSONB NOT NULL,
    trace_id TEXT NOT NULL,
    started_at_us BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE UNIQUE INDEX audit_of_tenant ON audit_records (tenant_id, sequence DESC);

-- One row: the chain's end. Whoever appends locks it, so the chain never forks.
CREATE TABLE audit_head (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (sequence, hash) VALUES (0, repeat('0', 64));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_gone BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

REMOVE = """
DROP TABLE audit_head, audit_records, keys, projects, tenants;
DROP FUNCTION refuse_change;
"""


def upgrade() -> None:
    """Make the tables."""
    for statements in (TENANTS, KEYS, AUDIT):
        op.execute(statements)


def downgrade() -> None:
    """Drop the tables and all that is in them."""
    op.execute(REMOVE)
