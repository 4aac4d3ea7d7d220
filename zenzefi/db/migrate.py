"""Database migrations: the current revision, and upgrades to the one that this version requires.

Alembic is imported only if something must be changed, which saves ten megabytes of memory.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, text

from zenzefi.db.engine import Database
from zenzefi.resources import bundled

if TYPE_CHECKING:
    from alembic.config import Config

_REVISION = re.compile(r'^(revision|down_revision) = "(\w+)"', re.M)
# SQLAlchemy's inspector does the same, and takes 2 MB that each worker would have for itself.
_HAS_TABLE = {
    "postgresql": "SELECT to_regclass('alembic_version') IS NOT NULL",
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
}
_LOCK = 0x7A_65_6E_7A_65_66_69  # "zenzefi": serializes concurrent migrations


class SchemaOutdated(Exception):
    """The database's schema does not match this version; the text names the command to run."""


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revisions() -> dict[str, str | None]:
    """All known revisions, with the previous revision of each."""
    known = {}
    for script in bundled("migrations").joinpath("versions").glob("*.py"):
        named = dict(_REVISION.findall(script.read_text("utf-8")))
        known[named["revision"]] = named.get("down_revision")
    return known


def head() -> str:
    """The latest revision, which this version requires."""
    known = revisions()
    (last,) = known.keys() - known.values()
    return last


async def current(database: Database) -> str | None:
    """The database's revision; ``None`` if it is empty. Raises ``DatabaseUnavailable``."""
    async with database.read() as connection:
        if not (await connection.execute(text(_HAS_TABLE[database.dialect]))).scalar():
            return None
        found = await connection.execute(text("SELECT version_num FROM alembic_version"))
        revision: str | None = found.scalar()
        return revision


async def _run(
    database: Database, direction: Literal["upgrade", "downgrade"], revision: str
) -> None:
    from alembic import command

    step = command.upgrade if direction == "upgrade" else command.downgrade

    def run(connection: Connection) -> None:
        step(_config(connection), revision)

    # One transaction for all steps, on both databases: a failed migration changes nothing.
    async with database.begin() as connection:
        if database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        await connection.run_sync(run)


async def upgrade(database: Database, revision: str = "head") -> None:
    """Run the missing migrations. Safe to run concurrently."""
    await _run(database, "upgrade", revision)


async def downgrade(database: Database, revision: str) -> None:
    """Undo migrations down to ``revision`` (``"base"``: all, including data)."""
    await _run(database, "downgrade", revision)


async def ensure(database: Database, *, automatic: bool) -> None:
    """At startup: migrate if ``automatic`` (the embedded default), else only verify the revision.

    Raises :class:`SchemaOutdated` or ``DatabaseUnavailable``.
    """
    found, needed = await current(database), head()
    if found == needed:
        return
    if found is not None and found not in revisions():
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
