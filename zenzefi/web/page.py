"""One request for a page, from cookie to headers: what every view of the pages is wrapped in.

Checks come before the view and headers after it, for every route of :class:`Routes` alike; a view
can't forget them. Order: language, who may read, who is it, may they, did their own form send it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiohttp_jinja2
from aiohttp import hdrs, web

from zenzefi import gate_cookies, i18n
from zenzefi.accounts.errors import NotSuperuser
from zenzefi.accounts.identity import User
from zenzefi.accounts.page_sessions import ABSOLUTE, PAGE_SESSIONS, PageSession
from zenzefi.audit.log import Actor
from zenzefi.db.base import storable
from zenzefi.errors import GateError, NotFound
from zenzefi.gate_cookies import FLASH, SESSION, VISIT
from zenzefi.http.body import fields_of
from zenzefi.http.client_address import client_address_of
from zenzefi.http.error_responses import is_navigation
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.http.request_id import request_id_of
from zenzefi.i18n import gettext as _
from zenzefi.keys import KEYRING
from zenzefi.origin import PROXY_PREFIX
from zenzefi.rate_limits import device_cookies
from zenzefi.settings import SETTINGS
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.version import __version__
from zenzefi.web import flash, isolation, page_security, session_binding
from zenzefi.web.forms import Form
from zenzefi.web.labels import explain

log = logging.getLogger(__name__)


class Access(Enum):
    """Who may see a page."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    ADMINISTRATOR = "administrator"


@dataclass(slots=True)
class Page:
    """One request for a page, and what its template may know."""

    request: web.Request
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    visitor: User | None = None
    session: PageSession | None = None
    elsewhere: list[tuple[User, PageSession]] = field(default_factory=list)
    """Sign-ins that cookies name, made in another browser or network. The visitor is not signed in
    then."""
    secret: str = ""
    fresh_visit: bool = False
    flashes: list[flash.Flash] = field(default_factory=list)
    outgoing: list[flash.Flash] = field(default_factory=list)
    section: str = ""
    bare: bool = False
    is_private: bool = True
    """Whether no script of the application can read the response."""

    # --- what templates read

    @property
    def user(self) -> User:
        """Who is signed in; templates may test it, views of signed-in pages may count on it."""
        return self.visitor  # type: ignore[return-value]  # never None behind Access.SIGNED_IN

    @property
    def session_id(self) -> UUID | None:
        """The id of this sign-in."""
        return None if self.session is None else self.session.id

    @property
    def language(self) -> str:
        """The language's code, for ``<html lang>``."""
        return i18n.current().language

    @property
    def zone(self) -> str:
        """The time zone's name as the script would write it."""
        return str(i18n.current().zone)

    @property
    def languages(self) -> dict[str, str]:
        """What the switch offers."""
        return i18n.LANGUAGES

    @property
    def now(self) -> str:
        """The database's clock, for countdowns: access ends by it."""
        now = self.request.app[TOKEN_VALIDATOR].now()
        return now.isoformat(timespec="seconds").replace("+00:00", "Z")

    @property
    def here(self) -> str:
        """Where to come back to after changing the language."""
        return isolation.address(self.request) if self.request.method == "GET" else self.section

    @property
    def version(self) -> str:
        """The program's version."""
        return __version__

    @property
    def csrf(self) -> str:
        """The form token."""
        return page_security.form_token(
            self._key, session_binding.form_secret(self.secret, self.request)
        )

    # --- what views use

    @property
    def actor(self) -> Actor:
        """Who acts, for the audit log."""
        return Actor(
            user_id=None if self.visitor is None else self.visitor.id,
            address=client_address_of(self.request).address or None,
            request_id=request_id_of(self.request),
            agent=self.agent,
        )

    @property
    def agent(self) -> str | None:
        """What the browser calls itself; a header may hold any bytes (RFC 9110, 5.5)."""
        header = self.request.headers.get("User-Agent")
        return None if header is None else storable(header)

    async def form(self) -> Form:
        """The fields of the form that was sent; files are not taken."""
        return Form(await fields_of(self.request))

    def flash(self, kind: flash.Kind, text: str) -> None:
        """Say something on the next page."""
        self.outgoing.append(flash.Flash(kind, text))

    def render(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """The page; a form that is shown again with errors is status 422."""
        return aiohttp_jinja2.render_template(
            template, self.request, {"page": self, **context}, status=status
        )

    def redirect(self, path: str) -> web.Response:
        """303 to a page of the gate (RFC 9110, 15.4.4): the answer to every form that worked."""
        return web.Response(status=303, headers={hdrs.LOCATION: path})

    def signed_in(self, response: web.StreamResponse, secret: str) -> None:
        """Put the secret of a new sign-in into the browser; the one before the sign-in goes."""
        self.set_cookie(response, SESSION, secret, max_age=int(ABSOLUTE.total_seconds()))
        known = device_cookies.cookie_for(self.request.app, self.user.email)
        self.set_cookie(response, device_cookies.NAME, known, max_age=device_cookies.LIFE)
        self.drop_cookie(response, VISIT)

    def signed_out(self, response: web.StreamResponse) -> None:
        """Forget the sign-in."""
        self.drop_cookie(response, SESSION)

    # --- cookies

    @property
    def _key(self) -> bytes:
        return self.request.app[KEYRING].keys("pages")[0]

    def _name(self, name: str) -> str:
        request = self.request
        public = request.app[SETTINGS].public_origin
        agent = request.headers.get("User-Agent", "")
        return gate_cookies.stored_name(name, public, request.headers.get("Host", ""), agent)

    def cookie(self, name: str) -> str:
        """The value of one of the pages' own cookies, or an empty string.

        All values that the gate sets are ASCII: one that is not comes from somebody else.
        """
        value = self.request.cookies.get(self._name(name), "")
        return value if value.isascii() else ""

    def _values(self, name: str) -> list[str]:
        """Every value of it: a script may have written one with a longer path."""
        lines = self.request.headers.getall("Cookie", ())
        return gate_cookies.values_of(lines, self._name(name))

    def set_cookie(
        self, response: web.StreamResponse, name: str, value: str, *, max_age: int | None = None
    ) -> None:
        """Set one of the pages' own cookies: for this host only, unreadable for scripts."""
        stored = self._name(name)
        is_https = self.request.app[SETTINGS].public_origin.scheme == "https"
        response.set_cookie(
            stored,
            value,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=is_https or stored.startswith(gate_cookies.SEAL),
            max_age=max_age,
        )

    def drop_cookie(self, response: web.StreamResponse, name: str) -> None:
        """Remove one."""
        self.set_cookie(response, name, "", max_age=0)

    # --- the chain

    async def recognise(self) -> None:
        """Find out who it is, and what was left to say."""
        offered = self._values(SESSION)
        if offered:
            await self._recognise(offered)
        if not self.secret:
            self.secret = self.cookie(VISIT)
            if len(self.secret) < 20:
                self.secret, self.fresh_visit = secrets.token_urlsafe(24), True

    async def _recognise(self, offered: list[str]) -> None:
        """The session of this client. Of another one's it is only noted that there is one."""
        sessions = self.request.app[PAGE_SESSIONS]
        found = await sessions.find_all(offered)
        is_shared = session_binding.is_shared(self.request)
        for secret, user, session in found:
            if not is_shared or session_binding.is_of(session, self.request):
                self.visitor, self.session, self.secret = user, session, secret
                await sessions.touch(session)
                return
        if found:
            self.secret = found[0][0]
            self.elsewhere = [(user, session) for _, user, session in found]

    @property
    def shares_origin(self) -> bool:
        """Whether the application's scripts run on the origin of this page."""
        return isolation.shares_origin(self.request.app[SETTINGS])

    async def isolated(self) -> web.Response | None:
        """The redirect that keeps the application's windows away, where one is needed."""
        if not self.shares_origin:
            return None
        self.is_private = False
        isolation.refuse_what_no_browser_protects(self.request, self.request.app[SETTINGS])
        if self.request.method != hdrs.METH_GET:
            return None
        secret = self.cookie(SESSION) or self.cookie(VISIT)
        bound = secret and session_binding.form_secret(secret, self.request)
        spent = self.request.app[isolation.SPENT]
        if await isolation.is_second_step(self.request, self._key, bound, spent):
            self.is_private = True
            return None
        if not secret:  # the redirect brings the cookie that its ticket is bound to
            secret = self.secret = secrets.token_urlsafe(24)
            self.fresh_visit = True
        bound = session_binding.form_secret(secret, self.request)
        return isolation.redirect(self.request, self._key, bound)

    async def require_own_form(self) -> None:
        """Raises ``CrossSiteRefused`` unless a page that was shown to this visitor sent it."""
        page_security.refuse_strangers(self.request, PROXY_PREFIX)
        session_binding.require_press(self.request)
        token = (await self.form()).raw("csrf")
        secret = session_binding.form_secret(self.secret, self.request)
        if not page_security.is_form_token(self._key, secret, token):
            raise CrossSiteRefused(_("This page was open for too long. Please try again."))
        self.is_private = True

    def finish(self, response: web.StreamResponse, form_targets: list[str]) -> web.StreamResponse:
        """Headers and cookies of every answer."""
        policy = isolation.PAGE_POLICY if self.shares_origin else "same-origin"
        headers = page_security.page_headers(self.nonce, form_targets, policy)
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        if response.status != 303 and self.is_private and self.cookie(FLASH):
            self.drop_cookie(response, FLASH)
        elif self.outgoing:
            self.set_cookie(response, FLASH, flash.pack(self._key, self.outgoing), max_age=60)
        if self.fresh_visit and self._name(SESSION) not in response.cookies:
            self.set_cookie(response, VISIT, self.secret)
        return response

    def failed(self, error: GateError) -> web.Response:
        """A page that says what happened and what to do next."""
        if not self.is_private:  # no account, no message for it, no form token that counts
            self.visitor = self.session = None
            self.elsewhere, self.flashes = [], []
            self.secret = secrets.token_urlsafe(24)
        title, text = explain(error)
        signed_in = self.visitor is not None
        page = self.render(
            "message.html",
            status=error.status,
            title=title,
            text=text,
            href="/account" if signed_in else "/",
            link=_("To my tokens") if signed_in else _("To the start"),
            request_id=request_id_of(self.request),
        )
        page.headers.update(error.headers)  # Retry-After
        return page


View = Callable[[Page], Awaitable[web.StreamResponse]]
FORM_TARGETS: web.AppKey[list[str]] = web.AppKey("form_targets", list)
"""Origins outside of the gate's own to which the answer to a form may lead (CSP form-action)."""


@dataclass(frozen=True, slots=True)
class Route:
    """One view, its place and its readers."""

    method: str
    path: str
    view: View
    access: Access
    section: str


class Routes:
    """The pages of one module."""

    def __init__(self, *, access: Access, section: str = "") -> None:
        self.routes: list[Route] = []
        self._access = access
        self._section = section

    def _add(self, method: str, path: str, section: str | None, access: Access | None) -> Any:
        def add(view: View) -> View:
            where = self._section if section is None else section
            self.routes.append(Route(method, path, view, access or self._access, where))
            return view

        return add

    def get(
        self, path: str, *, section: str | None = None, access: Access | None = None
    ) -> Callable[[View], View]:
        """A page."""
        return self._add(hdrs.METH_GET, path, section, access)  # type: ignore[no-any-return]

    def post(
        self, path: str, *, section: str | None = None, access: Access | None = None
    ) -> Callable[[View], View]:
        """What a form is sent to."""
        return self._add(hdrs.METH_POST, path, section, access)  # type: ignore[no-any-return]

    def mount(self, app: web.Application) -> None:
        """Put all of them on an application."""
        for route in self.routes:
            app.router.add_route(route.method, route.path, bound(route))
            if route.method == hdrs.METH_GET:
                app.router.add_route(hdrs.METH_HEAD, route.path, bound(route))


def bound(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler that runs the whole chain around a view."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with i18n.using(i18n.context_of(request)):
            page = Page(request, section=route.section)
            try:
                response = await _answer(page, route)
            except GateError as error:
                if not is_navigation(request):
                    raise
                if error.status >= 500:
                    log.warning("page failed: %s", error.code)
                response = page.failed(error)
            return page.finish(response, request.app[FORM_TARGETS])

    handle.__name__ = route.view.__name__
    return handle


async def _answer(page: Page, route: Route) -> web.StreamResponse:
    page_security.refuse_readers(page.request)
    redirect = await page.isolated()
    if redirect is not None:
        return redirect
    await page.recognise()
    # Flashes after the recognition: a database that is away must not eat them.
    page.flashes = flash.unpack(page._key, page.cookie(FLASH)) if page.cookie(FLASH) else []
    if page.elsewhere:
        return await session_binding.ask_who_it_is(page, route)
    if route.access is not Access.ANYONE and page.visitor is None:
        if route.method == hdrs.METH_POST:
            page.flash("info", _("You have been logged out. Please log in again."))
            return page.redirect("/login")
        return page.redirect(f"/login?next={quote(isolation.address(page.request), safe='/')}")
    if route.method == hdrs.METH_POST:
        await page.require_own_form()
    if route.access is Access.ADMINISTRATOR and not page.user.is_superuser:
        raise NotSuperuser
    if route.access is Access.ADMINISTRATOR and _lacks_second_factor(page):
        if page.user.totp_enabled_at is not None:
            page.flash("info", _("Administration needs your code: log out, and in again with it."))
            return page.redirect("/account/profile")
        page.flash("info", _("Administration needs two-step sign-in here. Please set it up."))
        return page.redirect("/account/two-factor")
    return await route.view(page)


def _lacks_second_factor(page: Page) -> bool:
    if not page.request.app[SETTINGS].admin_two_factor:
        return False
    is_proven = page.session is not None and page.session.second_factor_at is not None
    return page.user.totp_enabled_at is None or not is_proven


def path_id(page: Page, name: str = "id") -> UUID:
    """The UUID in the path; raises ``NotFound`` for anything else."""
    try:
        return UUID(page.request.match_info[name])
    except ValueError:
        raise NotFound from None
