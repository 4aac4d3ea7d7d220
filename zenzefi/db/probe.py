"""Probes of the database for health checks: one read, one write.

A read does not detect a full disk or a primary that became a standby, so :func:`write` commits a
row. On SQLite the row is large enough to require new pages, like most writes of the gate.
"""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Column, LargeBinary, Table, delete, insert, text

from zenzefi.db.base import id_column, metadata
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseNotWritable

write_probes = Table(
    "write_probes", metadata, id_column(), Column("filler", LargeBinary, nullable=False)
)
"""Contains the row of the last probe only."""
_FILLER = bytes(32 * 1024)  # eight pages of SQLite; PostgreSQL compresses it to one


async def read(database: Database) -> None:
    """Read from the database file or server, not only from the driver.

    Raises ``DatabaseUnavailable``, and ``DatabaseNotWritable`` for a read-only PostgreSQL.
    """
    async with database.read() as connection:
        if database.dialect == "sqlite":
            await connection.execute(text("SELECT version_num FROM alembic_version"))
            return
        read_only = (await connection.execute(text("SHOW transaction_read_only"))).scalar_one()
        if read_only == "on":
            raise DatabaseNotWritable


async def write(database: Database) -> None:
    """Commit a row and delete the previous one. Raises ``DatabaseUnavailable``."""
    row = uuid4()
    async with database.begin() as connection:
        await connection.execute(insert(write_probes).values(id=row, filler=_FILLER))
        await connection.execute(delete(write_probes).where(write_probes.c.id != row))
