"""Who used a token, from where and how much: reading what the way through has counted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import Select, func, select

from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.tokens.devices import IDLE, KEEP
from zenzefi.tokens.models import device_claims, usage_sessions

_s = usage_sessions.c
_SESSIONS = 50
_CHARTED = 5000


@dataclass(frozen=True, slots=True)
class Session:
    """One use of a token from one address. ``received`` are the bytes that went to the user."""

    id: UUID
    address: str | None
    agent: str | None
    started_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    requests: int
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """All use of one token: the latest sessions, and totals over all of them."""

    sessions: list[Session]
    requests: int
    received: int
    sent: int


def spread(sessions: Sequence[Session], edges: Sequence[datetime]) -> list[tuple[int, int]]:
    """Bytes received and sent between each two of ``edges``, which ascend.

    Only a session's total is known: it counts evenly over the time from its start to its last
    request, and what lies outside of the edges does not count.
    """
    found = [(0.0, 0.0)] * (len(edges) - 1)
    for session in sessions:
        long = (session.last_seen_at - session.started_at).total_seconds()
        first = max(0, bisect_right(edges, session.started_at) - 1)
        for index in range(first, min(len(found), bisect_right(edges, session.last_seen_at))):
            begin, end = edges[index], edges[index + 1]
            if long > 0:
                both = min(end, session.last_seen_at) - max(begin, session.started_at)
                share = max(0.0, both.total_seconds()) / long
            else:
                share = float(begin <= session.last_seen_at < end)
            received, sent = found[index]
            found[index] = (received + session.received * share, sent + session.sent * share)
    return [(round(received), round(sent)) for received, sent in found]


def _listing(token_id: UUID) -> Select[Any]:
    return (
        select(
            _s.id,
            _s.address,
            _s.agent,
            _s.started_at,
            _s.last_seen_at,
            _s.ended_at,
            _s.requests,
            _s.bytes_out,
            _s.bytes_in,
        )
        .where(_s.token_id == token_id)
        .order_by(_s.last_seen_at.desc())
    )


class SessionQueries:
    """The service that reads them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_token(self, token_id: UUID) -> TokenUsage:
        """The use of one token."""
        listing = _listing(token_id).limit(_SESSIONS)
        totals = select(
            func.coalesce(func.sum(_s.requests), 0),
            func.coalesce(func.sum(_s.bytes_out), 0),
            func.coalesce(func.sum(_s.bytes_in), 0),
        ).where(_s.token_id == token_id)
        async with self._database.read() as connection:
            rows = (await connection.execute(listing)).all()
            requests, received, sent = (await connection.execute(totals)).one()
        return TokenUsage([Session(*row) for row in rows], int(requests), int(received), int(sent))

    async def since(self, token_id: UUID, moment: datetime) -> list[Session]:
        """The sessions of one token that were seen after ``moment``, for a chart; some thousands
        at most."""
        query = _listing(token_id).where(_s.last_seen_at > moment).limit(_CHARTED)
        async with self._database.read() as connection:
            return [Session(*row) for row in (await connection.execute(query)).all()]

    async def device_seen_at(self, token_id: UUID) -> datetime | None:
        """When the device that holds the token was last written down; ``None``: none holds it."""
        query = select(device_claims.c.last_seen_at, utcnow().label("now"))
        query = query.where(device_claims.c.token_id == token_id)
        async with self._database.read() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None or found.now - found.last_seen_at > timedelta(seconds=IDLE + KEEP):
            return None
        seen: datetime = found.last_seen_at
        return seen


SESSION_QUERIES: web.AppKey[SessionQueries] = web.AppKey("uses", SessionQueries)
