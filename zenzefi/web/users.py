"""Pages for administrators about users: search, credits, deactivation, rights."""

from __future__ import annotations

import secrets
from typing import TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from zenzefi import i18n
from zenzefi.accounts.identity import IDENTITIES, User
from zenzefi.admin.customer_help import CUSTOMER_HELP
from zenzefi.admin.help_schemas import Debit
from zenzefi.admin.schemas import Credit
from zenzefi.admin.service import ADMINISTRATION, LastAdministrator
from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.billing.ledger import Kind
from zenzefi.billing.statement import STATEMENTS
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.web import confirmation, labels, pagination, view_models
from zenzefi.web.api_keys import shown_keys
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_CREDITS = (Kind.DEPOSIT, Kind.BONUS, Kind.ADJUSTMENT)
_DEBIT = "debit"
_LATEST = 10
_CHANGES = {
    "activate": {"is_active": True},
    "deactivate": {"is_active": False},
    "promote": {"is_superuser": True},
    "demote": {"is_superuser": False},
}
_CONFIRMATIONS = {
    "deactivate": confirmation.deactivate,
    "promote": confirmation.promote,
    "demote": confirmation.demote,
}


@routes.get("/admin/users")
async def users(page: PageContext) -> web.StreamResponse:
    """All users, or those that match a search."""
    search = pagination.filter_value(page, "search")[:100]
    state = pagination.filter_value(page, "state")
    found, total = await page.request.app[ADMINISTRATION].users(
        search=search or None,
        is_active={"active": True, "inactive": False}.get(state),
        limit=pagination.ROWS,
        offset=pagination.offset(page),
    )
    return page.render(
        "admin/users.html",
        listing=pagination.ListPage(found, total, pagination.ROWS, pagination.offset(page)),
        form=Form({"search": search}),
        states=[
            ("", _("All users")),
            ("active", _("Active users")),
            ("inactive", _("Deactivated users")),
        ],
        state=state,
        base=pagination.pager_url("/admin/users", search=search, state=state),
    )


async def owner(page: PageContext, user_id: UUID) -> User:
    """The owner of a token or payment. Raises ``NotFound``."""
    found = await page.request.app[IDENTITIES].find(user_id)
    if found is None:
        raise NotFound
    return found


async def _user(page: PageContext) -> User:
    return await owner(page, path_id(page))


async def _user_page(page: PageContext, form: Form, *, status: int = 200) -> web.Response:
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
        kinds=[
            *((kind.value, labels.transaction_type(kind)) for kind in _CREDITS),
            (_DEBIT, _("Debit")),
        ],
        note=await app[CUSTOMER_HELP].note(person.id),
        tokens=[(token, view_models.token_state(token)) for token, _owner in tokens],
        token_count=token_count,
        ledger=ledger,
        api_keys=await shown_keys(page, person.id),
        confirmations=confirmation,
    )


@routes.get("/admin/users/{id}")
async def user(page: PageContext) -> web.StreamResponse:
    """One user."""
    return await _user_page(page, Form({"transaction_type": Kind.DEPOSIT.value}))


class _Credited(BaseModel):
    """Stored result of a credit: a form sent twice credits once."""

    transaction_id: UUID


@routes.post("/admin/users/{id}/credit")
async def credit(page: PageContext) -> web.StreamResponse:
    """Credit or debit a balance, with a reason that is stored in the ledger."""
    person, form = await _user(page), await page.form()
    if form.text("transaction_type") == _DEBIT:
        return await _debit(page, person, form)
    given = _entered(form, Credit, "amount", "reason", "transaction_type")
    if "transaction_type" in form.errors or (given and given.transaction_type not in _CREDITS):
        form.errors["transaction_type"] = _("Please choose a type from the list.")
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


_EntryT = TypeVar("_EntryT", bound=BaseModel)


def _entered(form: Form, model: type[_EntryT], *names: str) -> _EntryT | None:
    """The values of a form with an amount, which people write in several ways."""
    typed = dict(form.values)
    typed["amount"] = form.text("amount").replace(" ", "").replace(",", ".")
    entry = Form(typed)
    given = entry.read(model, *names)
    form.errors.update(entry.errors)
    if "amount" in form.errors:
        form.errors["amount"] = _("Please enter an amount above zero, such as 100 or 12.50.")
    return given


async def _debit(page: PageContext, person: User, form: Form) -> web.StreamResponse:
    given = _entered(form, Debit, "amount", "reason")
    if given is None or not form.ok:
        return await _user_page(page, form, status=422)
    entered = given

    async def work(connection: AsyncConnection) -> _Credited:
        movement = await page.request.app[CUSTOMER_HELP].debit(
            connection, page.actor, person.id, amount=entered.amount, reason=entered.reason
        )
        return _Credited(transaction_id=movement.id)

    try:
        await page.request.app[IDEMPOTENCY].run(
            page.user.id,
            form_key(form.text("once"), entered),
            f"pages.debit.{person.id.hex}",
            entered,
            _Credited,
            work,
        )
    except InsufficientBalance:
        form.fail("amount", _("The balance is lower than this amount."))
        return await _user_page(page, form, status=422)
    page.flash("good", _("%(amount)s debited.", amount=i18n.money(given.amount)))
    return page.redirect(f"/admin/users/{person.id}")


@routes.post("/admin/users/{id}/change")
async def change_user(page: PageContext) -> web.StreamResponse:
    """Activate or deactivate a user, or change the rights of an administrator."""
    person, form = await _user(page), await page.form()
    wanted = form.text("change")
    if wanted not in _CHANGES:
        raise NotFound
    here = f"/admin/users/{person.id}"
    if wanted in _CONFIRMATIONS:
        unconfirmed = await confirmation.ask(
            page, _CONFIRMATIONS[wanted](person.username), back=here
        )
        if unconfirmed is not None:
            return unconfirmed
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
