"""Alembic migrations: run by ``zenzefi migrate`` (zenzefi/db/migrate.py), never by hand."""
