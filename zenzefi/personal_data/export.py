"""The download of a user's data: one zip file with each table as JSON and as CSV.

Secrets are left out: the values of access tokens, keyed hashes, the password.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import IO, Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import Column, Row, Select, Table, and_, or_, select

from zenzefi.accounts.models import api_keys, user_identities, users, web_sessions
from zenzefi.audit.models import audit_logs
from zenzefi.billing.models import orders, payments, promo_uses, transactions
from zenzefi.db.engine import Database
from zenzefi.printable import in_cell
from zenzefi.tokens.models import access_tokens, renewals, usage_sessions

_BATCH = 500
MAX_ROWS = 100_000
"""Rows of one table in a download; the newest are left out beyond it."""
_IN_MEMORY = 1024 * 1024  # bytes of a download before it goes to a temporary file
_PIECE = 64 * 1024
_CONCURRENT = 2  # downloads that one process prepares at the same time


@dataclass(frozen=True, slots=True)
class _Part:
    """One table of the download: its columns, and the columns of owner and time."""

    name: str
    table: Table
    columns: tuple[str, ...]
    owner: str = "user_id"
    time: str = "created_at"


_PARTS = (
    _Part(
        "account",
        users,
        (
            *("id", "email", "username", "full_name", "is_active", "currency_balance", "locale"),
            *("email_verified_at", "totp_enabled_at", "terms_version", "terms_accepted_at"),
            *("created_at", "updated_at"),
        ),
        owner="id",
    ),
    _Part(
        "access_tokens",
        access_tokens,
        (
            *("id", "prefix", "name", "duration_hours", "scope", "cost", "refunded"),
            *("created_at", "activated_at", "revoked_at", "revoked_reason"),
        ),
    ),
    _Part(
        "transactions",
        transactions,
        (
            *("id", "seq", "created_at", "transaction_type", "amount", "balance_after"),
            *("description", "token_id", "payment_id"),
        ),
    ),
    _Part(
        "payments",
        payments,
        (
            *("id", "provider", "status", "amount_znc", "amount_rub", "currency", "reversed_znc"),
            *("created_at", "updated_at", "credited_at"),
        ),
    ),
    _Part(
        "orders",
        orders,
        (
            *("id", "payment_id", "duration_hours", "scope", "bundle_id", "price", "status"),
            *("reason", "token_id", "bundle_purchase_id", "created_at", "updated_at"),
        ),
    ),
    _Part(
        "renewals",
        renewals,
        (
            *("id", "token_id", "ceiling", "status", "reason", "price", "next_token_id"),
            *("created_at", "updated_at"),
        ),
    ),
    _Part(
        "promo_codes",
        promo_uses,
        ("id", "promo_code_id", "token_id", "discount", "paid", "created_at"),
    ),
    _Part(
        "sessions",
        usage_sessions,
        (
            *("id", "token_id", "address", "agent", "started_at", "last_seen_at", "ended_at"),
            *("requests", "bytes_in", "bytes_out"),
        ),
        time="started_at",
    ),
    _Part(
        "sign_ins",
        web_sessions,
        ("id", "address", "agent", "created_at", "last_seen_at", "ended_at"),
    ),
    _Part(
        "identities",
        user_identities,
        ("id", "provider", "issuer", "subject", "email", "created_at", "last_used_at"),
    ),
    _Part(
        "api_keys",
        api_keys,
        (
            *("id", "name", "hint", "permissions", "created_at", "expires_at"),
            *("last_used_at", "last_address", "revoked_at"),
        ),
    ),
    _Part(
        "activity",
        audit_logs,
        ("id", "created_at", "action", "resource_type", "resource_id", "address", "agent"),
    ),
)


class Exports:
    """The service of downloads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free = asyncio.Semaphore(_CONCURRENT)

    async def download(self, user_id: UUID) -> AsyncIterator[bytes]:
        """The zip file in pieces. It is complete in a temporary file before the first piece."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            async with self._free:
                await self._write(user_id, file)
            file.seek(0)
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    async def _write(self, user_id: UUID, file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            for part in _PARTS:
                # zipfile writes one member at a time, so the JSON waits in a separate file.
                with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as objects:
                    with archive.open(f"{part.name}.csv", "w") as table:
                        # A byte order mark, without which Excel does not detect UTF-8.
                        table.write("\ufeff".encode() + _csv([part.columns]))
                        count = 0
                        async for rows in self._rows(part, user_id):
                            await asyncio.to_thread(_write_rows, part, rows, table, objects, count)
                            count += len(rows)
                    objects.write(b"\n]\n" if count else b"[]\n")
                    objects.seek(0)
                    await asyncio.to_thread(_copy, objects, archive, f"{part.name}.json")

    async def _rows(self, part: _Part, user_id: UUID) -> AsyncIterator[list[Row[Any]]]:
        """The rows of one table, oldest first, in batches; no connection is held in between."""
        columns = part.table.c
        time: Column[Any] = columns[part.time]
        query: Select[Any] = (
            select(*(columns[name] for name in part.columns), time.label("at_"))
            .where(columns[part.owner] == user_id)
            .order_by(time, columns.id)
            .limit(_BATCH)
        )
        after = query
        for _ in range(MAX_ROWS // _BATCH):
            async with self._database.read() as connection:
                rows: list[Row[Any]] = list((await connection.execute(after)).all())
            if rows:
                yield rows
            if len(rows) < _BATCH:
                return
            last = rows[-1]
            after = query.where(or_(time > last.at_, and_(time == last.at_, columns.id > last.id)))


def _write_rows(
    part: _Part, rows: list[Row[Any]], table: IO[bytes], objects: IO[bytes], count: int
) -> None:
    values = [[_plain(row._mapping[name]) for name in part.columns] for row in rows]
    table.write(_csv([["" if v is None else in_cell(str(v)) for v in line] for line in values]))
    for index, line in enumerate(values):
        objects.write(b"[\n" if count + index == 0 else b",\n")
        found = dict(zip(part.columns, line, strict=True))
        objects.write(json.dumps(found, ensure_ascii=False).encode())


def _csv(lines: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue().encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _copy(source: IO[bytes], archive: zipfile.ZipFile, name: str) -> None:
    with archive.open(name, "w") as member:
        while piece := source.read(_PIECE):
            member.write(piece)


EXPORTS: web.AppKey[Exports] = web.AppKey("exports", Exports)
