"""Work, beside tokens: what calls of models that answer in one piece hold, used, and were metered.

Three counts are NULL together in a hold for tokens, as in every hold of before. Replicas of before
insert without them meanwhile; price books keep their prices as lists, to which work adds numbers.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

HOLDS = """
ALTER TABLE holds
    ADD COLUMN max_requests INTEGER,
    ADD COLUMN max_items INTEGER,
    ADD COLUMN max_compute_us BIGINT,
    ADD COLUMN used_requests INTEGER,
    ADD COLUMN used_items INTEGER,
    ADD COLUMN used_compute_us BIGINT
"""
# NOT VALID: rows of before satisfy these by their NULLs and zeros, so no lock is held while all of
# them are read again. Every row that is written from now on is checked.
HOLDS_CHECK = """
ALTER TABLE holds
    ADD CONSTRAINT work_is_whole CHECK (
        num_nulls(max_requests, max_items, max_compute_us) IN (0, 3)
        AND num_nulls(used_requests, used_items, used_compute_us) IN (0, 3)
    ) NOT VALID,
    ADD CONSTRAINT tokens_or_work CHECK (
        max_requests IS NULL AND used_requests IS NULL
        OR max_requests > 0 AND max_items >= 0 AND max_compute_us >= 0
            AND input_tokens = 0 AND max_output_tokens = 0 AND used_input_tokens IS NULL
    ) NOT VALID
"""
# Constant defaults are kept in the catalogue: no row is written.
METER_RECORDS = """
ALTER TABLE meter_records
    ADD COLUMN items INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN compute_us BIGINT NOT NULL DEFAULT 0,
    ADD CONSTRAINT work_not_below_zero CHECK (items >= 0 AND compute_us >= 0) NOT VALID
"""


def upgrade() -> None:
    for statements in (HOLDS, HOLDS_CHECK, METER_RECORDS):
        op.execute(statements)
