"""Ending page sessions, and with them the sign-ins at the proxy that came from them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from zenzefi.accounts.identity import User
from zenzefi.accounts.page_sessions import PAGE_SESSIONS
from zenzefi.errors import NotFound
from zenzefi.tokens.sign_ins import SIGN_INS
from zenzefi.web.page import Page


async def end_session(page: Page, session_id: UUID, owner: User | None = None) -> None:
    """End one page session, and what was opened from it, on every node.

    ``owner`` is the signed-in user unless another one is given.

    One that has ended already is as good. Raises ``DatabaseUnavailable``.
    """
    app, user = page.request.app, owner or page.user
    actor = replace(page.actor, user_id=user.id)
    with suppress(NotFound):
        await app[PAGE_SESSIONS].end(actor, user.id, session_id)
        await app[SIGN_INS].end(session_id)


async def end_current_session(page: Page) -> None:
    """End the page session that the browser has, if any: another one takes its place."""
    if page.session is not None:
        await end_session(page, page.session.id)


async def end_other_sessions(page: Page, keep: UUID) -> int:
    """End all page sessions of the user but one, and what was opened elsewhere; how many ended."""
    app = page.request.app
    count = await app[PAGE_SESSIONS].end_others(page.actor, page.user.id, keep)
    await app[SIGN_INS].end_of_user(page.user.id, keep=keep)
    return count
