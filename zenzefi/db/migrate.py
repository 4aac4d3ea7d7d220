"""Bring the database's schema to the one this program needs, and say whether it is there."""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from zenzefi.db.engine import Database
from zenzefi.resources import bundled

_LOCK = 0x7A_65_6E_7A_65_66_69  # "zenzefi": two programs that migrate at once take turns


class SchemaOutdated(Exception):
    """The database's schema is not the one of this program; the text says what to run."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The revision that this program needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def current(database: Database) -> str | None:
    """The database's revision; ``None`` when it is empty. Raises ``DatabaseUnavailable``."""

    def read(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    async with database.read() as connection:
        return await connection.run_sync(read)


async def _run(database: Database, step: Any, revision: str) -> None:
    def run(connection: Connection) -> None:
        step(_config(connection), revision)

    # One transaction for all steps, on both databases: a failed migration leaves nothing behind.
    async with database.begin() as connection:
        if database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        await connection.run_sync(run)


async def upgrade(database: Database, revision: str = "head") -> None:
    """Run the migrations that are missing. Safe to run from several programs at once."""
    await _run(database, command.upgrade, revision)


async def downgrade(database: Database, revision: str) -> None:
    """Undo migrations down to ``revision`` (``"base"``: everything, data included)."""
    await _run(database, command.downgrade, revision)


async def ensure(database: Database, *, automatic: bool) -> None:
    """At start: migrate when ``automatic`` (the embedded default), otherwise insist.

    Raises :class:`SchemaOutdated` with what to do, or ``DatabaseUnavailable``.
    """
    found, needed = await current(database), head()
    if found == needed:
        return
    known = {step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaOutdated(
            f"The database's schema ({found}) is newer than this program. Install the newer "
            "version of zenzefi, or restore a backup made by this one."
        )
    if not automatic:
        state = "empty" if found is None else f"at revision {found}"
        raise SchemaOutdated(
            f"The database is {state}; this program needs {needed}. Run: zenzefi migrate"
        )
    await upgrade(database)
