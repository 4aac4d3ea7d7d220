"""Pages about API keys: those of the user, and for administrators those of any user."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.api_key_schemas import KeyName, KeyValues
from zenzefi.accounts.api_keys import API_KEYS, MAX_OF_USER, ApiKey
from zenzefi.accounts.errors import TooManyApiKeys
from zenzefi.api.permissions import KeyPermission
from zenzefi.errors import NotFound
from zenzefi.i18n import N_, ngettext
from zenzefi.i18n import gettext as _
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import security_notices
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.profile import confirm_code, confirm_password
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/profile")

_PATH = "/account/api-keys"
_DAYS = (7, 30, 90, 366)
_SHOWN = 100
_LABELS = {
    KeyPermission.ACCOUNT_READ: N_("See name, e-mail address and balance"),
    KeyPermission.ACCOUNT_WRITE: N_("Change the name"),
    KeyPermission.TOKENS_READ: N_("See access tokens, with their values, and sessions"),
    KeyPermission.TOKENS_WRITE: N_("Revoke access tokens, release devices, end sessions"),
    KeyPermission.MONEY_READ: N_("See balance, transactions and payments"),
    KeyPermission.BUY: N_("Spend the balance, and start payments"),
    KeyPermission.ADMIN_READ: N_("Read what administrators see"),
    KeyPermission.ADMIN_WRITE: N_("Change what administrators may change, except accounts"),
    KeyPermission.ADMIN_ACCOUNTS: N_("Change accounts: roles, addresses, sign-ins, deletion"),
}


async def shown_keys(page: PageContext, user_id: UUID) -> list[tuple[ApiKey, str]]:
    """The latest keys of a user, with their states."""
    found, _total = await page.request.app[API_KEYS].listed(user_id=user_id, limit=_SHOWN)
    now = page.request.app[TOKEN_VALIDATOR].now()
    return [(key, key.state(now)) for key in found]


async def _api_keys(
    page: PageContext, form: Form, *, status: int = 200, secret: str = ""
) -> web.Response:
    offered = [
        (one.value, _(label))
        for one, label in _LABELS.items()
        if page.user.is_superuser or not one.is_administrative
    ]
    return page.render(
        "account/api_keys.html",
        status=status,
        form=form,
        secret=secret,
        keys=await shown_keys(page, page.user.id),
        offered=offered,
        names={one.value: _(label) for one, label in _LABELS.items()},
        days=[(str(n), ngettext("%(num)s day", "%(num)s days", n)) for n in _DAYS],
        max_keys=MAX_OF_USER,
    )


@routes.get(_PATH)
async def api_keys(page: PageContext) -> web.StreamResponse:
    """The user's keys, and the form for a new one."""
    return await _api_keys(page, Form({"days": "90"}))


@routes.post(_PATH)
async def create(page: PageContext) -> web.StreamResponse:
    """Create a key. It is shown once, on this page."""
    form = await page.form()
    values = _values(page, form)
    if await confirm_password(page, form) and values is not None:
        await confirm_code(page, form)
    if values is None or not form.ok:
        return await _api_keys(page, form, status=422)
    try:
        _key, secret = await page.request.app[API_KEYS].create(
            page.actor,
            page.user,
            name=values.name,
            permissions=values.permissions,
            days=values.days,
            second_factor=page.user.totp_enabled_at is not None,
        )
    except TooManyApiKeys:
        form.fail("", _("There are too many keys. Revoke one first."))
        return await _api_keys(page, form, status=422)
    security_notices.api_key_created(page.request, page.user)
    return await _api_keys(page, Form({"days": "90"}), secret=secret)


def _values(page: PageContext, form: Form) -> KeyValues | None:
    """The choices, validated; adds errors to the fields."""
    if form.text("days") not in map(str, _DAYS):
        form.fail("days", _("Please choose a value from the list."))
    named = form.read(KeyName, "name")
    chosen = [
        one
        for one in KeyPermission
        if form.text(one.value) == "on" and (page.user.is_superuser or not one.is_administrative)
    ]
    if not chosen:
        form.fail("permissions", _("Please choose at least one permission."))
    if named is None or not form.ok:
        return None
    return KeyValues(name=named.name, permissions=chosen, days=int(form.text("days")))


@routes.post(_PATH + "/{id}/revoke")
async def revoke(page: PageContext) -> web.StreamResponse:
    """Revoke one of the user's keys."""
    await page.request.app[API_KEYS].revoke(page.actor, path_id(page), user_id=page.user.id)
    page.flash("good", _("The key is revoked."))
    return page.redirect(_PATH)


@routes.post(
    "/admin/users/{id}/api-keys/{key}/revoke", section="/admin", access=PageAccess.ADMINISTRATOR
)
async def revoke_of_user(page: PageContext) -> web.StreamResponse:
    """Revoke a key of any user."""
    try:
        key_id = UUID(page.request.match_info["key"])
    except ValueError:
        raise NotFound from None
    user_id = path_id(page)
    await page.request.app[API_KEYS].revoke(page.actor, key_id, user_id=user_id)
    page.flash("good", _("The key is revoked."))
    return page.redirect(f"/admin/users/{user_id}")
