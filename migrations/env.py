"""Alembic environment, run for each command on the connection of zenzefi/db/migrate.py."""

from __future__ import annotations

from alembic import context

from zenzefi.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite's ALTER TABLE is limited, so some changes copy the table.
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
