"""Sessions of use: who uses which token, since when, how much; written in batches.

A session is one (token, device, address, agent) without a pause of half an hour. A token has a
bounded number of them open; what comes beyond is counted in one more, "other devices".
Requests count in memory; every few seconds what changed is written in one transaction, and once
more at shutdown. A crash loses one interval at most; without the database the counts wait, bounded.
A session is written by the process that began it alone, and in whole sums: writing it twice (after
a COMMIT whose answer was lost) changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.audit.log import Actor, record
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.db.upsert import insert_into
from zenzefi.errors import GateError, NotFound
from zenzefi.observability.metrics import CACHE_ENTRIES, PROXY_BYTES
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.devices import Devices
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.models import usage_sessions
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.validation import SESSION_ENDED, TokenValidator

_RECEIVED = PROXY_BYTES.labels("received")
log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two writes: what a crash may lose."""
IDLE = timedelta(minutes=30)
"""A session that was silent for longer is over; the next request begins a new one."""
_TOUCH = timedelta(minutes=1)
"""How often a session is written that goes on (a socket is open) and counts nothing new."""
_MAX_SESSIONS = 20_000
MAX_OPEN_OF_TOKEN = 20
"""Sessions that one token has open in this process; further ones are counted together."""
OTHERS = "other devices"
"""The agent of the session in which a token's further uses are counted."""
_SETTLED_AT_ONCE = 500
_AGENT = 300
_COUNTED = ("last_seen_at", "requests", "bytes_in", "bytes_out")
_REASONS = {"token": "revoked", "user": "deactivated", "session": "ended"}
_u = usage_sessions.c
_Key = tuple[UUID, str | None, str, str]


@dataclass(slots=True)
class _OpenSession:
    id: UUID
    key: _Key
    user_id: UUID
    started_at: datetime
    last_seen_at: datetime
    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    ended_at: datetime | None = None
    end_reason: str | None = None


Progress = Callable[[], tuple[int, int]]
"""Bytes received from and sent to the browser so far, in one request or WebSocket."""


class TrackedRequest:
    """One request on its way: counted while it lasts, however long that is.

    A context manager. A request that ended in a refusal of the gate (its upstream was away) and
    moved no byte is not counted.
    """

    __slots__ = ("_is_counted", "_received", "_sent", "_session", "_usage", "progress")

    def __init__(self, usage: SessionTracker, session: _OpenSession) -> None:
        self._usage = usage
        self._session = session
        self._is_counted = False
        self._received = 0
        self._sent = 0
        self.progress: Progress | None = None
        """Set by whoever moves the bytes."""

    def settle(self) -> None:
        """Add what is new to the session."""
        received, sent = (0, 0) if self.progress is None else self.progress()
        self._usage.add(
            self._session,
            requests=0 if self._is_counted else 1,
            received=received - self._received,
            sent=sent - self._sent,
        )
        self._is_counted = True
        self._received, self._sent = received, sent

    def __enter__(self) -> Self:
        self._usage.uses.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._usage.uses.discard(self)
        is_moved = self.progress is not None and any(self.progress())
        if is_moved or self._is_counted or not isinstance(error, GateError):
            self.settle()


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


class SessionTracker:
    """Counts uses, and keeps the list of sessions."""

    def __init__(
        self, database: Database, token_validator: TokenValidator, devices: Devices
    ) -> None:
        self._database = database
        self._token_validator = token_validator
        self._devices = devices
        self._open: OrderedDict[_Key, _OpenSession] = OrderedDict()
        self._of_token: dict[UUID, set[_Key]] = {}  # the keys of what is open, by token
        self._changed: dict[UUID, _OpenSession] = {}
        self.uses: set[TrackedRequest] = set()
        self._writing = asyncio.Lock()
        token_validator.on_end(self._heard)

    def begin(self, access: TokenAccess, who: ClientIdentity) -> TrackedRequest:
        """A request has been admitted; to be entered for as long as it lasts."""
        return TrackedRequest(self, self._session_of(access, who))

    def note(
        self,
        access: TokenAccess,
        *,
        device_id: str | None,
        address: str,
        agent: str,
        received: int,
        sent: int,
        requests: int = 1,
    ) -> None:
        """Requests ended: bytes received from and sent to the browser. Never waits."""
        session = self._session_of(access, ClientIdentity(device_id, address, agent))
        self.add(session, requests=requests, received=received, sent=sent)

    def _session_of(self, access: TokenAccess, who: ClientIdentity) -> _OpenSession:
        now = self._token_validator.now()
        key = self._place(self._key(access.token_id, who), now)
        session = self._open.get(key)
        if session is None or now - session.last_seen_at > IDLE:
            session = self._open[key] = _OpenSession(uuid4(), key, access.user_id, now, now)
            if self._token_validator.cache.is_doubtful(access):
                # What a revoked token still had under way is counted, but does not go on.
                session.ended_at, session.end_reason = now, "revoked"
        self._open.move_to_end(key)
        self._of_token.setdefault(access.token_id, set()).add(key)
        while len(self._open) > _MAX_SESSIONS:
            self._forget(next(iter(self._open)))
        return session

    def _place(self, key: _Key, now: datetime) -> _Key:
        """The session to count in: its own, or that for everything else of a busy token."""
        keys = self._of_token.get(key[0], set())
        if key in keys or len(keys) < MAX_OPEN_OF_TOKEN:
            return key
        for one in [k for k in keys if now - self._open[k].last_seen_at > IDLE]:
            self._forget(one)
        return key if len(keys) < MAX_OPEN_OF_TOKEN else _others(key[0])

    def _forget(self, key: _Key) -> None:
        del self._open[key]
        keys = self._of_token[key[0]]
        keys.discard(key)
        if not keys:
            del self._of_token[key[0]]

    def add(self, session: _OpenSession, *, requests: int, received: int, sent: int) -> None:
        """Count; with nothing new it only says, now and then, that the session goes on."""
        now = self._token_validator.now()
        if not (requests or received or sent) and now - session.last_seen_at < _TOUCH:
            return
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
            for number, use in enumerate(list(self.uses), 1):
                if use in self.uses:  # else it has ended meanwhile, and settled by itself
                    use.settle()
                if not number % _SETTLED_AT_ONCE:
                    await asyncio.sleep(0)  # thousands of sockets must not hold up the loop
            changed = list(self._changed.values())
            if not changed:
                return
            self._changed = {}
            try:
                await self._write(changed)
            except BaseException:
                for session in changed:
                    self._changed.setdefault(session.id, session)
                raise

    async def _write(self, sessions: list[_OpenSession]) -> None:
        statement = insert_into(self._database.dialect, usage_sessions)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=[_u.id],
            set_={
                **{name: new[name] for name in _COUNTED},
                # An end that was written down elsewhere stays as it is.
                **{name: func.coalesce(_u[name], new[name]) for name in ("ended_at", "end_reason")},
            },
        )
        rows = [_row(session) for session in sessions]
        try:
            async with self._database.begin() as connection:
                await connection.execute(statement, rows)
        except SQLAlchemyError:
            # One that can't be written must not take the others along.
            log.exception("counts of sessions can't be written together; trying one by one")
            for row in rows:
                try:
                    async with self._database.begin() as connection:
                        await connection.execute(statement, [row])
                except SQLAlchemyError:
                    log.warning("the counts of session %s are lost", row["id"])

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
            except DatabaseUnavailable:
                log.warning(
                    "the last counts of %d sessions could not be written", len(self._changed)
                )

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            CACHE_ENTRIES.labels("sessions").set(len(self._open))
            CACHE_ENTRIES.labels("unwritten_sessions").set(len(self._changed))
            with suppress(DatabaseUnavailable):
                await self.flush()

    def _heard(self, ended: InvalidationMessage) -> None:
        if ended.kind == "token":
            gone = [self._open[key] for key in self._of_token.get(ended.id, ())]
        elif ended.kind == "user":
            gone = [s for s in self._open.values() if s.user_id == ended.id]
        elif ended.kind == "session":
            gone = [s for s in self._open.values() if s.id == ended.id]
        else:
            return
        for session in gone:
            self._forget(session.key)
            session.ended_at, session.end_reason = self._token_validator.now(), _REASONS[ended.kind]
            # Only the process that began a session has something of it open.
            if ended.kind == "session":
                is_meant = partial(self._is_of, session.key)
                self._token_validator.open_connections.end_of(
                    session.key[0], is_meant, ended.reason
                )

    def _is_of(self, key: _Key, who: ClientIdentity) -> bool:
        own = self._key(key[0], who)
        return own == key or (key == _others(key[0]) and own not in self._open)

    def _key(self, token_id: UUID, who: ClientIdentity) -> _Key:
        name = self._devices.name_of(who.device_id)
        return token_id, name, who.address[:45], who.agent[:_AGENT]

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
            where += [_u.ended_at.is_(None), _u.last_seen_at > self._token_validator.now() - IDLE]
        query = select(usage_sessions).where(*where).order_by(_u.last_seen_at.desc(), _u.id)
        count = select(func.count()).select_from(usage_sessions).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_session(row) for row in rows], total

    async def end(self, actor: Actor, session_id: UUID, user_id: UUID | None = None) -> None:
        """End a session: what it has open is closed, on whatever node.

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
        await self._token_validator.announce(
            InvalidationMessage("session", session_id, SESSION_ENDED), []
        )


def _others(token_id: UUID) -> _Key:
    return token_id, None, "", OTHERS


def _row(session: _OpenSession) -> dict[str, Any]:
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
        "ended_at": session.ended_at,
        "end_reason": session.end_reason,
    }


SESSION_TRACKER: web.AppKey[SessionTracker] = web.AppKey("usage", SessionTracker)
