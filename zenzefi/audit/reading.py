"""Reads the audit log: one page, or all rows that match a filter, newest first."""

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
        """Another name of ``address`` in the API."""
        return self.address

    @property
    def user_agent(self) -> str | None:
        """Another name of ``agent`` in the API."""
        return self.agent


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selects rows of the audit log; ``None`` means any.

    ``about`` is a user, as actor or as resource; ``since`` is inclusive, ``until`` exclusive.
    """

    actor_id: UUID | None = None
    about: UUID | None = None
    action: str | None = None
    resource_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter as SQL conditions."""
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
    """Reads the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(
        self, audit_filter: AuditFilter, *, limit: int, offset: int
    ) -> tuple[list[AuditRow], int]:
        """A page of rows, newest first, and the total count."""
        where = audit_filter.conditions()
        query = select(audit_logs).where(*where).order_by(*_NEWEST_FIRST)
        count = select(func.count()).select_from(audit_logs).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_row(row) for row in rows], total

    async def each(
        self, audit_filter: AuditFilter, *, most: int, batch: int = 500
    ) -> AsyncIterator[AuditRow]:
        """At most ``most`` rows, newest first, read in batches.

        No connection is held between batches, so that slow readers do not exhaust the pool. Each
        batch continues after the last row (an offset would read all rows before it again).
        """
        after: ColumnElement[bool] | None = None
        while most > 0:
            query = select(audit_logs).where(*audit_filter.conditions()).order_by(*_NEWEST_FIRST)
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
