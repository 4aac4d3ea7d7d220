"""Pages that reset a forgotten password with a link in an e-mail."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.errors import PasswordSignInOff
from zenzefi.accounts.links import LINKS, Purpose
from zenzefi.accounts.schemas import ProfileChange
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.mail.messages import MailMessage, ResetPasswordMessage
from zenzefi.web import security_notices
from zenzefi.web.forms import Form
from zenzefi.web.outgoing_mail import page_url, require_mail, send
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ANYONE)


def _require_open(page: PageContext) -> None:
    """Raises ``NotFound`` without e-mail, and ``PasswordSignInOff``."""
    require_mail(page.request)
    if not page.has_passwords:
        raise PasswordSignInOff


@routes.get("/login/forgotten")
async def forgotten_form(page: PageContext) -> web.StreamResponse:
    """Form for the e-mail address."""
    _require_open(page)
    return page.render("forgotten.html", form=Form(), sent=False)


@routes.post("/login/forgotten")
async def forgotten(page: PageContext) -> web.StreamResponse:
    """Queue the e-mail. Response and timing do not depend on whether the account exists."""
    _require_open(page)
    form = await page.form()
    address = form.text("email")[:254]
    if not address:
        form.fail("email", _("Please fill this in."))
        return page.render("forgotten.html", status=422, form=form, sent=False)
    request = page.request
    links = request.app[LINKS]

    async def prepare() -> MailMessage | None:
        user = await links.find_user(address)
        secret = None if user is None else await links.issue(user, Purpose.RESET)
        if user is None or secret is None:
            return None
        link = page_url(request, f"/login/reset?link={secret}")
        return ResetPasswordMessage(user.email, user.username, link)

    send(request, prepare)
    return page.render("forgotten.html", form=form, sent=True)


@routes.get("/login/reset")
async def reset_form(page: PageContext) -> web.StreamResponse:
    """Form for the new password."""
    _require_open(page)
    return page.render("reset.html", form=Form(), link=page.request.query.get("link", "")[:100])


@routes.post("/login/reset")
async def reset(page: PageContext) -> web.StreamResponse:
    """Set the new password and end all sign-ins of the account."""
    _require_open(page)
    form = await page.form()
    link = form.raw("link")[:100]
    change = form.read(ProfileChange, "password")
    if change is None:
        return page.render("reset.html", status=422, form=form, link=link)
    try:
        user_id = await page.request.app[LINKS].spend(Purpose.RESET, link)
    except NotFound:
        page.flash("bad", _("This link has expired or was already used. Request a new one."))
        return page.redirect("/login/forgotten")
    user = await page.request.app[ACCOUNTS].change(page.actor, user_id, password=change.password)
    security_notices.password_changed(page.request, user)
    page.flash("good", _("The new password is set. Sign in with it now."))
    return page.redirect("/login")
