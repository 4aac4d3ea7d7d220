"""Routes of the pages, and the checks around every view.

The checks run before the view and the headers are added after it, for every route of
:class:`PageRoutes`, so a view can't skip them. Order: language, is this a navigation, isolation
from the application's windows, authentication, form token, permission.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

from aiohttp import hdrs, web

from zenzefi import i18n
from zenzefi.accounts.errors import NotSuperuser
from zenzefi.accounts.registration import REGISTRATIONS
from zenzefi.errors import GateError
from zenzefi.http.error_responses import is_navigation
from zenzefi.http.errors import CrossSiteRefused
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.web import isolation, page_security, session_binding
from zenzefi.web.page import PageContext
from zenzefi.web.session_binding import CONTINUE_PATH, LEAVE_PATH

log = logging.getLogger(__name__)

View = Callable[[PageContext], Awaitable[web.StreamResponse]]
FORM_TARGETS: web.AppKey[list[str]] = web.AppKey("form_targets", list)
"""Origins other than the gate's to which the response to a form may redirect (CSP form-action)."""


CONFIRM_STEP = "/account/confirm-address"
TERMS_STEP = "/account/terms"
_ALWAYS_OPEN = ("/account/profile", "/account/sign-ins/", CONFIRM_STEP, TERMS_STEP)
"""Pages that a user may open before these steps."""


class PageAccess(Enum):
    """Users that may open a page."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One view with its method, path and required access."""

    method: str
    path: str
    view: View
    access: PageAccess
    section: str
    """Path of the entry to highlight in the navigation."""


class PageRoutes:
    """The routes of one module; used as decorators."""

    def __init__(self, *, access: PageAccess, section: str = "") -> None:
        self.routes: list[PageRoute] = []
        self._access = access
        self._section = section

    def _add(
        self, method: str, path: str, section: str | None, access: PageAccess | None
    ) -> Callable[[View], View]:
        def add(view: View) -> View:
            where = self._section if section is None else section
            self.routes.append(PageRoute(method, path, view, access or self._access, where))
            return view

        return add

    def get(
        self, path: str, *, section: str | None = None, access: PageAccess | None = None
    ) -> Callable[[View], View]:
        """Route for GET and HEAD."""
        return self._add(hdrs.METH_GET, path, section, access)

    def post(
        self, path: str, *, section: str | None = None, access: PageAccess | None = None
    ) -> Callable[[View], View]:
        """Route for a submitted form."""
        return self._add(hdrs.METH_POST, path, section, access)

    def mount(self, app: web.Application) -> None:
        """Add all routes to an application."""
        for route in self.routes:
            app.router.add_route(route.method, route.path, handler(route))
            if route.method == hdrs.METH_GET:
                app.router.add_route(hdrs.METH_HEAD, route.path, handler(route))


def handler(route: PageRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """An aiohttp handler that runs the checks, the view and the error page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        with i18n.using(i18n.context_of(request)):
            page = PageContext(request, section=route.section)
            try:
                response = await _respond(page, route)
            except GateError as error:
                if not is_navigation(request):
                    raise
                if error.status >= 500:
                    log.warning("page failed: code=%s path=%s", error.code, request.path)
                response = page.error_page(error)
            return page.finish(response, request.app[FORM_TARGETS])

    handle.__name__ = route.view.__name__
    return handle


async def _respond(page: PageContext, route: PageRoute) -> web.StreamResponse:
    page_security.require_navigation(page.request)
    redirect = await page.isolation_redirect()
    if redirect is not None:
        return redirect
    await page.authenticate()
    # After the authentication: if the database is unavailable, the messages stay in the cookie.
    page.read_flashes()
    if page.foreign_sign_ins:
        return await _confirm_identity(page, route)
    if route.access is not PageAccess.ANYONE and page.signed_in_user is None:
        if route.method == hdrs.METH_POST:
            page.flash("info", _("You have been signed out. Please sign in again."))
            return page.redirect("/login")
        return page.redirect(f"/login?next={quote(isolation.address(page.request), safe='/')}")
    if route.method == hdrs.METH_POST:
        await page.require_form_token()
    step = _pending_step(page, route)
    if step is not None:
        return page.redirect(step)
    if route.access is PageAccess.ADMINISTRATOR:
        redirect = _require_administrator(page)
        if redirect is not None:
            return redirect
    return await route.view(page)


def _pending_step(page: PageContext, route: PageRoute) -> str | None:
    """The page with what the user must do first: confirm the address, accept new terms."""
    if route.access is PageAccess.ANYONE or route.path.startswith(_ALWAYS_OPEN):
        return None
    registrations = page.request.app[REGISTRATIONS]
    if registrations.has_unconfirmed_address(page.user):
        return CONFIRM_STEP
    return TERMS_STEP if registrations.has_new_terms(page.user) else None


async def _confirm_identity(page: PageContext, route: PageRoute) -> web.StreamResponse:
    """Ask whether to use a sign-in that was made in another browser or network."""
    if route.method == hdrs.METH_POST and route.path in (CONTINUE_PATH, LEAVE_PATH):
        await page.require_form_token()
        return await route.view(page)
    if not page.is_private:
        raise CrossSiteRefused
    name = session_binding.masked(page.foreign_sign_ins[0][0].username)
    status = 403 if route.method == hdrs.METH_POST else 200
    return page.render("foreign_sign_in.html", status=status, name=name)


def _require_administrator(page: PageContext) -> web.Response | None:
    """A redirect if the second factor is missing. Raises ``NotSuperuser`` for other users."""
    if not page.user.is_superuser:
        raise NotSuperuser
    if not page.request.app[SETTINGS].admin_two_factor:
        return None
    session = page.session
    has_passed = session is not None and session.second_factor_at is not None
    is_of_provider = session is not None and session.identity_id is not None
    if has_passed and (page.user.totp_enabled_at is not None or is_of_provider):
        return None
    if page.user.totp_enabled_at is None:
        page.flash("info", _("Administration requires two-step sign-in. Please set it up."))
        return page.redirect("/account/two-factor")
    page.flash("info", _("Administration requires your code. Sign out and sign in again."))
    return page.redirect("/account/profile")
