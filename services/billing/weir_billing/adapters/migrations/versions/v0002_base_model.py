"""Which model a hold's model is an adapter of: empty for none. Its price may be the hold's."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A constant default is kept in the catalogue: no row is written, and the lock is held for no time.
# Replicas of before insert without it meanwhile.
BASE_MODEL = "ALTER TABLE holds ADD COLUMN base_model TEXT NOT NULL DEFAULT ''"


def upgrade() -> None:
    op.execute(BASE_MODEL)
