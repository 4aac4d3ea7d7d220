"""Pages for administrators about users: finding, crediting, closing, giving rights."""

from __future__ import annotations

import secrets
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi import i18n
from zenzefi.accounts.identity import IDENTITIES, User
from zenzefi.admin.schemas import Credit
from zenzefi.admin.service import ADMINISTRATION, LastAdministrator
from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.billing.ledger import Kind
from zenzefi.billing.statement import STATEMENTS
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.web import confirmation, labels, pagination, view_models
from zenzefi.web.forms import Form
from zenzefi.web.page import Access, Page, Routes, path_id

routes = Routes(access=Access.ADMINISTRATOR, section="/admin")

_CREDITS = (Kind.DEPOSIT, Kind.BONUS, Kind.ADJUSTMENT)
_LATEST = 10
_CHANGES = {
    "activate": {"is_active": True},
    "deactivate": {"is_active": False},
    "promote": {"is_superuser": True},
    "demote": {"is_superuser": False},
}
_ASKED = {
    "deactivate": confirmation.deactivate,
    "promote": confirmation.promote,
    "demote": confirmation.demote,
}


@routes.get("/admin/users")
async def users(page: Page) -> web.StreamResponse:
    """All users, or those that a search finds."""
    search, state = pagination.asked(page, "search")[:100], pagination.asked(page, "state")
    found, total = await page.request.app[ADMINISTRATION].users(
        search=search or None,
        is_active={"active": True, "inactive": False}.get(state),
        limit=pagination.ROWS,
        offset=pagination.offset(page),
    )
    return page.render(
        "admin/users.html",
        listing=view_models.Listing(found, total, pagination.ROWS, pagination.offset(page)),
        form=Form({"search": search}),
        states=[
            ("", _("Everybody")),
            ("active", _("Active ones")),
            ("inactive", _("Deactivated ones")),
        ],
        state=state,
        base=pagination.base("/admin/users", search=search, state=state),
    )


async def _user(page: Page) -> User:
    found = await page.request.app[IDENTITIES].find(path_id(page))
    if found is None:
        raise NotFound
    return found


async def _user_page(page: Page, form: Form, *, status: int = 200) -> web.Response:
    app, person = page.request.app, await _user(page)
    tokens, token_count = await app[ADMINISTRATION].tokens(
        user_id=person.id, active_only=False, limit=_LATEST, offset=0
    )
    ledger, _total = await app[STATEMENTS].listed(person.id, limit=_LATEST, offset=0)
    return page.render(
        "admin/user.html",
        status=status,
        person=person,
        form=form,
        once=secrets.token_urlsafe(18),
        kinds=[(kind.value, labels.kind(kind)) for kind in _CREDITS],
        tokens=[(token, view_models.state_of(token)) for token, _owner in tokens],
        token_count=token_count,
        ledger=ledger,
        questions=confirmation,
    )


@routes.get("/admin/users/{id}")
async def user(page: Page) -> web.StreamResponse:
    """One user."""
    return await _user_page(page, Form({"transaction_type": Kind.DEPOSIT.value}))


class _Credited(BaseModel):
    """What a credit is remembered by, so that sending the form twice credits once."""

    transaction_id: UUID


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
    if "transaction_type" in form.errors or (given and given.transaction_type not in _CREDITS):
        form.errors["transaction_type"] = _("Please choose a kind from the list.")
    if given is None or not form.ok:
        return await _user_page(page, form, status=422)
    entered = given

    async def work(connection: AsyncConnection) -> _Credited:
        movement = await page.request.app[ADMINISTRATION].credit(
            connection,
            page.actor,
            person.id,
            amount=entered.amount,
            reason=entered.reason,
            kind=entered.transaction_type,
        )
        return _Credited(transaction_id=movement.id)

    await page.request.app[IDEMPOTENCY].run(
        page.user.id,
        form_key(form.text("once"), entered),
        f"pages.credit.{person.id.hex}",
        entered,
        _Credited,
        work,
    )
    page.flash("good", _("%(amount)s credited.", amount=i18n.money(given.amount)))
    return page.redirect(f"/admin/users/{person.id}")


@routes.post("/admin/users/{id}/change")
async def change_user(page: Page) -> web.StreamResponse:
    """Deactivate or activate, make or unmake an administrator."""
    person, form = await _user(page), await page.form()
    wanted = form.text("change")
    if wanted not in _CHANGES:
        raise NotFound
    here = f"/admin/users/{person.id}"
    if wanted in _ASKED:
        question = await confirmation.ask(page, _ASKED[wanted](person.username), back=here)
        if question is not None:
            return question
    try:
        await page.request.app[ADMINISTRATION].change_user(
            page.actor, person.id, dict(_CHANGES[wanted])
        )
    except LastAdministrator:
        page.flash(
            "bad", _("This is the last administrator. Make another user an administrator first.")
        )
    else:
        page.flash("good", _("Saved."))
    return page.redirect(here)
