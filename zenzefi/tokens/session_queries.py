"""Sessions, read: lists for users and administrators, and the traffic of one token.

:mod:`zenzefi.tokens.sessions` writes them. ``bytes_in`` are bytes that the gate received from
clients, ``bytes_out`` bytes that it sent to them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, Row, func, select

from zenzefi.db.base import UtcDateTime, utcnow
from zenzefi.db.engine import Database
from zenzefi.tokens.clock import Clock
from zenzefi.tokens.devices import IDLE, KEEP
from zenzefi.tokens.models import SESSION_IDLE, access_tokens, device_claims, usage_sessions

_s = usage_sessions.c
_LATEST = 50
_CHARTED = 5000
_TOKENS_LISTED = 200


@dataclass(frozen=True, slots=True)
class Session:
    """One session: the requests of one client with one token, without a long pause.

    ``device`` is a short name of the device ID, ``agent`` the ``User-Agent`` header.
    """

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


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The latest sessions of one token, and the totals of all its sessions."""

    sessions: list[Session]
    requests: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class TokenTraffic:
    """The totals of one token's sessions."""

    token_id: UUID
    prefix: str
    name: str | None
    last_seen_at: datetime
    requests: int
    bytes_in: int
    bytes_out: int


def _session(row: Row[Any]) -> Session:
    return Session(**{name: row._mapping[name] for name in Session.__dataclass_fields__})


def is_live(now: datetime) -> ColumnElement[bool]:
    """The condition "not ended, and seen within :data:`~.models.SESSION_IDLE` before ``now``"."""
    return _s.ended_at.is_(None) & (_s.last_seen_at > now - SESSION_IDLE)


def distribute(sessions: Sequence[Session], edges: Sequence[datetime]) -> list[tuple[int, int]]:
    """``bytes_in`` and ``bytes_out`` between each two of the ascending ``edges``.

    Only the totals of a session are known. They are distributed evenly over the time from its start
    to its last request. Bytes before the first and after the last edge are left out.
    """
    found = [(0.0, 0.0)] * (len(edges) - 1)
    for session in sessions:
        duration = (session.last_seen_at - session.started_at).total_seconds()
        first = max(0, bisect_right(edges, session.started_at) - 1)
        for index in range(first, min(len(found), bisect_right(edges, session.last_seen_at))):
            begin, end = edges[index], edges[index + 1]
            if duration > 0:
                overlap = min(end, session.last_seen_at) - max(begin, session.started_at)
                share = max(0.0, overlap.total_seconds()) / duration
            else:
                share = float(begin <= session.last_seen_at < end)
            bytes_in, bytes_out = found[index]
            found[index] = (
                bytes_in + session.bytes_in * share,
                bytes_out + session.bytes_out * share,
            )
    return [(round(bytes_in), round(bytes_out)) for bytes_in, bytes_out in found]


class SessionQueries:
    """The service that reads sessions."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def listed(
        self,
        *,
        user_id: UUID | None = None,
        active_only: bool = False,
        limit: int,
        offset: int,
    ) -> tuple[list[Session], int]:
        """Sessions, last seen first, and the number of all sessions that match."""
        where: list[ColumnElement[bool]] = []
        if user_id is not None:
            where.append(_s.user_id == user_id)
        if active_only:
            where.append(is_live(self._clock.now()))
        query = select(usage_sessions).where(*where).order_by(_s.last_seen_at.desc(), _s.id)
        count = select(func.count()).select_from(usage_sessions).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_session(row) for row in rows], total

    async def of_token(self, token_id: UUID) -> TokenUsage:
        """The latest sessions of one token, and its totals."""
        latest = (
            select(usage_sessions)
            .where(_s.token_id == token_id)
            .order_by(_s.last_seen_at.desc())
            .limit(_LATEST)
        )
        totals = select(
            func.coalesce(func.sum(_s.requests), 0),
            func.coalesce(func.sum(_s.bytes_in), 0),
            func.coalesce(func.sum(_s.bytes_out), 0),
        ).where(_s.token_id == token_id)
        async with self._database.read() as connection:
            rows = (await connection.execute(latest)).all()
            requests, bytes_in, bytes_out = (await connection.execute(totals)).one()
        return TokenUsage(
            [_session(row) for row in rows], int(requests), int(bytes_in), int(bytes_out)
        )

    async def by_token(self, user_id: UUID, moment: datetime) -> list[TokenTraffic]:
        """Totals of a user's sessions that were seen after ``moment``, by token, busiest first.

        At most :data:`_TOKENS_LISTED` tokens are returned.
        """
        t = access_tokens.c
        traffic = func.sum(_s.bytes_in) + func.sum(_s.bytes_out)
        query = (
            select(
                *(_s.token_id, t.prefix, t.name, func.max(_s.last_seen_at, type_=UtcDateTime)),
                *(func.sum(_s.requests), func.sum(_s.bytes_in), func.sum(_s.bytes_out)),
            )
            .join_from(usage_sessions, access_tokens, t.id == _s.token_id)
            .where(_s.user_id == user_id, _s.last_seen_at > moment)
            .group_by(_s.token_id, t.prefix, t.name)
            .order_by(traffic.desc(), _s.token_id)
            .limit(_TOKENS_LISTED)
        )
        async with self._database.read() as connection:
            return [
                TokenTraffic(*row[:4], *(int(count) for count in row[4:]))
                for row in await connection.execute(query)
            ]

    async def since(
        self, moment: datetime, *, token_id: UUID | None = None, user_id: UUID | None = None
    ) -> list[Session]:
        """The sessions of one token, or of one user, seen after ``moment``, for a chart.

        Only the last :data:`_CHARTED` ones are returned.
        """
        whose = _s.user_id == user_id if token_id is None else _s.token_id == token_id
        query = (
            select(usage_sessions)
            .where(whose, _s.last_seen_at > moment)
            .order_by(_s.last_seen_at.desc())
            .limit(_CHARTED)
        )
        async with self._database.read() as connection:
            return [_session(row) for row in (await connection.execute(query)).all()]

    async def device_seen_at(self, token_id: UUID) -> datetime | None:
        """When the device that claims the token was last seen; ``None``: there is no claim."""
        query = select(device_claims.c.last_seen_at, utcnow().label("now"))
        query = query.where(device_claims.c.token_id == token_id)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None or found.now - found.last_seen_at > timedelta(seconds=IDLE + KEEP):
            return None
        seen: datetime = found.last_seen_at
        return seen


SESSION_QUERIES: web.AppKey[SessionQueries] = web.AppKey("session_queries", SessionQueries)
"""The application's :class:`SessionQueries`."""
