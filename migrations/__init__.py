"""Alembic migrations. ``zenzefi migrate`` runs them (zenzefi/db/migrate.py)."""
