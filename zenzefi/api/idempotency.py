"""``Idempotency-Key``: a call that moves money, sent twice, moves it once.

The key's row is inserted first, in the very transaction of the work: either both are there or
neither. A second request with the key waits for the first (a moment; then 409 with
``Retry-After``) and gets the first one's answer. Refusals are not kept: after a top-up the same
purchase may be tried again under its key. Answers are encrypted, because they may hold a token.
Keys are one account's own, and good for a day at least (``ops/housekeeping`` sweeps them later).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID, uuid4

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.db.base import id_column, metadata, now_column
from zenzefi.db.engine import Database
from zenzefi.errors import Conflict, Invalid
from zenzefi.keys import Keyring

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PATIENCE = "3s"
_ModelT = TypeVar("_ModelT", bound=BaseModel)
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("key", String(255), nullable=False),
    Column("operation", String(50), nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    # Empty while the first request runs; encrypted, as it may hold a token's value.
    Column("response_body", LargeBinary),
    now_column("created_at"),
    UniqueConstraint("user_id", "key"),
)
Index("ix_idempotency_keys_created_at", idempotency_keys.c.created_at)
_k = idempotency_keys.c


class IdempotencyInFlight(Conflict):
    """The first request with this ``Idempotency-Key`` is still running."""

    code = "idempotency_in_flight"
    default = "A request with this Idempotency-Key is still running. Retry shortly."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


def key_of(request: web.BaseRequest) -> str | None:
    """The key sent, if any. Raises ``Invalid`` for one that is empty, repeated or no visible ASCII.

    As in draft-ietf-httpapi-idempotency-key-header; the quotes of its syntax may be left out.
    """
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    key = given[0].strip()
    if len(key) > 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or not _KEY.fullmatch(key):
        raise Invalid.field(
            "header",
            HEADER,
            type="idempotency_key",
            msg="must be sent once, as 1 to 255 visible ASCII characters",
            input=key[:100],
        )
    return key


def form_key(once: str, *typed: object) -> str:
    """The key of a form on a page, which carries ``once``: sent twice it is one request.

    Gone back and changed, it is another: what was ``typed`` is part of the key. Without ``once``
    (a form made by hand) each is one of its own.
    """
    what = hashlib.sha256(repr(typed).encode()).hexdigest()[:32]
    return f"page:{once[:64] or secrets.token_urlsafe(12)}:{what}"


class Idempotency:
    """Runs work that moves money, at most once per key."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def run(
        self,
        user_id: UUID,
        key: str | None,
        operation: str,
        body: BaseModel | None,
        answer: type[_ModelT],
        work: Callable[[AsyncConnection], Awaitable[_ModelT]],
    ) -> _ModelT:
        """The answer of ``work`` in one transaction, or the one it gave before under this key.

        Raises ``Invalid`` (422) for a key used with another body, ``IdempotencyInFlight`` (409).
        """
        if key is None:
            async with self._database.begin() as connection:
                return await work(connection)
        given = {} if body is None else body.model_dump()
        asked = hashlib.sha256(
            json.dumps([operation, given], default=str, sort_keys=True).encode()
        ).digest()
        async with self._database.begin() as connection:
            row_id = await self._claim(connection, user_id, key, operation, asked)
            if row_id is None:
                return await self._replay(connection, user_id, key, asked, answer)
            result = await work(connection)
            await connection.execute(
                update(idempotency_keys)
                .where(_k.id == row_id)
                .values(
                    response_body=self._keyring.encrypt(result.model_dump_json().encode()),
                )
            )
            return result

    async def _claim(
        self, connection: AsyncConnection, user_id: UUID, key: str, operation: str, asked: bytes
    ) -> UUID | None:
        values = {
            "id": uuid4(),
            "user_id": user_id,
            "key": key,
            "operation": operation,
            "request_hash": asked,
        }
        if self._database.dialect == "sqlite":
            result = await connection.execute(
                insert_sqlite(idempotency_keys).values(values).on_conflict_do_nothing()
            )
            return UUID(str(values["id"])) if result.rowcount == 1 else None
        await connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
        try:
            result = await connection.execute(
                insert_postgresql(idempotency_keys).values(values).on_conflict_do_nothing()
            )
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
                raise IdempotencyInFlight from error
            raise
        await connection.execute(text("SET LOCAL lock_timeout = 0"))
        return UUID(str(values["id"])) if result.rowcount == 1 else None

    async def _replay(
        self,
        connection: AsyncConnection,
        user_id: UUID,
        key: str,
        asked: bytes,
        answer: type[_ModelT],
    ) -> _ModelT:
        row = (
            await connection.execute(
                select(_k.request_hash, _k.response_body).where(
                    _k.user_id == user_id, _k.key == key
                )
            )
        ).one_or_none()
        if row is None:
            raise IdempotencyInFlight  # removed by retention between the two statements
        if row.request_hash != asked:
            raise Invalid.field(
                "header",
                HEADER,
                type="idempotency_key_reused",
                msg="This Idempotency-Key was used for another request. Use a new one.",
                input=key[:100],
            )
        if row.response_body is None:
            raise IdempotencyInFlight
        try:
            kept = self._keyring.decrypt(row.response_body)
        except LookupError:
            raise Conflict(
                "This Idempotency-Key was used, and its answer can't be read any more. Nothing was "
                "done again: look at your transactions."
            ) from None
        return answer.model_validate_json(kept)


IDEMPOTENCY: web.AppKey[Idempotency] = web.AppKey("idempotency", Idempotency)
