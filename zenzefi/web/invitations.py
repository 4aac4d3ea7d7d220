"""Page for administrators about invitations: create, list and withdraw."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.invitations import INVITATIONS, Invitation
from zenzefi.admin.invitation_schemas import NewInvitation
from zenzefi.admin.service import ADMINISTRATION
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext
from zenzefi.mail.messages import InvitationMessage, MailMessage
from zenzefi.settings import SETTINGS
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import pagination
from zenzefi.web.forms import Form
from zenzefi.web.outgoing_mail import has_mail, page_url, send
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_PATH = "/admin/invitations"
_DAYS = (1, 7, 30, 90)


async def _invitations_page(
    page: PageContext, form: Form, *, status: int = 200, link: str = ""
) -> web.Response:
    app = page.request.app
    found, total = await app[INVITATIONS].listed(
        limit=pagination.ROWS, offset=pagination.offset(page)
    )
    now = app[TOKEN_VALIDATOR].now()
    users: list[UUID | None] = [one.used_by for one in found]
    return page.render(
        "admin/invitations.html",
        status=status,
        form=form,
        link=link,
        days=[(str(n), ngettext("%(num)s day", "%(num)s days", n)) for n in _DAYS],
        listing=pagination.ListPage(
            [(one, one.state(now)) for one in found],
            total,
            pagination.ROWS,
            pagination.offset(page),
        ),
        names=await app[ADMINISTRATION].names([*users, *(one.created_by for one in found)]),
        base=pagination.pager_url(_PATH),
        registration=app[SETTINGS].registration,
        mail=has_mail(page.request),
    )


@routes.get(_PATH)
async def invitations(page: PageContext) -> web.StreamResponse:
    """All invitations, and the form for a new one."""
    return await _invitations_page(page, Form({"days": "7"}))


@routes.post(_PATH)
async def create(page: PageContext) -> web.StreamResponse:
    """Create an invitation. Its link is shown once, and sent if it is for one address."""
    form = await page.form()
    days = form.text("days")
    if days not in map(str, _DAYS):
        form.fail("days", _("Please choose a value from the list."))
    given = Form({name: form.text(name) for name in ("email", "note") if form.text(name)})
    entry = given.read(NewInvitation, *given.values)
    form.errors.update(given.errors)
    if entry is None or not form.ok:
        return await _invitations_page(page, form, status=422)
    invitation, secret = await page.request.app[INVITATIONS].create(
        page.actor, email=entry.email, note=entry.note, days=int(days)
    )
    link = page_url(page.request, f"/register?invitation={secret}")
    _send(page, invitation, link)
    return await _invitations_page(page, Form({"days": days}), link=link)


def _send(page: PageContext, invitation: Invitation, link: str) -> None:
    address = invitation.email
    if address is None:
        return

    async def prepare() -> MailMessage:
        return InvitationMessage(address, address, link)

    send(page.request, prepare)


@routes.post(_PATH + "/{id}/withdraw")
async def withdraw(page: PageContext) -> web.StreamResponse:
    """Withdraw an invitation."""
    try:
        await page.request.app[INVITATIONS].withdraw(page.actor, path_id(page))
    except NotFound:
        page.flash("bad", _("This invitation is no longer open."))
    else:
        page.flash("good", _("The invitation is withdrawn."))
    return page.redirect(_PATH)
