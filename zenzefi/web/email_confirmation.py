"""Pages that confirm an e-mail address, and the message with the link."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.accounts.links import LINKS, Purpose
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.mail.messages import ConfirmAddressMessage, MailMessage
from zenzefi.web.outgoing_mail import page_url, require_mail, send
from zenzefi.web.page import Access, Page, Routes

routes = Routes(access=Access.ANYONE)


def send_confirmation(page: Page, user: User) -> None:
    """Queue the message with the link; does nothing where the gate sends no e-mail."""
    request = page.request
    links = request.app[LINKS]

    async def prepare() -> MailMessage | None:
        secret = await links.issue(user, Purpose.VERIFY)
        if secret is None:
            return None
        link = page_url(request, f"/register/confirm?link={secret}")
        return ConfirmAddressMessage(user.email, user.username, link)

    send(request, prepare)


@routes.get("/register/confirm")
async def confirm_form(page: Page) -> web.StreamResponse:
    """Show a button: mail scanners open the links in messages, and must not use them up."""
    return page.render("confirm_address.html", link=page.request.query.get("link", "")[:100])


@routes.post("/register/confirm")
async def confirm(page: Page) -> web.StreamResponse:
    """Confirm the address."""
    form = await page.form()
    target = "/login" if page.visitor is None else "/account/profile"
    try:
        await page.request.app[LINKS].confirm_address(page.actor, form.raw("link"))
    except NotFound:
        page.flash("bad", _("This link is too old or was used already. Ask for a new one."))
    else:
        page.flash("good", _("Your e-mail address is confirmed."))
    return page.redirect(target)


@routes.post("/account/profile/confirm", access=Access.SIGNED_IN)
async def confirm_again(page: Page) -> web.StreamResponse:
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
    send_confirmation(page, page.user)
    page.flash("info", _("An e-mail is on its way to %(email)s.", email=page.user.email))
    return page.redirect("/account/profile")
