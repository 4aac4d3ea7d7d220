"""Pages that confirm an e-mail address, and the e-mail with the link."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.accounts.links import LINKS, Purpose
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.mail.messages import ConfirmAddressMessage, MailMessage
from zenzefi.web.outgoing_mail import page_url, require_mail, send
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ANYONE)


def send_confirmation(request: web.Request, user: User) -> None:
    """Queue the e-mail with the link; does nothing if the gate sends no e-mail."""
    links = request.app[LINKS]

    async def prepare() -> MailMessage | None:
        secret = await links.issue(user, Purpose.VERIFY)
        if secret is None:
            return None
        link = page_url(request, f"/register/confirm?link={secret}")
        return ConfirmAddressMessage(user.email, user.username, link)

    send(request, prepare)


@routes.get("/register/confirm")
async def confirm_form(page: PageContext) -> web.StreamResponse:
    """Show a button: mail scanners open links in e-mails, which must not use up the link."""
    return page.render("confirm_address.html", link=page.request.query.get("link", "")[:100])


@routes.post("/register/confirm")
async def confirm(page: PageContext) -> web.StreamResponse:
    """Confirm the address with the link."""
    form = await page.form()
    target = "/login" if page.signed_in_user is None else "/account"
    try:
        await page.request.app[LINKS].confirm_address(page.actor, form.raw("link"))
    except NotFound:
        page.flash("bad", _("This link has expired or was already used. Request a new one."))
    else:
        page.flash("good", _("Your e-mail address is confirmed."))
    return page.redirect(target)


@routes.post("/account/profile/confirm", access=PageAccess.SIGNED_IN)
async def confirm_again(page: PageContext) -> web.StreamResponse:
    """Send another link."""
    require_mail(page.request)
    if await page.request.app[LINKS].enough(page.user, Purpose.VERIFY):
        page.flash(
            "bad",
            _(
                "You have already asked for several e-mails. Check "
                "your spam folder, or wait an hour."
            ),
        )
        return page.redirect("/account/profile")
    send_confirmation(page.request, page.user)
    page.flash("info", _("An e-mail is on its way to %(email)s.", email=page.user.email))
    return page.redirect("/account/profile")
