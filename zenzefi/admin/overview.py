"""The numbers of the administrators' overview: totals, and the last two weeks by day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from aiohttp import web
from sqlalchemy import Column, Select, func, select

from zenzefi.accounts.models import users
from zenzefi.billing.models import transactions
from zenzefi.db.base import Money
from zenzefi.db.engine import Database
from zenzefi.tokens import session_queries
from zenzefi.tokens.models import access_tokens, usage_sessions
from zenzefi.tokens.token_records import is_active

DAYS = 14
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Overview:
    """Totals; the lists have one value for each of the last :data:`DAYS` days (UTC)."""

    users: int
    active_tokens: int
    live_sessions: int
    spent: Decimal
    registered: list[int]
    sold: list[int]
    spent_daily: list[Decimal]
    bytes_out: list[int]


class Overviews:
    """Computes the overview."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> Overview:
        """The current overview."""
        moment = datetime.now(UTC)
        first = moment.date() - timedelta(days=DAYS - 1)
        since = datetime(first.year, first.month, first.day, tzinfo=UTC)
        paid = transactions.c.transaction_type.in_(("purchase", "refund"))
        spending = func.coalesce(func.sum(-transactions.c.amount, type_=Money), 0)
        live = select(func.count()).where(session_queries.is_live(moment))

        def daily(time: Column[datetime], what: Any) -> Select[Any]:
            day = func.date(time)
            return select(day, what).where(time >= since).group_by(day)

        async with self._database.read() as connection:

            async def one(query: Select[Any]) -> Any:
                return (await connection.execute(query)).scalar_one()

            async def series(query: Select[Any], kind: Callable[[Any], _T]) -> list[_T]:
                rows = await connection.execute(query)
                found = {str(day): kind(number) for day, number in rows}
                return [found.get(str(first + timedelta(days=n)), kind(0)) for n in range(DAYS)]

            spent = await series(daily(transactions.c.created_at, spending).where(paid), Decimal)
            return Overview(
                users=int(await one(select(func.count()).select_from(users))),
                active_tokens=int(
                    await one(select(func.count()).select_from(access_tokens).where(is_active()))
                ),
                live_sessions=int(await one(live)),
                spent=sum(spent, Decimal("0.00")),
                registered=await series(daily(users.c.created_at, func.count()), int),
                sold=await series(daily(access_tokens.c.created_at, func.count()), int),
                spent_daily=spent,
                bytes_out=await series(
                    daily(
                        usage_sessions.c.last_seen_at,
                        func.coalesce(func.sum(usage_sessions.c.bytes_out), 0),
                    ),
                    int,
                ),
            )


OVERVIEWS: web.AppKey[Overviews] = web.AppKey("overviews", Overviews)
