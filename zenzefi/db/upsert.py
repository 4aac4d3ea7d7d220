"""``INSERT ... ON CONFLICT``, which SQLAlchemy provides separately for each dialect."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """``INSERT`` with ``on_conflict_do_nothing()`` and ``on_conflict_do_update()``.

    ``dialect`` is the name of the database's dialect (:attr:`zenzefi.db.engine.Database.dialect`).
    """
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
