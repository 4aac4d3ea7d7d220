"""Pages for administrators about the gate: statistics, tokens, sessions, plugins."""

from __future__ import annotations

import asyncio

from aiohttp import web

from zenzefi.admin.overview import OVERVIEWS
from zenzefi.admin.service import ADMINISTRATION
from zenzefi.billing.payments import PAYMENTS
from zenzefi.http import ignored_forwarding
from zenzefi.i18n import gettext as _
from zenzefi.proxy.setup import ENGINE, GATE
from zenzefi.proxy.unmounted_requests import UnmountedRequests
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.runtime.health import HEALTH
from zenzefi.settings import SETTINGS
from zenzefi.tokens.scope_texts import scope_text
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.session_queries import SESSION_QUERIES
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.web import confirmation, pagination, users, view_models
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_REQUESTS_SHOWN = 200


@routes.get("/admin")
async def overview(page: PageContext) -> web.StreamResponse:
    """Health, statistics, and items that need attention."""
    app = page.request.app
    health = app[HEALTH]
    services = [
        (_("Database"), health.database_ok),
        (_("Redis"), health.redis_ok),
        (_("Application"), health.upstream_ok),
    ]
    _payments, waiting = await app[PAYMENTS].listed(status="pending", limit=1, offset=0)
    misdirected = _misdirected(page)
    return page.render(
        "admin/overview.html",
        state=health.state,
        services=services,
        statistics=await app[OVERVIEWS].now(),
        waiting=waiting,
        plugin_errors=sum(entry.statistics.errors for entry in _plugins(page)),
        misdirected=0 if misdirected is None else misdirected.total,
        unlisted_proxies=await asyncio.to_thread(ignored_forwarding.peers, app[SETTINGS]),
    )


# --- tokens, sessions


@routes.get("/admin/tokens")
async def tokens(page: PageContext) -> web.StreamResponse:
    """Tokens of all users, without their values."""
    form = Form({"user": pagination.filter_value(page, "user")})
    state = pagination.filter_value(page, "state")
    owner = None
    if form.text("user"):
        owner = await page.request.app[ADMINISTRATION].find_user(form.text("user"))
        if owner is None:
            form.fail("user", _("No user with that name, e-mail or ID."))
    found, total = await page.request.app[ADMINISTRATION].tokens(
        user_id=owner,
        active_only=state == "active",
        limit=pagination.ROWS,
        offset=pagination.offset(page),
    )
    if not form.ok:
        found, total = [], 0
    rows = [(token, owner_name, view_models.token_state(token)) for token, owner_name in found]
    return page.render(
        "admin/tokens.html",
        listing=pagination.ListPage(rows, total, pagination.ROWS, pagination.offset(page)),
        form=form,
        states=[("", _("All")), ("active", _("Usable tokens"))],
        state=state,
        base=pagination.pager_url("/admin/tokens", user=form.text("user"), state=state),
        confirmations=confirmation,
        scope_title=lambda name: scope_text(name, page.request.app[SETTINGS].scope_texts)[0],
    )


@routes.post("/admin/tokens/{id}/revoke")
async def revoke(page: PageContext) -> web.StreamResponse:
    """Revoke a user's token without a refund."""
    app = page.request.app
    token = await app[TOKENS].find(path_id(page))
    owner = await users.owner(page, token.user_id)
    unconfirmed = await confirmation.ask(
        page, confirmation.revoke_token(token.prefix, owner.username), back="/admin/tokens"
    )
    if unconfirmed is not None:
        return unconfirmed
    await app[TOKENS].revoke(
        page.actor, token.id, owner_id=None, refund=False, reason="revoked_by_admin"
    )
    page.flash("good", _("The token is revoked."))
    return page.redirect("/admin/tokens")


@routes.get("/admin/sessions")
async def sessions(page: PageContext) -> web.StreamResponse:
    """Sessions of all users: active ones, or all."""
    state = pagination.filter_value(page, "state") or "live"
    found, total = await page.request.app[SESSION_QUERIES].listed(
        active_only=state != "all", limit=pagination.ROWS, offset=pagination.offset(page)
    )
    return page.render(
        "admin/sessions.html",
        listing=pagination.ListPage(found, total, pagination.ROWS, pagination.offset(page)),
        names=await page.request.app[ADMINISTRATION].names(row.user_id for row in found),
        prefixes=await page.request.app[ADMINISTRATION].token_prefixes(
            row.token_id for row in found
        ),
        form=Form(),
        states=[("live", _("Active sessions")), ("all", _("All"))],
        state=state,
        base=pagination.pager_url("/admin/sessions", state=state),
    )


@routes.post("/admin/sessions/{id}/end")
async def end_session(page: PageContext) -> web.StreamResponse:
    """End a session and close its open connections."""
    await page.request.app[SESSION_TRACKER].end(page.actor, path_id(page))
    page.flash("good", _("The session has ended, and its open connections are closed."))
    return page.redirect("/admin/sessions")


# --- plugins and misdirected requests


def _plugins(page: PageContext) -> tuple[LoadedPlugin, ...]:
    engine = page.request.app.get(ENGINE)
    return () if engine is None else tuple(engine.registry.entries)


def _misdirected(page: PageContext) -> UnmountedRequests | None:
    gate = page.request.app.get(GATE)
    return None if gate is None else gate.unmounted_requests


@routes.get("/admin/plugins")
async def plugins(page: PageContext) -> web.StreamResponse:
    """Calls, edits, time and errors of each plugin in this process, failed plugins first."""
    entries = sorted(_plugins(page), key=lambda entry: not entry.statistics.errors)
    return page.render("admin/plugins.html", entries=entries)


@routes.get("/admin/strays")
async def misdirected(page: PageContext) -> web.StreamResponse:
    """Requests outside the mount, with the pages that caused them."""
    table = _misdirected(page)
    return page.render(
        "admin/misdirected.html",
        rows=[] if table is None else table.rows()[:_REQUESTS_SHOWN],
        total=0 if table is None else table.total,
        compares=table is not None and table.has_pages_that_compare_addresses(),
    )
