"""Pages for everybody: the front page, registering, logging in and out, the language."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from aiohttp import web

from zenzefi import i18n
from zenzefi.accounts.errors import EmailTaken, LoginRejected, UsernameTaken
from zenzefi.accounts.page_sessions import PAGE_SESSIONS
from zenzefi.accounts.schemas import Registration
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.errors import NotFound
from zenzefi.http.error_responses import is_navigation
from zenzefi.i18n import gettext as _
from zenzefi.proxy.setup import GATE
from zenzefi.settings import SETTINGS
from zenzefi.version import __version__
from zenzefi.web import email_confirmation, view_models
from zenzefi.web.forms import Form
from zenzefi.web.logout import end_current_session, end_session
from zenzefi.web.outgoing_mail import has_mail
from zenzefi.web.page import Access, Page, Route, Routes, bound
from zenzefi.web.page_security import own_path
from zenzefi.web.session_binding import CONTINUE_PATH, LEAVE_PATH
from zenzefi.web.two_factor import ask_for_code

routes = Routes(access=Access.ANYONE)


def site(page: Page) -> str:
    """What the gate stands in front of, by the name people know; empty where it has none.

    Never the upstream's own address: that is nobody's business out here.
    """
    settings = page.request.app[SETTINGS]
    return settings.application_name or settings.proxy_host or ""


async def index(page: Page) -> web.StreamResponse:
    """The front page."""
    offers = view_models.offers(page.request.app[SETTINGS])
    return page.render("index.html", offers=offers, site=site(page))


@routes.get("/register")
async def register_form(page: Page) -> web.StreamResponse:
    """The empty form."""
    if page.visitor is not None:
        return page.redirect("/account")
    wanted = own_path(page.request.query.get("next", ""))
    return page.render("register.html", form=Form(), next=wanted)


@routes.post("/register")
async def register(page: Page) -> web.StreamResponse:
    """Open an account and sign in at once."""
    form = await page.form()
    wanted = own_path(form.raw("next"))
    entry = form.read(Registration, "email", "username", "password")
    if entry is not None:
        accounts = page.request.app[ACCOUNTS]
        try:
            page.visitor = await accounts.register(
                page.actor, email=entry.email, username=entry.username, password=entry.password
            )
        except EmailTaken:
            form.fail("email", _("There is an account with this address already."))
        except UsernameTaken:
            form.fail("username", _("That username is taken. Please choose another."))
    if not form.ok or page.visitor is None:
        return page.render("register.html", status=422, form=form, next=wanted)
    page.flash("good", _("Welcome! Your account is ready."))
    email_confirmation.send_confirmation(page, page.user)
    response = page.redirect(wanted)
    secret = await page.request.app[PAGE_SESSIONS].start(page.actor, page.user, page.agent)
    page.signed_in(response, secret)
    return response


@routes.get("/login")
async def login_form(page: Page) -> web.StreamResponse:
    """The empty form."""
    wanted = own_path(page.request.query.get("next", ""))
    if page.visitor is not None:
        return page.redirect(wanted)
    return page.render("login.html", form=Form(), next=wanted, mail=has_mail(page.request))


@routes.post("/login")
async def login(page: Page) -> web.StreamResponse:
    """Sign in. Unknown address, wrong password and closed account are answered alike."""
    form = await page.form()
    wanted = own_path(form.raw("next"))
    for name in ("email", "password"):
        if not form.raw(name):
            form.fail(name, _("Please fill this in."))
    if form.ok:
        try:
            user = await page.request.app[ACCOUNTS].sign_in(
                page.actor, form.text("email")[:254], form.raw("password")[:1024]
            )
        except LoginRejected:
            form.fail("", _("The e-mail address or password is incorrect."))
    if not form.ok:
        return page.render(
            "login.html", status=422, form=form, next=wanted, mail=has_mail(page.request)
        )
    if user.totp_enabled_at is not None:
        return ask_for_code(page, user, wanted)
    sessions = page.request.app[PAGE_SESSIONS]
    await end_current_session(page)
    page.visitor = user
    response = page.redirect(wanted)
    page.signed_in(response, await sessions.start(page.actor, user, page.agent))
    return response


@routes.post(CONTINUE_PATH)
async def continue_elsewhere(page: Page) -> web.StreamResponse:
    """Use the sign-in that was made in another browser or network in this one from now on."""
    for user, session in page.elsewhere[:1]:
        actor = replace(page.actor, user_id=user.id)
        with suppress(NotFound):
            await page.request.app[PAGE_SESSIONS].move(actor, user.id, session.id, page.agent)
    return page.redirect("/account")


@routes.post(LEAVE_PATH)
async def leave_elsewhere(page: Page) -> web.StreamResponse:
    """End the sign-ins that are not the visitor's, and let the visitor sign in.

    They end on the server: a cookie that a script planted under another path could not be dropped
    and would ask for ever. A user's own sign-in from before ends by this as well, and another one
    takes its place.
    """
    response = page.redirect("/login")
    for user, session in page.elsewhere:
        await end_session(page, session.id, user)
    if page.elsewhere:
        page.signed_out(response)
    return response


@routes.post("/logout")
async def logout(page: Page) -> web.StreamResponse:
    """End this sign-in, and the browser's sign-ins at the proxy, its own origin included."""
    await end_current_session(page)
    page.flash("info", _("You are logged out."))
    response = page.redirect("/login")
    page.signed_out(response)
    gate = page.request.app.get(GATE)
    if gate is not None:
        await gate.cookies.sign_out(page.request, response)
    return response


@routes.post("/account/language")
async def language(page: Page) -> web.StreamResponse:
    """Remember the language and go back."""
    form = await page.form()
    response = page.redirect(own_path(form.raw("next"), "/"))
    chosen = form.raw("language")
    if chosen in i18n.LANGUAGES:
        response.set_cookie(
            i18n.LANGUAGE_COOKIE,
            chosen,
            path="/",
            max_age=365 * 86400,
            samesite="Lax",
            httponly=True,
            secure=page.request.app[SETTINGS].public_origin.scheme == "https",
        )
    return response


_front_page = bound(Route("GET", "/", index, Access.ANYONE, ""))


async def root(request: web.Request) -> web.StreamResponse:
    """``GET /``: the front page for people, JSON for programs."""
    if is_navigation(request):
        return await _front_page(request)
    return web.json_response(
        {"message": "Zenzefi gate", "version": __version__, "docs": "/docs"},
        headers={"Vary": "Accept, Sec-Fetch-Mode"},
    )
