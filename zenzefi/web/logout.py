"""Ending page sessions, together with the proxy sign-ins that were opened from them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from zenzefi.accounts.identity import User
from zenzefi.accounts.page_sessions import PAGE_SESSIONS
from zenzefi.errors import NotFound
from zenzefi.tokens.sign_ins import SIGN_INS
from zenzefi.web.page import PageContext


async def end_session(page: PageContext, session_id: UUID, owner: User | None = None) -> None:
    """End one page session and the proxy sign-ins opened from it, on every node.

    ``owner`` defaults to the signed-in user. A session that has already ended is not an error.
    Raises ``DatabaseUnavailable``.
    """
    app, user = page.request.app, owner or page.user
    actor = replace(page.actor, user_id=user.id)
    with suppress(NotFound):
        await app[PAGE_SESSIONS].end(actor, user.id, session_id)
        await app[SIGN_INS].end(session_id)


async def end_current_session(page: PageContext) -> None:
    """End the page session of this browser, if it has one, before another one replaces it."""
    if page.session is not None:
        await end_session(page, page.session.id)


async def end_other_sessions(page: PageContext, keep: UUID) -> int:
    """End all page sessions of the user except one; returns how many were ended."""
    app = page.request.app
    count = await app[PAGE_SESSIONS].end_others(page.actor, page.user.id, keep)
    await app[SIGN_INS].end_of_user(page.user.id, keep=keep)
    return count
