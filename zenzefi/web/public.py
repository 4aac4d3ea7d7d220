"""Public pages: front page, registration, sign-in and sign-out, language."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from aiohttp import web

from zenzefi import i18n
from zenzefi.accounts.errors import (
    EmailTaken,
    InvitationRequired,
    LoginRejected,
    MailDomainRefused,
    TermsNotAccepted,
    UsernameTaken,
)
from zenzefi.accounts.page_sessions import PAGE_SESSIONS
from zenzefi.accounts.registration import ON_REGISTER, REGISTRATIONS, NewAccount
from zenzefi.accounts.schemas import Registration, email_key
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.branding import BRAND
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.errors import NotFound
from zenzefi.http.error_responses import is_navigation
from zenzefi.i18n import gettext as _
from zenzefi.oidc.setup import PROVIDERS
from zenzefi.proxy.setup import GATE
from zenzefi.settings import SETTINGS
from zenzefi.tokens.service import TOKENS
from zenzefi.version import __version__
from zenzefi.web import view_models
from zenzefi.web.forms import Form
from zenzefi.web.logout import end_current_session, end_session
from zenzefi.web.outgoing_mail import has_mail
from zenzefi.web.page import PageContext
from zenzefi.web.page_security import own_path
from zenzefi.web.provider_sign_in import sign_out_url, waiting_account
from zenzefi.web.routing import PageAccess, PageRoute, PageRoutes, handler
from zenzefi.web.session_binding import CONTINUE_PATH, LEAVE_PATH
from zenzefi.web.two_factor import ask_for_code

routes = PageRoutes(access=PageAccess.ANYONE)


def application_name(page: PageContext) -> str:
    """Name of the upstream application for users; empty if none is configured.

    Never the address of the upstream, which is internal.
    """
    settings = page.request.app[SETTINGS]
    return settings.application_name or settings.proxy_host or ""


async def index(page: PageContext) -> web.StreamResponse:
    """The front page."""
    offers: list[view_models.DurationOffer] = []
    with suppress(DatabaseUnavailable):  # the page is shown without prices then
        offers = view_models.offers(await page.request.app[TOKENS].offers.current())
    return page.render("index.html", offers=offers, application=application_name(page))


@routes.get("/register")
async def register_form(page: PageContext) -> web.StreamResponse:
    """Registration form; with an invitation, the link contains its secret."""
    if page.signed_in_user is not None:
        return page.redirect("/account")
    invitation = page.request.query.get("invitation", "")[:100]
    address = await page.request.app[REGISTRATIONS].check_invitation(invitation)
    wanted = own_path(page.request.query.get("next", ""))
    return _register_page(page, Form({"email": address or "", "invitation": invitation}), wanted)


def _register_page(
    page: PageContext, form: Form, wanted: str, *, status: int = 200
) -> web.Response:
    settings = page.request.app[SETTINGS]
    return page.render(
        "register.html",
        status=status,
        form=form,
        next=wanted,
        terms=settings.terms_version,
        domains=settings.registration_domains,
    )


@routes.post("/register")
async def register(page: PageContext) -> web.StreamResponse:
    """Create an account and sign in."""
    registrations = page.request.app[REGISTRATIONS]
    registrations.refuse_if_closed()
    form = await page.form()
    wanted = own_path(form.raw("next"))
    entry = form.read(Registration, "email", "username", "password")
    if entry is not None:
        account = NewAccount(
            email=entry.email,
            username=entry.username,
            password=entry.password,
            invitation=form.text("invitation"),
            terms=form.text("accept_terms") or None,
        )
        try:
            page.signed_in_user = await registrations.register(page.actor, account)
        except TermsNotAccepted:
            form.fail("accept_terms", _("Please accept the terms of use."))
        except MailDomainRefused:
            form.fail("email", _("Addresses of this mail domain can't register here."))
        except InvitationRequired:
            form.fail("", _("This invitation is for another address, or it is no longer valid."))
        except EmailTaken:
            form.fail("email", _("An account with this address already exists."))
        except UsernameTaken:
            form.fail("username", _("That username is taken. Please choose another."))
    if not form.ok or page.signed_in_user is None:
        return _register_page(page, form, wanted, status=422)
    page.flash("good", _("Welcome! Your account is ready."))
    for notify in page.request.app[ON_REGISTER]:
        notify(page.request, page.user)
    response = page.redirect(wanted)
    secret = await page.request.app[PAGE_SESSIONS].start(page.actor, page.user, page.agent)
    page.signed_in(response, secret)
    return response


@routes.get("/login")
async def login_form(page: PageContext) -> web.StreamResponse:
    """Sign-in form."""
    wanted = own_path(page.request.query.get("next", ""))
    if page.signed_in_user is not None:
        return page.redirect(wanted)
    return _login_page(page, Form(), wanted)


def _login_page(
    page: PageContext, form: Form, wanted: str, *, status: int = 200
) -> web.StreamResponse:
    settings = page.request.app[SETTINGS]
    return page.render(
        "login.html",
        status=status,
        form=form,
        next=wanted,
        mail=has_mail(page.request),
        providers=page.request.app[PROVIDERS].values(),
        # Who comes from a provider confirms with the password that the account is theirs.
        with_password=settings.password_sign_in or waiting_account(page) is not None,
    )


@routes.post("/login")
async def login(page: PageContext) -> web.StreamResponse:
    """Sign in. Unknown address, wrong password and deactivated account get the same response."""
    form = await page.form()
    wanted = own_path(form.raw("next"))
    for name in ("email", "password"):
        if not form.raw(name):
            form.fail(name, _("Please fill this in."))
    if form.ok:
        try:
            user = await page.request.app[ACCOUNTS].sign_in(
                page.actor,
                form.text("email")[:254],
                form.raw("password")[:1024],
                connects=_connects(page, form.text("email")),
            )
        except LoginRejected:
            form.fail("", _("The e-mail address or password is incorrect."))
    if not form.ok:
        return _login_page(page, form, wanted, status=422)
    if user.totp_enabled_at is not None:
        return ask_for_code(page, user, wanted)
    sessions = page.request.app[PAGE_SESSIONS]
    await end_current_session(page)
    page.signed_in_user = user
    response = page.redirect(wanted)
    page.signed_in(response, await sessions.start(page.actor, user, page.agent))
    return response


def _connects(page: PageContext, email: str) -> bool:
    """Whether the sign-in confirms that a provider's statement is about this account."""
    waiting = waiting_account(page)
    return waiting is not None and email_key(waiting.email) == email_key(email)


@routes.post(CONTINUE_PATH)
async def continue_sign_in(page: PageContext) -> web.StreamResponse:
    """Bind a sign-in that was made in another browser or network to this one."""
    for user, session in page.foreign_sign_ins[:1]:
        actor = replace(page.actor, user_id=user.id)
        with suppress(NotFound):
            await page.request.app[PAGE_SESSIONS].move(actor, user.id, session.id, page.agent)
    return page.redirect("/account")


@routes.post(LEAVE_PATH)
async def leave_sign_in(page: PageContext) -> web.StreamResponse:
    """End the foreign sign-ins and redirect to the sign-in form.

    They are ended on the server, because a cookie that a script planted under another path can't be
    dropped: the confirmation would appear on every page. A user's own earlier sign-in ends as well.
    """
    response = page.redirect("/login")
    for user, session in page.foreign_sign_ins:
        await end_session(page, session.id, user)
    if page.foreign_sign_ins:
        page.signed_out(response)
    return response


@routes.post("/logout")
async def logout(page: PageContext) -> web.StreamResponse:
    """End this sign-in and the browser's proxy sign-ins, also at the upstream's own origin."""
    at_provider = await sign_out_url(page)
    await end_current_session(page)
    if at_provider is None:
        page.flash("info", _("You are signed out."))
        response = page.redirect("/login")
    else:  # a page: the response to a form can't redirect to the provider (CSP form-action)
        page.signed_in_user = page.session = None
        title, url = at_provider
        response = page.render("signed_out.html", provider=title, url=url)
    page.signed_out(response)
    gate = page.request.app.get(GATE)
    if gate is not None:
        await gate.cookies.sign_out(page.request, response)
    return response


@routes.post("/account/language")
async def language(page: PageContext) -> web.StreamResponse:
    """Store the language in a cookie and return to the page."""
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


_front_page = handler(PageRoute("GET", "/", index, PageAccess.ANYONE, ""))


async def root(request: web.Request) -> web.StreamResponse:
    """``GET /``: the front page for browsers, JSON for programs."""
    if is_navigation(request):
        return await _front_page(request)
    return web.json_response(
        {"message": f"{request.app[BRAND].name} gate", "version": __version__, "docs": "/docs"},
        headers={"Vary": "Accept, Sec-Fetch-Mode"},
    )
