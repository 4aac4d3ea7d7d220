"""``Idempotency-Key``: a repeated call that moves money has one effect and one response.

Theory of operation
===================

One row of ``idempotency_keys`` per user and key, in one of three states:

===========  =================================================================================
absent       the key is unused; the next request with it does the work
in flight    inserted by a transaction that has not ended; other transactions can't see the row,
             but their INSERT of the same key waits for that transaction (unique constraint)
completed    committed with the encrypted response
===========  =================================================================================

A request inserts the row and does its work in the same transaction:

- The INSERT succeeds: the work runs, its response is stored in the row, the transaction commits.
- The INSERT finds a completed row: the stored response is returned, and no work is done. If the
  request differs from the first one (hash of operation and body), the result is 422.
- The INSERT waits longer than ``_LOCK_TIMEOUT`` (PostgreSQL): 409 with ``Retry-After``. SQLite has
  one writer, so there the second request waits for the whole first transaction.

Guaranteed
----------
- The work takes effect at most once per user and key: the row commits with the work or not at all.
  A crash in between leaves the key unused.
- Errors are not stored. A purchase that failed for lack of money can be repeated with the same key
  after a top-up.
- Responses are encrypted at rest, because they may contain an access token.
- Keys of different users are independent. A key is valid for a day at least;
  ``maintenance/housekeeping.py`` deletes older ones.
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
from sqlalchemy.exc import DBAPIError

from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import id_column, metadata, now_column
from zenzefi.db.engine import Database
from zenzefi.db.upsert import insert_into
from zenzefi.errors import Conflict, Invalid
from zenzefi.keys import Keyring

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_LOCK_TIMEOUT = "3s"
_ModelT = TypeVar("_ModelT", bound=BaseModel)
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("key", String(255), nullable=False),
    Column("operation", String(50), nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    # Empty until the work is done; encrypted, because it may contain an access token.
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
    """The key of a request, if present. Raises ``Invalid`` unless it is 1 to 255 visible ASCII.

    The header is that of draft-ietf-httpapi-idempotency-key-header; the quotes of its syntax are
    optional, and a repeated header is invalid.
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
    """The key of a form on a page.

    ``once`` is a random value in the form, so that a form sent twice counts as one request.
    ``typed`` are the fields: a changed form is a new request. Without ``once`` (a request that was
    not made by the page's form) the key is random.
    """
    fields = hashlib.sha256(repr(typed).encode()).hexdigest()[:32]
    return f"page:{once[:64] or secrets.token_urlsafe(12)}:{fields}"


class Idempotency:
    """Runs work at most once per user and key."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def run(
        self,
        user_id: UUID,
        key: str | None,
        operation: str,
        body: BaseModel | None,
        response: type[_ModelT],
        work: Callable[[AsyncConnection], Awaitable[_ModelT]],
    ) -> _ModelT:
        """The response of ``work``, run in one transaction, or the stored one of this key.

        Raises ``Invalid`` (422) for a key that was used with another operation or body,
        ``IdempotencyInFlight`` (409), and ``Conflict`` if the stored response can't be decrypted.
        """
        if key is None:
            async with self._database.begin() as connection:
                return await work(connection)
        fields = {} if body is None else body.model_dump()
        request_hash = hashlib.sha256(
            json.dumps([operation, fields], default=str, sort_keys=True).encode()
        ).digest()
        async with self._database.begin() as connection:
            row_id = await self._claim(connection, user_id, key, operation, request_hash)
            if row_id is None:
                return await self._replay(connection, user_id, key, request_hash, response)
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
        self,
        connection: AsyncConnection,
        user_id: UUID,
        key: str,
        operation: str,
        request_hash: bytes,
    ) -> UUID | None:
        """Insert the key's row and return its ID; ``None`` if the key exists.

        Raises ``IdempotencyInFlight`` if the first request did not end within ``_LOCK_TIMEOUT``.
        """
        row_id = uuid4()
        statement = (
            insert_into(self._database.dialect, idempotency_keys)
            .values(
                id=row_id, user_id=user_id, key=key, operation=operation, request_hash=request_hash
            )
            .on_conflict_do_nothing()
        )
        if self._database.dialect == "sqlite":
            result = await connection.execute(statement)
            return row_id if result.rowcount == 1 else None
        await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        try:
            result = await connection.execute(statement)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
                raise IdempotencyInFlight from error
            raise
        await connection.execute(text("SET LOCAL lock_timeout = 0"))
        return row_id if result.rowcount == 1 else None

    async def _replay(
        self,
        connection: AsyncConnection,
        user_id: UUID,
        key: str,
        request_hash: bytes,
        response: type[_ModelT],
    ) -> _ModelT:
        """The stored response of a completed key."""
        row = (
            await connection.execute(
                select(_k.request_hash, _k.response_body).where(
                    _k.user_id == user_id, _k.key == key
                )
            )
        ).one_or_none()
        if row is None:
            raise IdempotencyInFlight  # deleted by housekeeping between the two statements
        if row.request_hash != request_hash:
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
            stored = self._keyring.decrypt(row.response_body)
        except LookupError:
            raise Conflict(
                "This Idempotency-Key was used, and its response can no longer be decrypted. "
                "Nothing was done again: check your transactions."
            ) from None
        return response.model_validate_json(stored)


IDEMPOTENCY: web.AppKey[Idempotency] = web.AppKey("idempotency", Idempotency)
