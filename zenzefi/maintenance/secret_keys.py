"""The check of ``SECRET_KEY``: against the stored tokens, and against the running nodes."""

from __future__ import annotations

import asyncio

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.keys import Keyring
from zenzefi.runtime.checks import TIMEOUT, Check
from zenzefi.runtime.nodes import conflicts, running_nodes
from zenzefi.settings import Settings
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.token_records import is_active

_c = access_tokens.c


async def check_keys(settings: Settings, database: Database) -> Check:
    """Check that the accepted keys decrypt the oldest and the newest valid token, and that the
    running nodes and these settings accept each other's issuing keys."""
    name, keyring = "secret key", Keyring.of(settings)
    issuing, *others = keyring.fingerprints
    detail = f"fingerprint {issuing}"
    if others:
        detail += f" (accepted too: {', '.join(others)})"
    try:
        async with asyncio.timeout(TIMEOUT):
            stored = await _stored(database)
            nodes = await running_nodes(database)
    except (DatabaseUnavailable, SQLAlchemyError, TimeoutError):
        return Check(name, ok=True, detail=detail)  # the check of the database reports it
    try:
        for one in stored:
            keyring.decrypt(one)
    except LookupError:
        return Check(
            name,
            ok=False,
            detail=f"{detail} does not decrypt all valid tokens: some were sold under another "
            "SECRET_KEY. Name that one in PREVIOUS_SECRET_KEYS",
            is_setting=True,
        )
    found = conflicts(keyring.fingerprints, nodes)
    if found:
        return Check(name, ok=False, detail=f"{detail}. {' '.join(found)}", is_setting=True)
    if stored:
        detail += ", decrypts the stored tokens"
    if nodes:
        detail += f", agrees with the running nodes ({len(nodes)})"
    return Check(name, ok=True, detail=detail)


async def _stored(database: Database) -> list[bytes]:
    """The newest token, and the oldest one that is still valid; encrypted."""
    newest = select(_c.token_encrypted).order_by(_c.created_at.desc()).limit(1)
    oldest = select(_c.token_encrypted).where(is_active()).order_by(_c.created_at).limit(1)
    async with database.read() as connection:
        return [
            bytes(one)
            for query in (newest, oldest)
            for one in (await connection.execute(query)).scalars()
        ]
