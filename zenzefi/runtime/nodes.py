"""The running nodes and the secret keys they use, in the database.

Every process writes its row every :data:`INTERVAL` seconds. The rows show whether a rotation of
``SECRET_KEY`` may continue: a node may issue with a key only when all others accept it. A node that
finds a disagreement logs it, and sets a metric until it is gone. Rows contain fingerprints, never
keys.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import Column, String, Table, Uuid, delete, select

from zenzefi.db.base import metadata, time_column, utcnow
from zenzefi.db.engine import DATABASE, Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.db.upsert import insert_into
from zenzefi.keys import KEYRING, Keyring
from zenzefi.observability.metrics import SECRET_KEY_CONFLICTS
from zenzefi.tasks import background_task, repeat
from zenzefi.version import __version__

log = logging.getLogger(__name__)

INTERVAL = 15.0
"""Seconds between two writes of a node's row."""
_CURRENT = timedelta(seconds=60)  # a row that was not written for this long is of a stopped node
_KEPT = timedelta(minutes=10)  # after which a row is deleted
_MAX_ACCEPTED = 20  # fingerprints of one node; more do not fit into the column

node_records = Table(
    "nodes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("version", String(40), nullable=False),
    Column("accepted_keys", String(_MAX_ACCEPTED * 9), nullable=False),
    time_column("seen_at", nullable=False),
)
_c = node_records.c


@dataclass(frozen=True, slots=True)
class RunningNode:
    """One running process. ``accepted``: fingerprints of its keys, the issuing one first."""

    id: UUID
    name: str
    version: str
    accepted: tuple[str, ...]

    @property
    def issuing(self) -> str:
        """The fingerprint of the key that makes new values."""
        return self.accepted[0]


async def running_nodes(database: Database) -> list[RunningNode]:
    """The processes that wrote their row within the last minute, by name.

    Raises ``DatabaseUnavailable``.
    """
    async with database.read() as connection:
        now: datetime = (await connection.execute(select(utcnow()))).scalar_one()
        query = select(node_records).where(_c.seen_at >= now - _CURRENT).order_by(_c.name, _c.id)
        return [
            RunningNode(row.id, row.name, row.version, tuple(row.accepted_keys.split(",")))
            for row in await connection.execute(query)
        ]


def conflicts(accepted: Sequence[str], others: Iterable[RunningNode]) -> list[str]:
    """How these keys (the issuing one first) disagree with those of other nodes.

    Each is a sentence for the operator that says which step of the rotation is missing.
    """
    found: list[str] = []
    for node in others:
        if accepted[0] not in node.accepted:
            found.append(
                f"Node {node.name} does not accept the issuing key {accepted[0]}: set "
                "NEXT_SECRET_KEY there, and restart it, before any node issues with that key."
            )
        if node.issuing not in accepted:
            found.append(
                f"Node {node.name} issues with the key {node.issuing}, which is not accepted here: "
                "add it to PREVIOUS_SECRET_KEYS, or to NEXT_SECRET_KEY during a rotation."
            )
    return found


class NodeRecord:
    """The row of this process."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self.accepted = keyring.fingerprints[:_MAX_ACCEPTED]
        self.id = uuid4()
        self._reported: frozenset[str] = frozenset()

    async def write(self) -> None:
        """Write the row, delete outdated ones, and report conflicts with other nodes.

        Raises ``DatabaseUnavailable``.
        """
        values = {
            "name": f"{socket.gethostname()[:80]}:{os.getpid()}",
            "version": __version__,
            "accepted_keys": ",".join(self.accepted),
            "seen_at": utcnow(),
        }
        statement = insert_into(self._database.dialect, node_records).values(id=self.id, **values)
        async with self._database.begin() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=[_c.id], set_=values)
            )
            now: datetime = (await connection.execute(select(utcnow()))).scalar_one()
            await connection.execute(delete(node_records).where(_c.seen_at < now - _KEPT))
        others = [one for one in await running_nodes(self._database) if one.id != self.id]
        found = conflicts(self.accepted, others)
        SECRET_KEY_CONFLICTS.set(len(found))
        for one in sorted(set(found) - self._reported):
            log.error("secret key conflict: %s", one)
        self._reported = frozenset(found)

    async def remove(self) -> None:
        """Delete the row. Raises ``DatabaseUnavailable``."""
        async with self._database.begin() as connection:
            await connection.execute(delete(node_records).where(_c.id == self.id))


def setup(app: web.Application) -> None:
    """Write this process's row while the application runs; database and keyring come before."""
    record = NodeRecord(app[DATABASE], app[KEYRING])

    async def recorded(_: web.Application) -> AsyncIterator[None]:
        work = repeat(
            INTERVAL,
            record.write,
            name="node record",
            first=0,
            ignored=(DatabaseUnavailable,),
        )
        async with background_task(work, name="node record"):
            yield
        try:
            async with asyncio.timeout(1.0):
                await record.remove()
        except (DatabaseUnavailable, TimeoutError):
            log.debug("node record: not removed, the database is unavailable")

    app.cleanup_ctx.append(recorded)
