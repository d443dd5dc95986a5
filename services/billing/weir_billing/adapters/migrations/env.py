"""Alembic's environment: runs on the connection that `weir_billing.adapters.migrate` opened."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
