"""Sessions of use: who uses which token, since when, how much; written in batches.

A session is one (token, device, address, agent) without a pause of half an hour. Requests only
count in memory; every few seconds what changed is written in one transaction, and once more at
shutdown. A crash loses one interval at most. With the database away the counts wait, bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, Row, bindparam, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.audit.log import Actor, record
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import DatabaseUnavailable, NotFound
from zenzefi.ops.metrics import PROXY_BYTES
from zenzefi.tokens.access import Access
from zenzefi.tokens.devices import Devices
from zenzefi.tokens.gatekeeper import SESSION_ENDED, Gatekeeper
from zenzefi.tokens.models import usage_sessions
from zenzefi.tokens.shared import Ended

_RECEIVED = PROXY_BYTES.labels("received")
log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two writes: what a crash may lose."""
IDLE = timedelta(minutes=30)
"""A session that was silent for longer is over; the next request begins a new one."""
_MAX_SESSIONS = 20_000
_AGENT = 300
_u = usage_sessions.c
_Key = tuple[UUID, str | None, str, str]


@dataclass(slots=True)
class _Open:
    id: UUID
    key: _Key
    user_id: UUID
    started_at: datetime
    last_seen_at: datetime
    is_written: bool = False
    requests: int = 0  # these three: since the last write
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """One session of use, as lists show it."""

    id: UUID
    token_id: UUID
    user_id: UUID
    device: str | None
    address: str | None
    agent: str | None
    started_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    requests: int
    bytes_in: int
    bytes_out: int


def _session(row: Row[Any]) -> Session:
    return Session(**{name: row._mapping[name] for name in Session.__dataclass_fields__})


async def end_sessions(connection: AsyncConnection, which: ColumnElement[bool], why: str) -> int:
    """Mark sessions as ended, inside the caller's transaction; how many."""
    result = await connection.execute(
        update(usage_sessions)
        .where(which, _u.ended_at.is_(None))
        .values(ended_at=utcnow(), end_reason=why)
    )
    return int(result.rowcount)


class Usage:
    """Counts uses, and keeps the list of sessions."""

    def __init__(self, database: Database, gatekeeper: Gatekeeper, devices: Devices) -> None:
        self._database = database
        self._gatekeeper = gatekeeper
        self._devices = devices
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._changed: dict[UUID, _Open] = {}
        self._writing = asyncio.Lock()
        gatekeeper.on_end(self._heard)

    def note(
        self,
        access: Access,
        *,
        device_id: str | None,
        address: str,
        agent: str,
        received: int,
        sent: int,
        requests: int = 1,
    ) -> None:
        """Requests ended: bytes received from and sent to the browser. Never waits."""
        name = self._devices.name_of(device_id)
        key: _Key = (access.token_id, name, address[:45], agent[:_AGENT])
        now = self._gatekeeper.now()
        session = self._open.get(key)
        if session is None or now - session.last_seen_at > IDLE:
            session = self._open[key] = _Open(uuid4(), key, access.user_id, now, now)
        self._open.move_to_end(key)
        while len(self._open) > _MAX_SESSIONS:
            self._open.popitem(last=False)
        session.last_seen_at = now
        session.requests += requests
        session.bytes_in += received
        if received:
            _RECEIVED.inc(received)
        session.bytes_out += sent
        if len(self._changed) < _MAX_SESSIONS:
            self._changed[session.id] = session

    async def flush(self) -> None:
        """Write what changed. Raises ``DatabaseUnavailable``; nothing is lost then."""
        async with self._writing:
            changed = list(self._changed.values())
            if not changed:
                return
            self._changed = {}
            rows = [_row(session) for session in changed]
            fresh = [row for row, s in zip(rows, changed, strict=True) if not s.is_written]
            known = [
                {
                    "session": s.id,
                    "seen": row["last_seen_at"],
                    "r": row["requests"],
                    "i": row["bytes_in"],
                    "o": row["bytes_out"],
                }
                for row, s in zip(rows, changed, strict=True)
                if s.is_written
            ]
            try:
                async with self._database.begin() as connection:
                    if fresh:
                        await connection.execute(usage_sessions.insert(), fresh)
                    if known:
                        await connection.execute(_ADD, known)
            except BaseException:
                for session in changed:
                    self._changed.setdefault(session.id, session)
                raise
            for session, row in zip(changed, rows, strict=True):
                session.is_written = True
                session.requests -= row["requests"]
                session.bytes_in -= row["bytes_in"]
                session.bytes_out -= row["bytes_out"]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write every :data:`INTERVAL` seconds, and a last time at the end."""
        task = asyncio.create_task(self._write_for_ever(), name="usage of tokens")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            try:
                await self.flush()
            except (DatabaseUnavailable, SQLAlchemyError):
                log.warning(
                    "the last counts of %d sessions could not be written", len(self._changed)
                )

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.flush()
            except DatabaseUnavailable:
                continue
            except SQLAlchemyError:
                log.exception("counts of sessions can't be written")
                self._changed.clear()

    def _heard(self, ended: Ended) -> None:
        gone = [
            key
            for key, session in self._open.items()
            if ended.id
            == {"session": session.id, "token": key[0], "user": session.user_id}.get(ended.kind)
        ]
        for key in gone:
            del self._open[key]

    # --- lists

    async def listed(
        self,
        *,
        user_id: UUID | None = None,
        active_only: bool = False,
        limit: int,
        offset: int,
    ) -> tuple[list[Session], int]:
        """Sessions, last seen first, and how many there are in all."""
        where: list[ColumnElement[bool]] = []
        if user_id is not None:
            where.append(_u.user_id == user_id)
        if active_only:
            where += [_u.ended_at.is_(None), _u.last_seen_at > self._gatekeeper.now() - IDLE]
        query = select(usage_sessions).where(*where).order_by(_u.last_seen_at.desc(), _u.id)
        count = select(func.count()).select_from(usage_sessions).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_session(row) for row in rows], total

    async def end(self, actor: Actor, session_id: UUID, user_id: UUID | None = None) -> None:
        """End a session: what is open under its token is closed on every node.

        The token stays good: another request begins a new session. Raises ``NotFound``.
        """
        where = _u.id == session_id
        if user_id is not None:
            where &= _u.user_id == user_id
        async with self._database.begin() as connection:
            row = (await connection.execute(select(_u.token_id).where(where))).one_or_none()
            if row is None:
                raise NotFound("There is no such session.")
            await end_sessions(connection, where, "ended")
            await record(connection, actor, "session.ended", "session", session_id)
        await self._gatekeeper.announce(Ended("session", session_id, SESSION_ENDED), [])
        await self._gatekeeper.announce(Ended("holds", row.token_id, SESSION_ENDED), [])


_ADD = (
    update(usage_sessions)
    .where(_u.id == bindparam("session"))
    .values(
        last_seen_at=bindparam("seen"),
        requests=_u.requests + bindparam("r"),
        bytes_in=_u.bytes_in + bindparam("i"),
        bytes_out=_u.bytes_out + bindparam("o"),
    )
)


def _row(session: _Open) -> dict[str, Any]:
    token_id, device, address, agent = session.key
    return {
        "id": session.id,
        "token_id": token_id,
        "user_id": session.user_id,
        "device": device,
        "address": address or None,
        # No NUL or lone surrogate comes into PostgreSQL.
        "agent": agent.encode("utf-8", "replace").decode("utf-8").replace("\0", "") or None,
        "started_at": session.started_at,
        "last_seen_at": session.last_seen_at,
        "requests": session.requests,
        "bytes_in": session.bytes_in,
        "bytes_out": session.bytes_out,
    }


USAGE: web.AppKey[Usage] = web.AppKey("usage", Usage)
