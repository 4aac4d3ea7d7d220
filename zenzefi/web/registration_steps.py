"""Steps that a user must take before using the account: confirming the address, accepting terms."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.errors import TermsNotAccepted
from zenzefi.accounts.registration import REGISTRATIONS
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.web.page import PageContext
from zenzefi.web.routing import CONFIRM_STEP, TERMS_STEP, PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN)


@routes.get(CONFIRM_STEP)
async def confirm_address(page: PageContext) -> web.StreamResponse:
    """Tell the user to open the link in the e-mail."""
    if not page.request.app[REGISTRATIONS].has_unconfirmed_address(page.user):
        return page.redirect("/account")
    return page.render("account/confirm_address.html")


@routes.get(TERMS_STEP)
async def terms(page: PageContext) -> web.StreamResponse:
    """Ask the user to accept the current terms of use."""
    if not page.request.app[REGISTRATIONS].has_new_terms(page.user):
        return page.redirect("/account")
    version = page.request.app[SETTINGS].terms_version
    return page.render("account/accept_terms.html", version=version)


@routes.post(TERMS_STEP)
async def accept_terms(page: PageContext) -> web.StreamResponse:
    """Record that the user accepts the terms."""
    form = await page.form()
    try:
        await page.request.app[REGISTRATIONS].accept_terms(
            page.actor, page.user, form.text("accept_terms")
        )
    except TermsNotAccepted:
        page.flash(
            "bad", _("The terms of use have changed in the meantime. Please read them again.")
        )
        return page.redirect(TERMS_STEP)
    return page.redirect("/account")
