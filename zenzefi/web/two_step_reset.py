"""Page of the link with which a user without their authenticator app switches two-step sign-in off.

The link comes by e-mail, from an administrator. The password is required as well, and a mailbox is
not enough for both: a new password ends the link, and after a new password by link, administrators
can't send this one for three days.
"""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.errors import LoginRejected
from zenzefi.accounts.links import LINKS, Purpose
from zenzefi.accounts.second_factor import SECOND_FACTOR
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.errors import NotFound, RateLimited
from zenzefi.i18n import gettext as _
from zenzefi.rate_limits.middleware import limit_sign_in
from zenzefi.web import security_notices
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ANYONE)

_PATH = "/login/reset-two-step"


@routes.get(_PATH)
async def reset_form(page: PageContext) -> web.StreamResponse:
    """Form for the password."""
    link = page.request.query.get("link", "")[:100]
    return page.render("reset_two_step.html", form=Form(), link=link)


@routes.post(_PATH)
async def reset(page: PageContext) -> web.StreamResponse:
    """Check the password, then use the link."""
    app, form = page.request.app, await page.form()
    link, email = form.raw("link")[:100], form.text("email")[:254]
    user = None
    try:
        await limit_sign_in(page.request, email, "confirm")
        user = await app[ACCOUNTS].sign_in(page.actor, email, form.raw("current")[:1024])
    except LoginRejected:
        form.fail("", _("The e-mail address or password is incorrect."))
    except RateLimited:
        form.fail("", _("There were too many attempts. Wait a minute and try again."))
    if user is None:
        return page.render("reset_two_step.html", status=422, form=form, link=link)
    try:
        await app[LINKS].spend(Purpose.SECOND_FACTOR, link, user_id=user.id)
    except NotFound:
        page.flash("bad", _("This link has expired or was already used. Request a new one."))
        return page.redirect("/login")
    await app[SECOND_FACTOR].disable(page.actor, user.id)
    security_notices.two_step_off(page.request, user)
    page.flash("good", _("Two-step sign-in is off."))
    return page.redirect("/login")
