"""Reading the audit log: one page of it, or all that fits a question, from the newest on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from zenzefi.audit.models import audit_logs
from zenzefi.db.base import storable
from zenzefi.db.engine import Database

_a = audit_logs.c
_NEWEST_FIRST = (_a.created_at.desc(), _a.id)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the audit log."""

    id: UUID
    created_at: datetime
    user_id: UUID | None
    action: str
    resource_type: str
    resource_id: str | None
    address: str | None
    agent: str | None
    request_id: str | None
    details: dict[str, Any]

    @property
    def ip_address(self) -> str | None:
        """The client's address, by its other name in the API."""
        return self.address

    @property
    def user_agent(self) -> str | None:
        """The client's User-Agent, by its other name in the API."""
        return self.agent


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows; what is ``None`` does not matter.

    ``about`` is a user who acted or was acted upon; ``since`` is included, ``until`` is not.
    """

    actor_id: UUID | None = None
    about: UUID | None = None
    action: str | None = None
    resource_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same for the database."""
        found: list[ColumnElement[bool]] = []
        if self.actor_id is not None:
            found.append(_a.user_id == self.actor_id)
        if self.about is not None:
            found.append(or_(_a.user_id == self.about, _a.resource_id == str(self.about)))
        if self.action is not None:
            found.append(_a.action == storable(self.action))
        if self.resource_type is not None:
            found.append(_a.resource_type == storable(self.resource_type))
        if self.since is not None:
            found.append(_a.created_at >= self.since)
        if self.until is not None:
            found.append(_a.created_at < self.until)
        return found


class AuditLog:
    """The service that reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(
        self, question: Question, *, limit: int, offset: int
    ) -> tuple[list[AuditRow], int]:
        """Rows, newest first, and how many there are in all."""
        where = question.conditions()
        query = select(audit_logs).where(*where).order_by(*_NEWEST_FIRST)
        count = select(func.count()).select_from(audit_logs).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_row(row) for row in rows], total

    async def each(
        self, question: Question, *, most: int, batch: int = 500
    ) -> AsyncIterator[AuditRow]:
        """At most ``most`` rows, newest first; ``batch`` of them are in memory at a time.

        No connection is held between batches, so that a slow reader holds none. Each goes on where
        the last one ended (not by an offset, which would read all before it again).
        """
        after: ColumnElement[bool] | None = None
        while most > 0:
            query = select(audit_logs).where(*question.conditions()).order_by(*_NEWEST_FIRST)
            if after is not None:
                query = query.where(after)
            async with self._database.read() as connection:
                rows = (await connection.execute(query.limit(min(batch, most)))).all()
            for row in rows:
                yield _row(row)
            if len(rows) < batch:
                return
            most -= len(rows)
            last = rows[-1]
            after = or_(
                _a.created_at < last.created_at,
                and_(_a.created_at == last.created_at, _a.id > last.id),
            )


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(**{**row._mapping, "details": json.loads(row.details)})


AUDIT_LOG: web.AppKey[AuditLog] = web.AppKey("audit_log", AuditLog)
