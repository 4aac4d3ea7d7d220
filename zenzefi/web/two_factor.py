"""Pages of two-step sign-in: entering a code, setting it up, recovery codes."""

from __future__ import annotations

import json
import time
from uuid import UUID

from aiohttp import web
from markupsafe import Markup

from zenzefi.accounts.errors import SecondFactorRejected
from zenzefi.accounts.identity import IDENTITIES, User
from zenzefi.accounts.page_sessions import PAGE_SESSIONS, ProviderSession
from zenzefi.accounts.second_factor import SECOND_FACTOR
from zenzefi.branding import BRAND
from zenzefi.errors import RateLimited
from zenzefi.gate_cookies import HALFWAY
from zenzefi.i18n import gettext as _
from zenzefi.keys import KEYRING
from zenzefi.rate_limits.middleware import code_attempt
from zenzefi.web import security_notices
from zenzefi.web.forms import Form
from zenzefi.web.logout import end_current_session
from zenzefi.web.page import PageContext
from zenzefi.web.page_security import own_path
from zenzefi.web.profile import confirm_password
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/profile")

_MAX_TOKEN = 1500  # characters of an ID token that is kept until the code
_LIFE = 300  # seconds between the password and the code


# --- at sign-in


def ask_for_code(
    page: PageContext, user: User, wanted: str, session: ProviderSession | None = None
) -> web.Response:
    """Redirect to the code form, with the user whose password was correct in a sealed cookie.

    ``session``: the user signed in with an identity provider instead.
    """
    via = None
    if session is not None:  # a cookie has at most 4096 bytes
        token = session.id_token if len(session.id_token) <= _MAX_TOKEN else ""
        via = [str(session.identity_id), session.sid, token]
    note = json.dumps([str(user.id), user.credential_version, int(time.time()), wanted, via])
    response = page.redirect("/login/code")
    sealed = page.request.app[KEYRING].encrypt(note.encode()).decode("ascii")
    page.set_cookie(response, HALFWAY, sealed, max_age=_LIFE)
    return response


async def _halfway(page: PageContext) -> tuple[User, str, ProviderSession | None] | None:
    sealed = page.cookie(HALFWAY)
    if not sealed:
        return None
    try:
        note = json.loads(page.request.app[KEYRING].decrypt(sealed.encode()))
        named, version, made, wanted, *more = note  # without `more`: of an earlier version
        user_id, age = UUID(named), time.time() - made
    except (LookupError, ValueError, TypeError, AttributeError):  # of another key or purpose
        return None
    if age > _LIFE:
        return None
    user = await page.request.app[IDENTITIES].find(user_id)
    if user is None or not user.is_active or user.credential_version != version:
        return None
    via = more[0] if more else None
    session = None if via is None else ProviderSession(UUID(via[0]), via[1], via[2])
    return user, own_path(wanted), session


@routes.get("/login/code", access=PageAccess.ANYONE, section="")
async def code_form(page: PageContext) -> web.StreamResponse:
    """Form for the code."""
    if await _halfway(page) is None:
        return page.redirect("/login")
    return page.render("login_code.html", form=Form())


@routes.post("/login/code", access=PageAccess.ANYONE, section="")
async def code(page: PageContext) -> web.StreamResponse:
    """Check the code and complete the sign-in."""
    found = await _halfway(page)
    if found is None:
        page.flash("info", _("That took too long. Please sign in again."))
        return page.redirect("/login")
    user, wanted, provider_session = found
    form = await page.form()
    try:
        await page.request.app[SECOND_FACTOR].check(
            page.actor, user.id, form.text("code")[:40], code_attempt(page.request, user.email)
        )
    except SecondFactorRejected:
        form.fail("code", _("This code is incorrect or was already used."))
    except RateLimited:
        form.fail("code", _("Too many wrong codes. Wait 15 minutes."))
    if not form.ok:
        return page.render("login_code.html", status=422, form=form)
    sessions = page.request.app[PAGE_SESSIONS]
    await end_current_session(page)
    page.signed_in_user = user
    response = page.redirect(wanted)
    secret = await sessions.start(
        page.actor, user, page.agent, second_factor=True, provider_session=provider_session
    )
    page.signed_in(response, secret)
    page.drop_cookie(response, HALFWAY)
    return response


# --- setting up


async def _setup_page(page: PageContext, form: Form, *, status: int = 200) -> web.Response:
    import segno  # needed on this page only

    second_factor = page.request.app[SECOND_FACTOR]
    secret = await second_factor.prepare(page.user.id)
    uri = second_factor.uri(secret, page.user.email, page.request.app[BRAND].name)
    picture = segno.make(uri, error="m")
    svg = picture.svg_inline(scale=4, border=0, dark="#000", svgclass=None, lineclass=None)
    return page.render(
        "account/two_factor.html",
        status=status,
        form=form,
        # Generated by the library from numbers; contains no text of the user.
        picture=Markup(svg),  # noqa: S704
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
    )


@routes.get("/account/two-factor")
async def set_up_form(page: PageContext) -> web.StreamResponse:
    """QR code, and a field for the first code."""
    if page.user.totp_enabled_at is not None:
        return page.redirect("/account/profile#two-factor")
    return await _setup_page(page, Form())


@routes.post("/account/two-factor")
async def set_up(page: PageContext) -> web.StreamResponse:
    """Switch two-step sign-in on and show the recovery codes once."""
    form = await page.form()
    second_factor = page.request.app[SECOND_FACTOR]
    try:
        codes = await second_factor.enable(
            page.actor,
            page.user.id,
            form.text("code")[:40],
            code_attempt(page.request, page.user.email),
        )
    except SecondFactorRejected:
        form.fail(
            "code",
            _("This code is incorrect. Check the clock of your phone and try the next code."),
        )
        return await _setup_page(page, form, status=422)
    except RateLimited:
        form.fail("code", _("Too many wrong codes. Wait 15 minutes."))
        return await _setup_page(page, form, status=422)
    if page.session is not None:
        await page.request.app[PAGE_SESSIONS].strengthen(page.session.id)
    security_notices.two_step_on(page.request, page.user)
    return page.render("account/recovery_codes.html", codes=codes)


@routes.get("/account/two-factor/codes")
async def codes_form(page: PageContext) -> web.StreamResponse:
    """Form for the password, before new recovery codes are shown."""
    return page.render("account/confirm_codes.html", form=Form())


@routes.post("/account/two-factor/codes")
async def codes(page: PageContext) -> web.StreamResponse:
    """Replace the recovery codes and show the new ones once."""
    form = await page.form()
    if not await confirm_password(page, form):
        return page.render("account/confirm_codes.html", status=422, form=form)
    fresh = await page.request.app[SECOND_FACTOR].new_codes(page.actor, page.user.id)
    return page.render("account/recovery_codes.html", codes=fresh)


@routes.get("/account/two-factor/off")
async def off_form(page: PageContext) -> web.StreamResponse:
    """Form for the password, before two-step sign-in is switched off."""
    return page.render("account/confirm_off.html", form=Form())


@routes.post("/account/two-factor/off")
async def off(page: PageContext) -> web.StreamResponse:
    """Switch two-step sign-in off."""
    form = await page.form()
    if not await confirm_password(page, form):
        return page.render("account/confirm_off.html", status=422, form=form)
    await page.request.app[SECOND_FACTOR].disable(page.actor, page.user.id)
    security_notices.two_step_off(page.request, page.user)
    page.flash("info", _("Two-step sign-in is off."))
    return page.redirect("/account/profile#two-factor")
