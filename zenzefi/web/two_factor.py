"""Pages of the second step: entering a code at sign-in, setting it up, recovery codes."""

from __future__ import annotations

import json
import time
from uuid import UUID

from aiohttp import web
from markupsafe import Markup

from zenzefi.accounts.errors import SecondFactorRejected
from zenzefi.accounts.identity import IDENTITIES, User
from zenzefi.accounts.page_sessions import PAGE_SESSIONS
from zenzefi.accounts.second_factor import SECOND_FACTOR
from zenzefi.errors import RateLimited
from zenzefi.gate_cookies import HALFWAY
from zenzefi.i18n import gettext as _
from zenzefi.keys import KEYRING
from zenzefi.rate_limits.middleware import code_attempt
from zenzefi.web import security_notices
from zenzefi.web.forms import Form
from zenzefi.web.logout import end_current_session
from zenzefi.web.page import Access, Page, Routes
from zenzefi.web.page_security import own_path
from zenzefi.web.profile import confirm_password

routes = Routes(access=Access.SIGNED_IN, section="/account/profile")

_LIFE = 300  # seconds between the password and the code


# --- at sign-in


def ask_for_code(page: Page, user: User, wanted: str) -> web.Response:
    """After the right password: on to the code, with an encrypted note of who is half-way in."""
    note = json.dumps([str(user.id), user.credential_version, int(time.time()), wanted])
    response = page.redirect("/login/code")
    sealed = page.request.app[KEYRING].encrypt(note.encode()).decode("ascii")
    page.set_cookie(response, HALFWAY, sealed, max_age=_LIFE)
    return response


async def _halfway(page: Page) -> tuple[User, str] | None:
    sealed = page.cookie(HALFWAY)
    if not sealed:
        return None
    try:
        note = json.loads(page.request.app[KEYRING].decrypt(sealed.encode()))
    except LookupError:
        return None
    user_id, version, made, wanted = note
    if time.time() - made > _LIFE:
        return None
    user = await page.request.app[IDENTITIES].find(UUID(user_id))
    if user is None or not user.is_active or user.credential_version != version:
        return None
    return user, own_path(wanted)


@routes.get("/login/code", access=Access.ANYONE, section="")
async def code_form(page: Page) -> web.StreamResponse:
    """Ask for the code."""
    if await _halfway(page) is None:
        return page.redirect("/login")
    return page.render("login_code.html", form=Form())


@routes.post("/login/code", access=Access.ANYONE, section="")
async def code(page: Page) -> web.StreamResponse:
    """Take the code and finish the sign-in."""
    found = await _halfway(page)
    if found is None:
        page.flash("info", _("That took too long. Please log in again."))
        return page.redirect("/login")
    user, wanted = found
    form = await page.form()
    try:
        await page.request.app[SECOND_FACTOR].check(
            page.actor, user.id, form.text("code")[:40], code_attempt(page.request, user.email)
        )
    except SecondFactorRejected:
        form.fail("code", _("This code is not right, or it was used already."))
    except RateLimited:
        form.fail("code", _("Too many wrong codes. Wait a quarter of an hour."))
    if not form.ok:
        return page.render("login_code.html", status=422, form=form)
    sessions = page.request.app[PAGE_SESSIONS]
    await end_current_session(page)
    page.visitor = user
    response = page.redirect(wanted)
    secret = await sessions.start(page.actor, user, page.agent, second_factor=True)
    page.signed_in(response, secret)
    page.drop_cookie(response, HALFWAY)
    return response


# --- setting up


async def _setup_page(page: Page, form: Form, *, status: int = 200) -> web.Response:
    import segno  # only those who set it up need it

    second_factor = page.request.app[SECOND_FACTOR]
    secret = await second_factor.prepare(page.user.id)
    picture = segno.make(second_factor.uri(secret, page.user.email), error="m")
    svg = picture.svg_inline(scale=4, border=0, dark="#000", svgclass=None, lineclass=None)
    return page.render(
        "account/two_factor.html",
        status=status,
        form=form,
        # Made of modules and numbers by the library: nothing of the user's text is in it.
        picture=Markup(svg),  # noqa: S704
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
    )


@routes.get("/account/two-factor")
async def set_up_form(page: Page) -> web.StreamResponse:
    """The QR code, and a field for the first code."""
    if page.user.totp_enabled_at is not None:
        return page.redirect("/account/profile#two-factor")
    return await _setup_page(page, Form())


@routes.post("/account/two-factor")
async def set_up(page: Page) -> web.StreamResponse:
    """Switch it on, and show the recovery codes once."""
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
            "code", _("This code is not right. Check the clock of your phone and try the next one.")
        )
        return await _setup_page(page, form, status=422)
    except RateLimited:
        form.fail("code", _("Too many wrong codes. Wait a quarter of an hour."))
        return await _setup_page(page, form, status=422)
    if page.session is not None:
        await page.request.app[PAGE_SESSIONS].strengthen(page.session.id)
    security_notices.two_step_on(page.request, page.user)
    return page.render("account/recovery_codes.html", codes=codes)


@routes.get("/account/two-factor/codes")
async def codes_form(page: Page) -> web.StreamResponse:
    """Ask for the password before showing new codes."""
    return page.render("account/confirm_codes.html", form=Form())


@routes.post("/account/two-factor/codes")
async def codes(page: Page) -> web.StreamResponse:
    """Replace the recovery codes and show the new ones once."""
    form = await page.form()
    if not await confirm_password(page, form):
        return page.render("account/confirm_codes.html", status=422, form=form)
    fresh = await page.request.app[SECOND_FACTOR].new_codes(page.actor, page.user.id)
    return page.render("account/recovery_codes.html", codes=fresh)


@routes.get("/account/two-factor/off")
async def off_form(page: Page) -> web.StreamResponse:
    """Ask for the password before switching it off."""
    return page.render("account/confirm_off.html", form=Form())


@routes.post("/account/two-factor/off")
async def off(page: Page) -> web.StreamResponse:
    """Switch it off."""
    form = await page.form()
    if not await confirm_password(page, form):
        return page.render("account/confirm_off.html", status=422, form=form)
    await page.request.app[SECOND_FACTOR].disable(page.actor, page.user.id)
    security_notices.two_step_off(page.request, page.user)
    page.flash("info", _("Two-step sign-in is off."))
    return page.redirect("/account/profile#two-factor")
