"""Sessions, written: which client uses which token, since when and how much.

A session is the requests of one token, device, address and user agent without a pause of
:data:`~.models.SESSION_IDLE`. :mod:`zenzefi.tokens.session_queries` reads sessions.

A token has at most :data:`MAX_OPEN_OF_TOKEN` open sessions in one process. Further clients are
counted together in one more session with the agent :data:`OTHERS`, so that a client can't fill the
table by varying its headers.

Requests are counted in memory. The sessions that changed are written every :data:`INTERVAL` seconds
in one transaction, and once more at shutdown. A crash loses at most one interval. Without the
database the counts stay in memory, up to a bound. A session is written only by the process that
began it, and as totals, so that a transaction may be repeated after its result was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.audit.log import Actor, record
from zenzefi.bounded import BoundedDict
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.db.upsert import insert_into
from zenzefi.errors import GateError, NotFound
from zenzefi.observability.metrics import CACHE_ENTRIES, PROXY_BYTES
from zenzefi.tasks import repeat_every
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.devices import Devices
from zenzefi.tokens.invalidation import SESSION_ENDED, InvalidationMessage
from zenzefi.tokens.models import SESSION_IDLE, usage_sessions
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.validation import TokenValidator

_RECEIVED = PROXY_BYTES.labels("received")
log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two writes. A crash loses the counts of this time."""
MAX_OPEN_OF_TOKEN = 20
"""Open sessions of one token in this process. Further clients are counted together."""
OTHERS = "other devices"
"""The agent of the session in which the further clients of a token are counted."""
_TOUCH = timedelta(minutes=1)
"""How often a session without new counts is written while a connection is open."""
_MAX_SESSIONS = 20_000
_COUNTED_AT_ONCE = 500  # requests in progress between two iterations of the event loop
_MAX_AGENT = 300  # characters
_COUNTERS = ("last_seen_at", "requests", "bytes_in", "bytes_out")
_END_REASONS = {"token": "revoked", "user": "deactivated", "session": "ended"}
_s = usage_sessions.c
_Key = tuple[UUID, str | None, str, str]  # token, short name of the device, address, agent


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
"""Returns ``bytes_in`` and ``bytes_out`` of one request or WebSocket so far."""


class TrackedRequest:
    """One request (or WebSocket) in progress. Its bytes are counted while it lasts.

    It is a context manager. A request that failed with an error of the gate, such as an unavailable
    upstream, before any byte was transferred is not counted.
    """

    __slots__ = ("_bytes_in", "_bytes_out", "_is_counted", "_session", "_tracker", "progress")

    def __init__(self, tracker: SessionTracker, session: _OpenSession) -> None:
        self._tracker = tracker
        self._session = session
        self._is_counted = False
        self._bytes_in = 0
        self._bytes_out = 0
        self.progress: Progress | None = None
        """Set by the code that transfers the bytes."""

    def count(self) -> None:
        """Add the bytes since the last call to the session, and the request at the first call."""
        bytes_in, bytes_out = (0, 0) if self.progress is None else self.progress()
        self._tracker.add(
            self._session,
            requests=0 if self._is_counted else 1,
            bytes_in=bytes_in - self._bytes_in,
            bytes_out=bytes_out - self._bytes_out,
        )
        self._is_counted = True
        self._bytes_in, self._bytes_out = bytes_in, bytes_out

    def __enter__(self) -> Self:
        self._tracker.in_progress.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tracker.in_progress.discard(self)
        has_bytes = self.progress is not None and any(self.progress())
        if has_bytes or self._is_counted or not isinstance(error, GateError):
            self.count()


async def end_sessions(
    connection: AsyncConnection, condition: ColumnElement[bool], reason: str
) -> int:
    """Mark sessions as ended inside the caller's transaction, and return their number."""
    result = await connection.execute(
        update(usage_sessions)
        .where(condition, _s.ended_at.is_(None))
        .values(ended_at=utcnow(), end_reason=reason)
    )
    return int(result.rowcount)


class SessionTracker:
    """Counts requests by session, writes the sessions, and ends them."""

    def __init__(
        self, database: Database, token_validator: TokenValidator, devices: Devices
    ) -> None:
        self._database = database
        self._token_validator = token_validator
        self._devices = devices
        self._open: BoundedDict[_Key, _OpenSession] = BoundedDict(
            _MAX_SESSIONS, lambda key, _: self._remove_key(key)
        )
        self._of_token: dict[UUID, set[_Key]] = {}  # the keys of open sessions by token
        self._changed: dict[UUID, _OpenSession] = {}
        self.in_progress: set[TrackedRequest] = set()
        self._writing = asyncio.Lock()
        token_validator.on_invalidation(self._on_invalidation)

    # --- counting

    def begin(self, access: TokenAccess, client: ClientIdentity) -> TrackedRequest:
        """Track an admitted request. Enter the result for as long as the request lasts."""
        return TrackedRequest(self, self._session_of(access, client))

    def note(
        self,
        access: TokenAccess,
        *,
        device_id: str | None,
        address: str,
        agent: str,
        bytes_in: int,
        bytes_out: int,
        requests: int = 1,
    ) -> None:
        """Count requests that have ended. It never waits."""
        session = self._session_of(access, ClientIdentity(device_id, address, agent))
        self.add(session, requests=requests, bytes_in=bytes_in, bytes_out=bytes_out)

    def add(self, session: _OpenSession, *, requests: int, bytes_in: int, bytes_out: int) -> None:
        """Add to a session. Without anything new, only its time is updated now and then."""
        now = self._token_validator.now()
        if not (requests or bytes_in or bytes_out) and now - session.last_seen_at < _TOUCH:
            return
        session.last_seen_at = now
        session.requests += requests
        session.bytes_in += bytes_in
        if bytes_in:
            _RECEIVED.inc(bytes_in)
        session.bytes_out += bytes_out
        if len(self._changed) < _MAX_SESSIONS:
            self._changed[session.id] = session

    def _session_of(self, access: TokenAccess, client: ClientIdentity) -> _OpenSession:
        now = self._token_validator.now()
        key = self._open_key(self._key(access.token_id, client), now)
        session = self._open.refresh(key)
        if session is None or now - session.last_seen_at > SESSION_IDLE:
            session = _OpenSession(uuid4(), key, access.user_id, now, now)
            if self._token_validator.cache.must_recheck(access):
                # The last requests of a revoked token are counted in a session that has ended.
                session.ended_at, session.end_reason = now, "revoked"
            self._of_token.setdefault(access.token_id, set()).add(key)
            self._open[key] = session
        return session

    def _open_key(self, key: _Key, now: datetime) -> _Key:
        """``key``, or the key of :data:`OTHERS` if the token has too many open sessions."""
        keys = self._of_token.get(key[0], set())
        if key in keys or len(keys) < MAX_OPEN_OF_TOKEN:
            return key
        for idle in [k for k in keys if now - self._open[k].last_seen_at > SESSION_IDLE]:
            self._close(idle)
        return key if len(keys) < MAX_OPEN_OF_TOKEN else _others(key[0])

    def _close(self, key: _Key) -> None:
        del self._open[key]
        self._remove_key(key)

    def _remove_key(self, key: _Key) -> None:
        keys = self._of_token[key[0]]
        keys.discard(key)
        if not keys:
            del self._of_token[key[0]]

    def _key(self, token_id: UUID, client: ClientIdentity) -> _Key:
        name = self._devices.name_of(client.device_id)
        return token_id, name, client.address[:45], client.agent[:_MAX_AGENT]

    # --- writing

    async def flush(self) -> None:
        """Write the sessions that changed.

        Raises ``DatabaseUnavailable``; the sessions are then written by the next call.
        """
        async with self._writing:
            for number, request in enumerate(list(self.in_progress), 1):
                if request in self.in_progress:  # otherwise it has ended and counted itself
                    request.count()
                if not number % _COUNTED_AT_ONCE:
                    await asyncio.sleep(0)  # thousands of WebSockets must not block the event loop
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
            index_elements=[_s.id],
            set_={
                **{name: new[name] for name in _COUNTERS},
                # The first end that was written stays.
                **{name: func.coalesce(_s[name], new[name]) for name in ("ended_at", "end_reason")},
            },
        )
        rows = [_row(session) for session in sessions]
        try:
            async with self._database.begin() as connection:
                await connection.execute(statement, rows)
        except SQLAlchemyError:
            # One invalid row must not prevent that the others are written.
            log.exception("failed to write sessions together; writing one by one")
            for row in rows:
                try:
                    async with self._database.begin() as connection:
                        await connection.execute(statement, [row])
                except SQLAlchemyError:
                    log.warning("session counts lost: session=%s", row["id"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write sessions periodically while the context is open, and once more at its exit."""
        try:
            async with repeat_every(
                lambda: INTERVAL,
                self._flush_periodically,
                name="session counts",
                ignored=(DatabaseUnavailable,),
            ):
                yield
        finally:
            try:
                await self.flush()
            except DatabaseUnavailable:
                log.warning("session counts lost at shutdown: sessions=%d", len(self._changed))

    async def _flush_periodically(self) -> None:
        CACHE_ENTRIES.labels("sessions").set(len(self._open))
        CACHE_ENTRIES.labels("unwritten_sessions").set(len(self._changed))
        await self.flush()

    # --- ending

    async def end(self, actor: Actor, session_id: UUID, user_id: UUID | None = None) -> None:
        """End a session, and close its connections on every node.

        The token stays valid: another request begins a new session. ``user_id`` restricts it to
        sessions of this user. Raises ``NotFound``.
        """
        condition = _s.id == session_id
        if user_id is not None:
            condition &= _s.user_id == user_id
        async with self._database.begin() as connection:
            row = (await connection.execute(select(_s.token_id).where(condition))).one_or_none()
            if row is None:
                raise NotFound("There is no such session.")
            await end_sessions(connection, condition, "ended")
            await record(connection, actor, "session.ended", "session", session_id)
        message = InvalidationMessage("session", session_id, SESSION_ENDED)
        await self._token_validator.announce(message, [])

    def _on_invalidation(self, message: InvalidationMessage) -> None:
        if message.kind == "token":
            ended = [self._open[key] for key in self._of_token.get(message.id, ())]
        elif message.kind == "user":
            ended = [s for s in self._open.values() if s.user_id == message.id]
        elif message.kind == "session":
            ended = [s for s in self._open.values() if s.id == message.id]
        else:
            return
        for session in ended:
            self._close(session.key)
            session.ended_at = self._token_validator.now()
            session.end_reason = _END_REASONS[message.kind]
            # Only the process that began a session has connections of it.
            if message.kind == "session":
                is_meant = partial(self._is_of, session.key)
                self._token_validator.open_connections.end_clients(
                    session.key[0], is_meant, message.reason
                )

    def _is_of(self, key: _Key, client: ClientIdentity) -> bool:
        own = self._key(key[0], client)
        return own == key or (key == _others(key[0]) and own not in self._open)


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
        # PostgreSQL accepts neither NUL nor lone surrogates.
        "agent": agent.encode("utf-8", "replace").decode("utf-8").replace("\0", "") or None,
        "started_at": session.started_at,
        "last_seen_at": session.last_seen_at,
        "requests": session.requests,
        "bytes_in": session.bytes_in,
        "bytes_out": session.bytes_out,
        "ended_at": session.ended_at,
        "end_reason": session.end_reason,
    }


SESSION_TRACKER: web.AppKey[SessionTracker] = web.AppKey("session_tracker", SessionTracker)
"""The application's :class:`SessionTracker`."""
