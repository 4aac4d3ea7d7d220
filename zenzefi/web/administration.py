"""Pages for administrators: figures, users, tokens, sessions, payments, audit log, plugins."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import IDENTITIES, User
from zenzefi.admin.overview import OVERVIEWS
from zenzefi.admin.schemas import Credit
from zenzefi.admin.service import ADMINISTRATION, AuditRow, LastAdministrator
from zenzefi.billing.ledger import Kind
from zenzefi.billing.payments import PAYMENTS, PaymentNotOpen
from zenzefi.billing.providers.base import NotRefundable, ProviderFailed
from zenzefi.billing.statement import STATEMENTS
from zenzefi.db.engine import DATABASE
from zenzefi.errors import NotFound
from zenzefi.ops.health import HEALTH
from zenzefi.proxy.setup import ENGINE, GATE
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.usage import USAGE
from zenzefi.web import i18n, present, texts
from zenzefi.web.forms import BLANK, Form
from zenzefi.web.i18n import gettext as _
from zenzefi.web.page import Access, Page, Routes, path_id

routes = Routes(access=Access.ADMINISTRATOR, section="/admin")

_ROWS = 25
_CSV_ROWS = 500
_CSV_MOST = 100_000
_CREDITS = (Kind.DEPOSIT, Kind.BONUS, Kind.ADJUSTMENT)


def _offset(page: Page) -> int:
    return present.offset_of(page.request.query.get("offset", ""))


def _asked(page: Page, name: str) -> str:
    return page.request.query.get(name, "").strip()[:100]


def _base(path: str, **filters: str) -> str:
    """The address that the pager adds its offset to."""
    kept = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(kept)}&" if kept else f"{path}?"


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@routes.get("/admin")
async def overview(page: Page) -> web.StreamResponse:
    """Health and figures at a glance."""
    app = page.request.app
    health = app[HEALTH]
    parts = [
        (_("Database"), health.database_ok),
        (_("Redis"), health.redis_ok),
        (_("Application behind the gate"), health.upstream_ok),
    ]
    return page.render(
        "admin/overview.html", state=health.state, parts=parts, figures=await app[OVERVIEWS].now()
    )


# --- users


@routes.get("/admin/users")
async def users(page: Page) -> web.StreamResponse:
    """All users, or those that a search finds."""
    search, state = _asked(page, "search"), _asked(page, "state")
    found, total = await page.request.app[ADMINISTRATION].users(
        search=search or None,
        is_active={"active": True, "inactive": False}.get(state),
        limit=_ROWS,
        offset=_offset(page),
    )
    return page.render(
        "admin/users.html",
        listing=present.Listing(found, total, _ROWS, _offset(page)),
        form=Form({"search": search}),
        states=[
            ("", _("Everybody")),
            ("active", _("Active ones")),
            ("inactive", _("Deactivated ones")),
        ],
        state=state,
        base=_base("/admin/users", search=search, state=state),
    )


async def _user(page: Page) -> User:
    found = await page.request.app[IDENTITIES].find(path_id(page))
    if found is None:
        raise NotFound
    return found


async def _user_page(page: Page, form: Form, *, status: int = 200) -> web.Response:
    app, person = page.request.app, await _user(page)
    tokens, token_count = await app[ADMINISTRATION].tokens(
        user_id=person.id, active_only=False, limit=10, offset=0
    )
    ledger, _total = await app[STATEMENTS].listed(person.id, limit=10, offset=0)
    return page.render(
        "admin/user.html",
        status=status,
        person=person,
        form=form,
        kinds=[(kind.value, texts.kind(kind)) for kind in _CREDITS],
        tokens=tokens,
        token_count=token_count,
        ledger=ledger,
    )


@routes.get("/admin/users/{id}")
async def user(page: Page) -> web.StreamResponse:
    """One user."""
    return await _user_page(page, Form({"transaction_type": Kind.DEPOSIT.value}))


@routes.post("/admin/users/{id}/credit")
async def credit(page: Page) -> web.StreamResponse:
    """Put money on an account, with a reason that stays in the ledger."""
    person, form = await _user(page), await page.form()
    typed = dict(form.values)
    typed["amount"] = form.text("amount").replace(" ", "").replace(",", ".")
    entry = Form(typed)
    given = entry.read(Credit, "amount", "reason", "transaction_type")
    form.errors.update(entry.errors)
    if "amount" in form.errors:
        form.errors["amount"] = _("Please write an amount above zero, such as 100 or 12.50.")
    if given is None or given.transaction_type not in _CREDITS:
        return await _user_page(page, form, status=422)
    await page.request.app[ADMINISTRATION].credit(
        page.actor,
        person.id,
        amount=given.amount,
        reason=given.reason,
        kind=given.transaction_type,
    )
    page.flash("good", _("%(amount)s credited.", amount=i18n.money(given.amount)))
    return page.redirect(f"/admin/users/{person.id}")


@routes.post("/admin/users/{id}/change")
async def change_user(page: Page) -> web.StreamResponse:
    """Deactivate or activate, make or unmake an administrator."""
    person, form = await _user(page), await page.form()
    changes: dict[str, dict[str, bool]] = {
        "activate": {"is_active": True},
        "deactivate": {"is_active": False},
        "promote": {"is_superuser": True},
        "demote": {"is_superuser": False},
    }
    wanted = changes.get(form.text("change"))
    if wanted is None:
        raise NotFound
    try:
        await page.request.app[ADMINISTRATION].change_user(page.actor, person.id, dict(wanted))
    except LastAdministrator:
        page.flash("bad", _("This is the last administrator. Make somebody else one first."))
    else:
        page.flash("good", _("Saved."))
    return page.redirect(f"/admin/users/{person.id}")


# --- tokens, sessions


@routes.get("/admin/tokens")
async def tokens(page: Page) -> web.StreamResponse:
    """Tokens of all users, without their values."""
    person, state = _asked(page, "user"), _asked(page, "state")
    found, total = await page.request.app[ADMINISTRATION].tokens(
        user_id=_uuid(person), active_only=state == "active", limit=_ROWS, offset=_offset(page)
    )
    return page.render(
        "admin/tokens.html",
        listing=present.Listing(
            [(token, owner, present.state_of(token)) for token, owner in found],
            total,
            _ROWS,
            _offset(page),
        ),
        blank=BLANK,
        states=[("", _("All")), ("active", _("Usable ones"))],
        state=state,
        base=_base("/admin/tokens", user=person, state=state),
    )


@routes.post("/admin/tokens/{id}/revoke")
async def revoke(page: Page) -> web.StreamResponse:
    """End a user's token without a refund."""
    await page.request.app[TOKENS].revoke(
        page.actor, path_id(page), owner_id=None, refund=False, reason="revoked_by_admin"
    )
    page.flash("good", _("The token is revoked."))
    return page.redirect("/admin/tokens")


@routes.get("/admin/sessions")
async def sessions(page: Page) -> web.StreamResponse:
    """Who is using the way through now, and who was."""
    state = _asked(page, "state") or "live"
    found, total = await page.request.app[USAGE].listed(
        active_only=state != "all", limit=_ROWS, offset=_offset(page)
    )
    return page.render(
        "admin/sessions.html",
        listing=present.Listing(found, total, _ROWS, _offset(page)),
        blank=BLANK,
        states=[("live", _("Live ones")), ("all", _("All"))],
        state=state,
        base=_base("/admin/sessions", state=state),
    )


@routes.post("/admin/sessions/{id}/end")
async def end_session(page: Page) -> web.StreamResponse:
    """Close what is open under a session."""
    await page.request.app[USAGE].end(page.actor, path_id(page))
    page.flash("good", _("The session has ended; what was open is closed."))
    return page.redirect("/admin/sessions")


# --- payments


@routes.get("/admin/payments")
async def payments(page: Page) -> web.StreamResponse:
    """Payments of all users."""
    status = _asked(page, "status")
    statuses = texts.payment_states()
    known = status if status in dict(statuses) else ""
    found, total = await page.request.app[PAYMENTS].listed(
        status=known or None, limit=_ROWS, offset=_offset(page)
    )
    return page.render(
        "admin/payments.html",
        listing=present.Listing(found, total, _ROWS, _offset(page)),
        blank=BLANK,
        statuses=[("", _("All")), *statuses],
        chosen=known,
        base=_base("/admin/payments", status=known),
    )


@routes.post("/admin/payments/{id}/confirm")
async def confirm(page: Page) -> web.StreamResponse:
    """The money of a manual payment has come."""
    app = page.request.app
    try:
        async with app[DATABASE].begin() as connection:
            await app[PAYMENTS].confirm(connection, page.actor, path_id(page))
    except PaymentNotOpen:
        page.flash("bad", _("This payment can't be confirmed by hand."))
    else:
        page.flash("good", _("Confirmed: the amount is on the balance."))
    return page.redirect("/admin/payments")


@routes.post("/admin/payments/{id}/refund")
async def refund(page: Page) -> web.StreamResponse:
    """Have the provider give the money back."""
    try:
        await page.request.app[PAYMENTS].refund(page.actor, path_id(page))
    except (NotRefundable, ProviderFailed):
        page.flash("bad", _("This can't be refunded here. Refund it at the payment service."))
    else:
        page.flash("good", _("The refund is under way. The balance follows when it is confirmed."))
    return page.redirect("/admin/payments")


# --- the audit log


@routes.get("/admin/audit")
async def audit(page: Page) -> web.StreamResponse:
    """Who did what, when and from where."""
    person, action, kind = _asked(page, "user"), _asked(page, "action"), _asked(page, "kind")
    rows, total = await page.request.app[ADMINISTRATION].audit(
        user_id=_uuid(person),
        action=action or None,
        resource_type=kind or None,
        limit=_ROWS,
        offset=_offset(page),
    )
    names = {row.user_id: await _name(page, row.user_id) for row in rows if row.user_id}
    query = urlencode(
        {k: v for k, v in {"user": person, "action": action, "kind": kind}.items() if v}
    )
    return page.render(
        "admin/audit.html",
        listing=present.Listing(rows, total, _ROWS, _offset(page)),
        names=names,
        form=Form({"user": person, "action": action, "kind": kind}),
        base=_base("/admin/audit", user=person, action=action, kind=kind),
        export=f"/admin/audit.csv?{query}" if query else "/admin/audit.csv",
    )


async def _name(page: Page, user_id: UUID) -> str:
    found = await page.request.app[IDENTITIES].find(user_id)
    return str(user_id) if found is None else found.username


@routes.get("/admin/audit.csv")
async def audit_csv(page: Page) -> web.StreamResponse:
    """The filtered audit log for a spreadsheet, streamed."""
    filters: dict[str, Any] = {
        "user_id": _uuid(_asked(page, "user")),
        "action": _asked(page, "action") or None,
        "resource_type": _asked(page, "kind") or None,
    }
    return web.Response(
        body=_audit_lines(page, filters),
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="audit.csv"',
        },
    )


async def _audit_lines(page: Page, filters: dict[str, Any]) -> AsyncIterator[bytes]:
    yield _line(
        "time", "user_id", "action", "kind", "resource_id", "address", "request_id", "details"
    )
    for offset in range(0, _CSV_MOST, _CSV_ROWS):
        rows, _total = await page.request.app[ADMINISTRATION].audit(
            **filters, limit=_CSV_ROWS, offset=offset
        )
        for row in rows:
            yield _audit_line(row)
        if len(rows) < _CSV_ROWS:
            return


def _audit_line(row: AuditRow) -> bytes:
    return _line(
        row.created_at.isoformat(),
        row.user_id or "",
        row.action,
        row.resource_type,
        row.resource_id or "",
        row.address or "",
        row.request_id or "",
        json.dumps(row.details, ensure_ascii=False),
    )


def _line(*cells: object) -> bytes:
    """One CSV record (RFC 4180); a text that a spreadsheet would compute is quoted as text."""
    out = io.StringIO()
    computed = ("=", "+", "-", "@", "\t", "\r")
    csv.writer(out).writerow(
        [f"'{cell}" if str(cell).startswith(computed) else cell for cell in cells]
    )
    return out.getvalue().encode()


# --- plugins and strays


@routes.get("/admin/plugins")
async def plugins(page: Page) -> web.StreamResponse:
    """What each plugin did and cost in this process."""
    engine = page.request.app.get(ENGINE)
    entries = () if engine is None else engine.registry.entries
    return page.render("admin/plugins.html", entries=entries)


@routes.get("/admin/strays")
async def strays(page: Page) -> web.StreamResponse:
    """Which pages ask for addresses outside of the mount."""
    gate = page.request.app.get(GATE)
    table = None if gate is None else gate.strays
    return page.render(
        "admin/strays.html",
        rows=[] if table is None else table.rows()[:200],
        total=0 if table is None else table.total,
    )
