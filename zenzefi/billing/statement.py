"""Statements: a user's transactions as pages, as single receipts, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import Row, func, select

from zenzefi.billing.ledger import Kind, balance
from zenzefi.billing.models import transactions
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.printable import in_cell

_x = transactions.c
_BATCH = 500
_COLUMNS = ("number", "time", "type", "amount", "balance_after", "description", "id")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row of the ledger."""

    id: UUID
    seq: int
    amount: Decimal
    balance_after: Decimal
    transaction_type: str
    description: str
    payment_id: UUID | None
    token_id: UUID | None
    bundle_purchase_id: UUID | None
    created_at: datetime


def _transaction(row: Row[Any]) -> Transaction:
    return Transaction(**{name: row._mapping[name] for name in Transaction.__dataclass_fields__})


class Statements:
    """Reads the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balance(self, user_id: UUID) -> Decimal:
        """The current balance in ZNC."""
        async with self._database.read() as connection:
            return await balance(connection, user_id)

    async def listed(
        self, user_id: UUID, *, kind: Kind | None = None, limit: int, offset: int
    ) -> tuple[list[Transaction], int]:
        """A page of transactions, newest first, and the total count."""
        where = _x.user_id == user_id
        if kind is not None:
            where &= _x.transaction_type == kind.value
        query = select(transactions).where(where).order_by(_x.seq.desc())
        count = select(func.count()).select_from(transactions).where(where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [_transaction(row) for row in rows], total

    async def find(self, user_id: UUID, transaction_id: UUID) -> Transaction:
        """A transaction of this user. Raises ``NotFound``."""
        query = select(transactions).where(_x.user_id == user_id, _x.id == transaction_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("There is no such transaction.")
        return _transaction(row)

    async def csv(self, user_id: UUID, *, marked: bool = False) -> AsyncIterator[bytes]:
        """All transactions as CSV (RFC 4180), oldest first, in chunks of bounded size.

        ``marked``: begin with a byte order mark, without which Excel does not detect UTF-8.
        """
        out = io.StringIO()
        if marked:
            out.write("\ufeff")
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        last = 0
        while True:
            query = (
                select(transactions)
                .where(_x.user_id == user_id, _x.seq > last)
                .order_by(_x.seq)
                .limit(_BATCH)
            )
            async with self._database.read() as connection:
                rows = [_transaction(row) for row in await connection.execute(query)]
            for row in rows:
                last = row.seq
                writer.writerow(
                    (
                        row.seq,
                        row.created_at.astimezone(UTC).isoformat(),
                        row.transaction_type,
                        f"{row.amount:.2f}",
                        f"{row.balance_after:.2f}",
                        in_cell(row.description),
                        row.id,
                    )
                )
            yield out.getvalue().encode("utf-8")
            out.seek(0)
            out.truncate()
            if len(rows) < _BATCH:
                return


STATEMENTS: web.AppKey[Statements] = web.AppKey("statements", Statements)
