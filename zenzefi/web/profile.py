"""Pages about the user: name, password, sign-ins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from zenzefi.accounts.errors import SecondFactorRejected
from zenzefi.accounts.page_sessions import PAGE_SESSIONS, PageSession
from zenzefi.accounts.schemas import ProfileChange
from zenzefi.accounts.second_factor import SECOND_FACTOR
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.errors import RateLimited
from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext
from zenzefi.oidc.setup import IDENTITY_CONNECTIONS, PROVIDERS
from zenzefi.rate_limits.middleware import code_attempt, limit_sign_in
from zenzefi.web import security_notices
from zenzefi.web.forms import Form
from zenzefi.web.logout import end_other_sessions, end_session
from zenzefi.web.outgoing_mail import has_mail
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

RECENT = timedelta(minutes=10)
"""A sign-in that is younger confirms a change by a user without a password."""

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/profile")


async def _profile(
    page: PageContext,
    *,
    profile: Form | None = None,
    password: Form | None = None,
    status: int = 200,
) -> web.Response:
    app = page.request.app
    return page.render(
        "account/profile.html",
        status=status,
        profile=profile or Form({"full_name": page.user.full_name or ""}),
        password=password or Form(),
        sign_ins=await app[PAGE_SESSIONS].of_user(page.user.id),
        codes_left=await app[SECOND_FACTOR].codes_left(page.user.id),
        mail=has_mail(page.request),
        identities=await app[IDENTITY_CONNECTIONS].of_user(page.user.id),
        providers=app[PROVIDERS],
    )


async def confirm_password(page: PageContext, form: Form) -> bool:
    """Whether the field ``current`` is the password; adds an error to the field otherwise.

    Required for changes that the thief of a session would make. Attempts are limited like sign-in
    attempts. A user without a password must have signed in shortly before instead.
    """
    if not page.user.has_password:
        if page.session is not None and _age(page.session) < RECENT:
            return True
        form.fail("current", _("Sign out, sign in again, and repeat this within 10 minutes."))
        return False
    try:
        await limit_sign_in(page.request, page.user.email, "confirm")
    except RateLimited:
        form.fail("current", _("There were too many attempts. Wait a minute and try again."))
        return False
    if await page.request.app[ACCOUNTS].is_password(
        page.actor, page.user.id, form.raw("current")[:1024]
    ):
        return True
    form.fail("current", _("This is not your current password."))
    return False


def _age(session: PageSession) -> timedelta:
    return datetime.now(UTC) - session.created_at


async def confirm_code(page: PageContext, form: Form) -> None:
    """With two-step sign-in, check a code as well; adds an error to the field ``code``."""
    if page.user.totp_enabled_at is None:
        return
    attempt = code_attempt(page.request, page.user.email)
    code = form.text("code")[:40]
    try:
        await page.request.app[SECOND_FACTOR].check(page.actor, page.user.id, code, attempt)
    except SecondFactorRejected:
        form.fail("code", _("This code is incorrect or was already used."))
    except RateLimited:
        form.fail("code", _("Too many wrong codes. Wait 15 minutes."))


@routes.get("/account/profile")
async def profile(page: PageContext) -> web.StreamResponse:
    """Profile of the user."""
    return await _profile(page)


@routes.post("/account/profile")
async def change_name(page: PageContext) -> web.StreamResponse:
    """Change the full name."""
    form = await page.form()
    change = form.read(ProfileChange, "full_name")
    if change is None:
        return await _profile(page, profile=form, status=422)
    await page.request.app[ACCOUNTS].change(page.actor, page.user.id, full_name=change.full_name)
    page.flash("good", _("Saved."))
    return page.redirect("/account/profile")


@routes.post("/account/profile/password")
async def change_password(page: PageContext) -> web.StreamResponse:
    """Change the password and end all other sign-ins."""
    form = await page.form()
    change = form.read(ProfileChange, "password")
    if await confirm_password(page, form) and change is not None:
        await confirm_code(page, form)
    if change is None or not form.ok:
        return await _profile(page, password=form, status=422)
    await page.request.app[ACCOUNTS].change(
        page.actor, page.user.id, keep_session=page.session_id, password=change.password
    )
    if page.session is not None:
        await end_other_sessions(page, page.session.id)
    security_notices.password_changed(page.request, page.user)
    page.flash("good", _("The password is changed. All your other sign-ins have ended."))
    return page.redirect("/account/profile")


@routes.post("/account/sign-ins/{id}/end")
async def end_sign_in(page: PageContext) -> web.StreamResponse:
    """End one sign-in; a sign-in that has already ended is not an error."""
    await end_session(page, path_id(page))
    page.flash("good", _("That sign-in has ended."))
    return page.redirect("/account/profile#sign-ins")


@routes.post("/account/sign-ins/end-others")
async def end_other_sign_ins(page: PageContext) -> web.StreamResponse:
    """End all sign-ins except this one."""
    assert page.session is not None  # noqa: S101 - the route is for signed-in users only
    count = await end_other_sessions(page, page.session.id)
    page.flash(
        "good",
        ngettext("%(num)s other sign-in has ended.", "%(num)s other sign-ins have ended.", count),
    )
    return page.redirect("/account/profile#sign-ins")
