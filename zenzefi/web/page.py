"""One request for a page: the signed-in user, cookies, forms, and what the template may use.

Every view gets a :class:`PageContext`. :mod:`zenzefi.web.routing` runs the checks before the view
and adds the headers after it.

States of a request, in this order:

1. *Not private*: where the application's scripts share the origin of the pages, until the isolation
   redirect or a form token has shown that no such script can read the response. A response in this
   state contains no account, no flash message and no valid form token.
2. *Private, anonymous*: ``signed_in_user`` is ``None``; ``secret`` is a visit secret, bound to the
   form tokens of the pages.
3. *Private, foreign sign-in*: the session cookie belongs to a session of another browser or
   network (``foreign_sign_ins``). The user is not signed in until they confirm.
4. *Private, signed in*: ``signed_in_user``, ``session`` and ``secret`` belong together.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp_jinja2
from aiohttp import hdrs, web

from zenzefi import gate_cookies, i18n
from zenzefi.accounts.identity import User
from zenzefi.accounts.page_sessions import ABSOLUTE, PAGE_SESSIONS, PageSession
from zenzefi.audit.log import Actor
from zenzefi.db.base import storable
from zenzefi.errors import GateError, NotFound
from zenzefi.gate_cookies import FLASH, SESSION, VISIT
from zenzefi.http.body import fields_of
from zenzefi.http.client_address import client_address_of
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.http.observation import SUBJECT
from zenzefi.http.request_id import request_id_of
from zenzefi.i18n import gettext as _
from zenzefi.keys import KEYRING, Signer
from zenzefi.origin import PROXY_PREFIX
from zenzefi.rate_limits import device_cookies
from zenzefi.settings import SETTINGS
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.version import __version__
from zenzefi.web import error_pages, flash, isolation, page_security, session_binding
from zenzefi.web.forms import Form


@dataclass(slots=True)
class PageContext:
    """One request for a page; templates read it as ``page``."""

    request: web.Request
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    signed_in_user: User | None = None
    session: PageSession | None = None
    foreign_sign_ins: list[tuple[User, PageSession]] = field(default_factory=list)
    """Sign-ins named by the cookies of this request but made in another browser or network. The
    user is not signed in then."""
    secret: str = ""
    """Secret of the session cookie, or of the visit cookie before the sign-in."""
    is_new_visit: bool = False
    flashes: list[flash.Flash] = field(default_factory=list)
    outgoing: list[flash.Flash] = field(default_factory=list)
    section: str = ""
    """Path of the entry to highlight in the navigation."""
    is_private: bool = True
    """Whether no script of the application can read the response."""

    # --- read by templates

    @property
    def user(self) -> User:
        """The signed-in user. Never ``None`` in a view that requires a sign-in; templates may test
        it."""
        return self.signed_in_user  # type: ignore[return-value]  # see above

    @property
    def session_id(self) -> UUID | None:
        """ID of the page session of this request."""
        return None if self.session is None else self.session.id

    @property
    def language(self) -> str:
        """Language code for ``<html lang>``."""
        return i18n.current().language

    @property
    def zone(self) -> str:
        """Time zone used for times on the page; the script compares it with the browser's."""
        return str(i18n.current().zone)

    @property
    def languages(self) -> dict[str, str]:
        """Languages of the language menu: names by code."""
        return i18n.LANGUAGES

    @property
    def now(self) -> str:
        """Time of the database's clock, for countdowns: tokens expire by this clock."""
        now = self.request.app[TOKEN_VALIDATOR].now()
        return now.isoformat(timespec="seconds").replace("+00:00", "Z")

    @property
    def return_path(self) -> str:
        """Path to return to after a change of the language."""
        return isolation.address(self.request) if self.request.method == "GET" else self.section

    @property
    def registration_open(self) -> bool:
        """Whether visitors can create an account."""
        settings = self.request.app[SETTINGS]
        return settings.registration == "open" and settings.password_sign_in

    @property
    def has_passwords(self) -> bool:
        """Whether users can sign in with a password (``PASSWORD_SIGN_IN``)."""
        return self.request.app[SETTINGS].password_sign_in

    @property
    def version(self) -> str:
        """Version of the gate."""
        return __version__

    @property
    def csrf(self) -> str:
        """Form token."""
        return page_security.form_token(
            self.signer, session_binding.form_secret(self.secret, self.request)
        )

    # --- used by views

    @property
    def actor(self) -> Actor:
        """The actor for audit log rows."""
        return Actor(
            user_id=None if self.signed_in_user is None else self.signed_in_user.id,
            address=client_address_of(self.request).address or None,
            request_id=request_id_of(self.request),
            agent=self.agent,
        )

    @property
    def agent(self) -> str | None:
        """``User-Agent`` as storable text; a header may contain any bytes (RFC 9110, 5.5)."""
        header = self.request.headers.get("User-Agent")
        return None if header is None else storable(header)

    async def form(self) -> Form:
        """The submitted form fields, without files."""
        return Form(await fields_of(self.request))

    def flash(self, kind: flash.Kind, text: str) -> None:
        """Add a message to the next page."""
        self.outgoing.append(flash.Flash(kind, text))

    def render(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """Render a template. A form shown again with errors has status 422."""
        return aiohttp_jinja2.render_template(
            template, self.request, {"page": self, **context}, status=status
        )

    def redirect(self, path: str) -> web.Response:
        """303 to a page of the gate, the response to every successful form (RFC 9110, 15.4.4)."""
        return web.Response(status=303, headers={hdrs.LOCATION: path})

    def signed_in(self, response: web.StreamResponse, secret: str) -> None:
        """Set the session cookie of a new sign-in and drop the visit cookie."""
        self.set_cookie(response, SESSION, secret, max_age=int(ABSOLUTE.total_seconds()))
        known = device_cookies.cookie_for(self.request.app, self.user.email)
        self.set_cookie(response, device_cookies.NAME, known, max_age=device_cookies.LIFE)
        self.drop_cookie(response, VISIT)

    def signed_out(self, response: web.StreamResponse) -> None:
        """Drop the session cookie."""
        self.drop_cookie(response, SESSION)

    # --- cookies

    @property
    def signer(self) -> Signer:
        """Signs form tokens, flash cookies and isolation tickets."""
        return self.request.app[KEYRING].signer("pages")

    def _name(self, name: str) -> str:
        request = self.request
        public = request.app[SETTINGS].public_origin
        agent = request.headers.get("User-Agent", "")
        return gate_cookies.stored_name(name, public, request.headers.get("Host", ""), agent)

    def cookie(self, name: str) -> str:
        """Value of a cookie of the pages, or an empty string.

        The gate sets ASCII values only, so a value with other characters is not the gate's.
        """
        value = self.request.cookies.get(self._name(name), "")
        return value if value.isascii() else ""

    def _values(self, name: str) -> list[str]:
        """All values of a cookie: a script may have set one with a longer path."""
        lines = self.request.headers.getall("Cookie", ())
        return gate_cookies.values_of(lines, self._name(name))

    def set_cookie(
        self, response: web.StreamResponse, name: str, value: str, *, max_age: int | None = None
    ) -> None:
        """Set a cookie of the pages: for this host only, not readable by scripts.

        ``max_age`` is in seconds; without it the browser drops the cookie when it closes.
        """
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
        """Remove a cookie of the pages."""
        self.set_cookie(response, name, "", max_age=0)

    # --- steps of the chain (zenzefi.web.routing)

    @property
    def shares_origin(self) -> bool:
        """Whether the application's scripts run on the origin of this page."""
        return isolation.shares_origin(self.request.app[SETTINGS])

    async def isolation_redirect(self) -> web.Response | None:
        """The redirect that isolates this page from the application's windows, if one is needed."""
        if not self.shares_origin:
            return None
        self.is_private = False
        isolation.refuse_unprotected_browsers(self.request, self.request.app[SETTINGS])
        if self.request.method != hdrs.METH_GET:
            return None
        secret = self.cookie(SESSION) or self.cookie(VISIT)
        bound = secret and session_binding.form_secret(secret, self.request)
        spent = self.request.app[isolation.SPENT]
        if await isolation.is_second_step(self.request, self.signer, bound, spent):
            self.is_private = True
            return None
        if not secret:  # the redirect sets the cookie that its ticket is bound to
            secret = self.secret = secrets.token_urlsafe(24)
            self.is_new_visit = True
        bound = session_binding.form_secret(secret, self.request)
        return isolation.redirect(self.request, self.signer, bound)

    async def authenticate(self) -> None:
        """Find the page session of the cookies, or start a visit without one."""
        offered = self._values(SESSION)
        if offered:
            await self._find_session(offered)
        if not self.secret:
            self.secret = self.cookie(VISIT)
            if len(self.secret) < 20:
                self.secret, self.is_new_visit = secrets.token_urlsafe(24), True

    async def _find_session(self, offered: list[str]) -> None:
        """Sign in by the session of this client; sessions of other clients are foreign sign-ins."""
        sessions = self.request.app[PAGE_SESSIONS]
        found = await sessions.find_all(offered)
        is_shared = session_binding.is_shared(self.request)
        for secret, user, session in found:
            if not is_shared or session_binding.is_of(session, self.request):
                self.signed_in_user, self.session, self.secret = user, session, secret
                self.request[SUBJECT] = (user.id, None)
                await sessions.touch(session)
                return
        if found:
            self.secret = found[0][0]
            self.foreign_sign_ins = [(user, session) for _, user, session in found]

    def read_flashes(self) -> None:
        """Read the messages that the previous response left for this page."""
        cookie = self.cookie(FLASH)
        self.flashes = flash.unpack(self.signer, cookie) if cookie else []

    async def require_form_token(self) -> None:
        """Check that a page shown to this user sent the form. Raises ``CrossSiteRefused``."""
        page_security.refuse_cross_site(self.request, PROXY_PREFIX)
        session_binding.require_user_activation(self.request)
        token = (await self.form()).raw("csrf")
        secret = session_binding.form_secret(self.secret, self.request)
        if not page_security.is_form_token(self.signer, secret, token):
            raise CrossSiteRefused(_("This page was open for too long. Please try again."))
        self.is_private = True

    def finish(self, response: web.StreamResponse, form_targets: list[str]) -> web.StreamResponse:
        """Add the headers and cookies that every response has."""
        policy = isolation.PAGE_POLICY if self.shares_origin else "same-origin"
        headers = page_security.page_headers(self.nonce, form_targets, policy)
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        if response.status != 303 and self.is_private and self.cookie(FLASH):
            self.drop_cookie(response, FLASH)
        elif self.outgoing:
            self.set_cookie(response, FLASH, flash.pack(self.signer, self.outgoing), max_age=60)
        if self.is_new_visit and self._name(SESSION) not in response.cookies:
            self.set_cookie(response, VISIT, self.secret)
        return response

    def error_page(self, error: GateError) -> web.Response:
        """The error page for ``error``, in the frame of the account pages."""
        if not self.is_private:  # show no account and no message, and make no valid form token
            self.signed_in_user = self.session = None
            self.foreign_sign_ins, self.flashes = [], []
            self.secret = secrets.token_urlsafe(24)
        title, text = error_pages.text_or_default(error)
        signed_in = self.signed_in_user is not None
        response = self.render(
            "error.html",
            status=error.status,
            title=title,
            text=text,
            href="/account" if signed_in else "/",
            link=_("My tokens") if signed_in else _("Home page"),
            request_id=request_id_of(self.request),
        )
        response.headers.update(error.headers)  # Retry-After
        return response


def path_id(page: PageContext, name: str = "id") -> UUID:
    """UUID in the path. Raises ``NotFound`` for any other text."""
    try:
        return UUID(page.request.match_info[name])
    except ValueError:
        raise NotFound from None
