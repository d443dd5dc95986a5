"""The version of the model that answered, and the work of models that answer in one piece."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Records of before read as "no version, no work", which adds nothing to what their hashes are over.
# No row is written, so the chain stays as it is; replicas of before append without these columns.
WORK = """
ALTER TABLE audit_records
    ADD COLUMN model_version TEXT NOT NULL DEFAULT '',
    ADD COLUMN work_requests INTEGER,
    ADD COLUMN work_items INTEGER,
    ADD COLUMN work_compute_us BIGINT,
    ADD CONSTRAINT work_is_whole CHECK (
        num_nulls(work_requests, work_items, work_compute_us) IN (0, 3)
    ) NOT VALID
"""
REMOVE = """
ALTER TABLE audit_records
    DROP COLUMN model_version,
    DROP COLUMN work_requests,
    DROP COLUMN work_items,
    DROP COLUMN work_compute_us
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(WORK)


def downgrade() -> None:
    """Drop the columns; records that filled them no longer verify."""
    op.execute(REMOVE)
