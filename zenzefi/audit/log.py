"""Writes the audit log, in the transaction of the action, so that both commit or neither."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from zenzefi.audit.models import audit_logs
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import storable

_MOST_OF_AGENT = 300  # characters of a User-Agent that are kept


@dataclass(frozen=True, slots=True)
class Actor:
    """The originator of an action: user (``None``: not signed in, or the gate), client, request."""

    user_id: UUID | None = None
    address: str | None = None
    request_id: str | None = None
    agent: str | None = None
    api_key_id: UUID | None = None
    """The API key with which the user acts."""


GATE = Actor()
"""The gate itself: periodic jobs and webhooks of payment providers."""


async def record(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    resource_type: str,
    resource_id: UUID | str | None = None,
    **details: Any,
) -> None:
    """Insert a row. ``action`` is ``noun.verb``; ``details`` are plain values without secrets."""
    if actor.api_key_id is not None:
        details["api_key"] = actor.api_key_id
    await connection.execute(
        audit_logs.insert().values(
            user_id=actor.user_id,
            action=action,
            resource_type=resource_type,
            resource_id=None if resource_id is None else str(resource_id),
            address=actor.address,
            agent=None if actor.agent is None else storable(actor.agent)[:_MOST_OF_AGENT],
            request_id=actor.request_id,
            details=json.dumps(details, default=str, ensure_ascii=False),
        )
    )
