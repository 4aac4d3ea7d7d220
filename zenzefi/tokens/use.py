"""Who used a token, from where and how much: reading what the way through has counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from uuid import UUID

from aiohttp import web
from sqlalchemy import func, select

from zenzefi.db.engine import Database
from zenzefi.tokens.models import device_claims, usage_sessions

_s = usage_sessions.c
_SESSIONS = 50


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
class Use:
    """All use of one token: the latest sessions, and totals over all of them."""

    sessions: list[Session]
    requests: int
    received: int
    sent: int

    def by_day(self, zone: tzinfo) -> dict[date, tuple[int, int]]:
        """Bytes received and sent, by the day on which a session was last seen."""
        days: dict[date, tuple[int, int]] = {}
        for session in self.sessions:
            day = session.last_seen_at.astimezone(zone).date()
            received, sent = days.get(day, (0, 0))
            days[day] = (received + session.received, sent + session.sent)
        return days


class Uses:
    """The service that reads them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_token(self, token_id: UUID) -> Use:
        """The use of one token."""
        listing = (
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
            .limit(_SESSIONS)
        )
        totals = select(
            func.coalesce(func.sum(_s.requests), 0),
            func.coalesce(func.sum(_s.bytes_out), 0),
            func.coalesce(func.sum(_s.bytes_in), 0),
        ).where(_s.token_id == token_id)
        async with self._database.read() as connection:
            rows = (await connection.execute(listing)).all()
            requests, received, sent = (await connection.execute(totals)).one()
        return Use([Session(*row) for row in rows], int(requests), int(received), int(sent))

    async def device_seen_at(self, token_id: UUID) -> datetime | None:
        """When the device that holds the token was last written down; ``None``: none holds it."""
        query = select(device_claims.c.last_seen_at).where(device_claims.c.token_id == token_id)
        async with self._database.read() as connection:
            found: datetime | None = (await connection.execute(query)).scalar_one_or_none()
        return found


USES: web.AppKey[Uses] = web.AppKey("uses", Uses)
