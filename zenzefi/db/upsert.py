"""``INSERT ... ON CONFLICT``, which SQLAlchemy provides separately for each dialect.

Only the dialect in use is imported: the one of PostgreSQL takes 2 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def insert_into(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """``INSERT`` with ``on_conflict_do_nothing()`` and ``on_conflict_do_update()``.

    ``dialect`` is the name of the database's dialect (:attr:`zenzefi.db.engine.Database.dialect`).
    """
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)
