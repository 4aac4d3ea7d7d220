"""Pages of sign-in with an identity provider: going there, coming back, connecting an account.

A person whom the gate does not know, but whose verified address belongs to an account, is asked to
sign in to that account first and then to confirm the connection. Until then the provider's
statement is kept in an encrypted cookie.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from aiohttp import web

from zenzefi.accounts.errors import EmailTaken
from zenzefi.accounts.identity import User
from zenzefi.accounts.page_sessions import PAGE_SESSIONS
from zenzefi.accounts.schemas import email_key
from zenzefi.audit.log import Actor
from zenzefi.errors import NotFound
from zenzefi.gate_cookies import CONNECTION, PROVIDER_FLOW
from zenzefi.http.body import fields_of
from zenzefi.http.client_address import client_address_of
from zenzefi.http.request_id import request_id_of
from zenzefi.i18n import gettext as _
from zenzefi.keys import KEYRING
from zenzefi.observability.metrics import PROVIDER_SIGN_INS
from zenzefi.oidc import flow as flows
from zenzefi.oidc.errors import (
    IdentityTaken,
    LastSignInMethod,
    ProviderSignInCancelled,
    ProviderSignInRejected,
    ProviderUnavailable,
)
from zenzefi.oidc.flow import Flow, ProviderAccount
from zenzefi.oidc.logout import LOGOUTS
from zenzefi.oidc.provider import IdentityProvider
from zenzefi.oidc.roles import PROVIDER_ROLES
from zenzefi.oidc.setup import IDENTITY_CONNECTIONS, PROVIDERS
from zenzefi.rate_limits.middleware import limit_sign_in
from zenzefi.web import security_notices, session_binding
from zenzefi.web.forms import Form
from zenzefi.web.logout import end_current_session, end_session
from zenzefi.web.outgoing_mail import page_url
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.page_security import own_path
from zenzefi.web.profile import confirm_code, confirm_password
from zenzefi.web.routing import PageAccess, PageRoutes
from zenzefi.web.two_factor import ask_for_code

log = logging.getLogger(__name__)

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/profile")
CONNECT_PATH = "/account/identities/connect"
_T = TypeVar("_T")


def _provider(page: PageContext) -> IdentityProvider:
    found = page.request.app[PROVIDERS].get(page.request.match_info["provider"])
    if found is None:
        raise NotFound
    return found


# --- going to the provider


async def _begin(
    page: PageContext, provider: IdentityProvider, wanted: str, *, user: User | None = None
) -> tuple[str, Callable[[web.StreamResponse], None]]:
    """The URL at the provider, and what sets the cookie of the sign-in on the response."""
    flow = Flow(
        provider=provider.name,
        wanted=wanted,
        client=session_binding.client_mark(page.request),
        user_id="" if user is None else str(user.id),
    )
    try:
        url = await provider.begin(flow)
    except ProviderUnavailable:
        PROVIDER_SIGN_INS.labels("unavailable").inc()
        raise
    sealed = page.request.app[KEYRING].encrypt(flows.pack([*_flows(page), flow])).decode("ascii")
    return url, lambda response: page.set_cookie(
        response, PROVIDER_FLOW, sealed, max_age=flows.LIFE
    )


def _flows(page: PageContext) -> list[Flow]:
    return _unsealed(page, PROVIDER_FLOW, flows.unpack) or []


def _unsealed(page: PageContext, cookie: str, parse: Callable[[bytes], _T]) -> _T | None:
    sealed = page.cookie(cookie)
    if not sealed:
        return None
    try:
        return parse(page.request.app[KEYRING].decrypt(sealed.encode()))
    except (LookupError, ValueError, TypeError):  # of another key or version
        return None


@routes.get("/login/with/{provider}", access=PageAccess.ANYONE, section="")
async def start(page: PageContext) -> web.StreamResponse:
    """Send the browser to the provider."""
    provider = _provider(page)
    wanted = own_path(page.request.query.get("next", ""))
    url, remember = await _begin(page, provider, wanted)
    response = page.redirect(url)
    remember(response)
    return response


# --- coming back


@routes.get("/login/with/{provider}/callback", access=PageAccess.ANYONE, section="")
async def callback(page: PageContext) -> web.StreamResponse:
    """Verify what the provider states about the person, and sign the user in."""
    provider = _provider(page)
    await limit_sign_in(page.request, "")
    try:
        flow = _flow_of(page)
        account = await provider.complete(flow, page.request.query)
        response = await _accept(page, provider, flow, account)
    except ProviderUnavailable as error:
        PROVIDER_SIGN_INS.labels("unavailable").inc()
        log.warning(
            "identity provider: sign-in failed",
            extra={"provider": provider.name, "reason": "; ".join(getattr(error, "__notes__", []))},
        )
        raise
    except ProviderSignInRejected as error:
        is_cancelled = isinstance(error, ProviderSignInCancelled)
        PROVIDER_SIGN_INS.labels("cancelled" if is_cancelled else "rejected").inc()
        if not is_cancelled:
            log.warning(
                "identity provider: sign-in rejected",
                extra={"provider": provider.name, "reason": error.reason},
            )
            await page.request.app[IDENTITY_CONNECTIONS].failed(
                page.actor, provider.name, error.reason
            )
        raise
    _keep_other_flows(page, response, flow)
    return response


def _flow_of(page: PageContext) -> Flow:
    state = page.request.query.get("state", "")
    mark = session_binding.client_mark(page.request)
    for flow in _flows(page):
        if flow.state == state and flow.client == mark:
            return flow
    raise ProviderSignInRejected("this browser has not begun the sign-in, or too long ago")


def _keep_other_flows(page: PageContext, response: web.StreamResponse, done: Flow) -> None:
    others = [flow for flow in _flows(page) if flow.state != done.state]
    if not others:
        page.drop_cookie(response, PROVIDER_FLOW)
        return
    sealed = page.request.app[KEYRING].encrypt(flows.pack(others)).decode("ascii")
    page.set_cookie(response, PROVIDER_FLOW, sealed, max_age=flows.LIFE)


async def _accept(
    page: PageContext, provider: IdentityProvider, flow: Flow, account: ProviderAccount
) -> web.StreamResponse:
    connections = page.request.app[IDENTITY_CONNECTIONS]
    if flow.user_id:
        return await _connect_chosen(page, provider, flow, account)
    user = await connections.find(account)
    result = "success"
    if user is None:
        try:
            user = await connections.register(
                page.actor, account, creates=provider.options.create_accounts
            )
        except EmailTaken:
            PROVIDER_SIGN_INS.labels("unconfirmed").inc()
            return _ask_owner(page, provider, account)
        result = "created"
    session = await connections.signed_in(page.actor, user, account)
    PROVIDER_SIGN_INS.labels(result).inc()
    roles = page.request.app[PROVIDER_ROLES]
    user = await roles.apply(page.actor, user, account, provider.options)
    is_strong = provider.options.trust_second_factor and account.has_second_factor
    if user.totp_enabled_at is not None and not is_strong:
        return ask_for_code(page, user, flow.wanted, session)
    await end_current_session(page)
    page.signed_in_user = user
    response = page.redirect(own_path(flow.wanted))
    secret = await page.request.app[PAGE_SESSIONS].start(
        page.actor, user, page.agent, second_factor=is_strong, provider_session=session
    )
    page.signed_in(response, secret)
    return response


# --- connecting an account


def _ask_owner(
    page: PageContext, provider: IdentityProvider, account: ProviderAccount
) -> web.Response:
    """Lead the person to the sign-in form, and from there to the confirmation."""
    mark = session_binding.client_mark(page.request)
    note = json.dumps([int(time.time()), mark, account.to_json()]).encode()
    page.flash(
        "info",
        _(
            "There is an account with the address %(email)s. Sign in to it as before, then you can"
            " connect it with %(provider)s.",
            email=account.email,
            provider=provider.title,
        ),
    )
    response = page.redirect(f"/login?next={CONNECT_PATH}")
    sealed = page.request.app[KEYRING].encrypt(note).decode("ascii")
    page.set_cookie(response, CONNECTION, sealed, max_age=flows.LIFE)
    return response


def waiting_account(page: PageContext) -> ProviderAccount | None:
    """The provider's statement that waits for the owner of the account with its address."""

    def parse(raw: bytes) -> ProviderAccount | None:
        made, mark, account = json.loads(raw)
        if time.time() - made > flows.LIFE or mark != session_binding.client_mark(page.request):
            return None
        return ProviderAccount.from_json(account)

    return _unsealed(page, CONNECTION, parse)


def _waiting_for(page: PageContext) -> tuple[IdentityProvider, ProviderAccount] | None:
    """The same for the signed-in user, whose address it must name."""
    account = waiting_account(page)
    provider = None if account is None else page.request.app[PROVIDERS].get(account.provider)
    if account is None or provider is None or not account.is_verified:
        return None
    return (provider, account) if email_key(account.email) == email_key(page.user.email) else None


@routes.get(CONNECT_PATH)
async def confirm_form(page: PageContext) -> web.StreamResponse:
    """Ask the owner of the account whether to connect the sign-in."""
    found = _waiting_for(page)
    if found is None:
        return page.redirect("/account/profile#identities")
    return page.render("account/connect_identity.html", provider=found[0].title, account=found[1])


@routes.post(CONNECT_PATH)
async def confirm(page: PageContext) -> web.StreamResponse:
    """Connect the sign-in with the account."""
    found = _waiting_for(page)
    response = page.redirect("/account/profile#identities")
    if found is None:
        page.flash("info", _("That took too long. Please sign in again."))
        return response
    await _connect(page, *found)
    page.drop_cookie(response, CONNECTION)
    return response


async def _connect(page: PageContext, provider: IdentityProvider, account: ProviderAccount) -> None:
    try:
        await page.request.app[IDENTITY_CONNECTIONS].connect(page.actor, page.user, account)
    except IdentityTaken:
        page.flash("bad", _("This sign-in is connected to another account."))
        return
    security_notices.identity_connected(page.request, page.user)
    page.flash("good", _("You can now sign in with %(provider)s.", provider=provider.title))


@routes.get("/account/identities/add/{provider}")
async def add_form(page: PageContext) -> web.StreamResponse:
    """Form for the password, before another sign-in is connected."""
    provider = _provider(page)
    return page.render("account/add_identity.html", form=Form(), provider=provider, url="")


@routes.post("/account/identities/add/{provider}")
async def add(page: PageContext) -> web.StreamResponse:
    """Show the link to the provider: a form can't redirect there (CSP ``form-action``)."""
    provider = _provider(page)
    form = await page.form()
    if await confirm_password(page, form):
        await confirm_code(page, form)
    if not form.ok:
        return page.render(
            "account/add_identity.html", status=422, form=form, provider=provider, url=""
        )
    url, remember = await _begin(page, provider, "/account/profile", user=page.user)
    response = page.render("account/add_identity.html", form=form, provider=provider, url=url)
    remember(response)
    return response


async def _connect_chosen(
    page: PageContext, provider: IdentityProvider, flow: Flow, account: ProviderAccount
) -> web.Response:
    """Connect the identity with the user who began this on the profile page."""
    user = page.signed_in_user
    if user is None or str(user.id) != flow.user_id:
        raise ProviderSignInRejected("another user is signed in than the one who began")
    await _connect(page, provider, account)
    return page.redirect("/account/profile#identities")


@routes.post("/account/identities/{id}/remove")
async def remove(page: PageContext) -> web.StreamResponse:
    """Remove a connected sign-in, and end the other sessions that were opened with it."""
    identity_id = path_id(page)
    try:
        await page.request.app[IDENTITY_CONNECTIONS].disconnect(page.actor, page.user, identity_id)
    except LastSignInMethod:
        page.flash("bad", _("This is your only way to sign in. Set a password first."))
    except NotFound:
        page.flash("info", _("This sign-in was removed already."))
    else:
        await _end_sessions_of(page, identity_id)
        page.flash("good", _("The sign-in is removed."))
    return page.redirect("/account/profile#identities")


async def _end_sessions_of(page: PageContext, identity_id: UUID) -> None:
    """End the user's sessions that were opened with an identity, except the one of this page."""
    for session in await page.request.app[PAGE_SESSIONS].of_user(page.user.id):
        is_own = page.session is not None and session.id == page.session.id
        if session.identity_id == identity_id and not is_own:
            await end_session(page, session.id)


# --- signing out


async def sign_out_url(page: PageContext) -> tuple[str, str] | None:
    """Name and sign-out URL of the provider with which this session was started.

    Call it before the session ends.
    """
    session = page.session
    if session is None or session.identity_id is None:
        return None
    app = page.request.app
    name = await app[IDENTITY_CONNECTIONS].provider_of(session.identity_id)
    provider = app[PROVIDERS].get(name or "")
    if provider is None:
        return None
    token = await app[PAGE_SESSIONS].id_token(session.id)
    url = await provider.sign_out_url(token, page_url(page.request, "/login"))
    return None if url is None else (provider.title, url)


async def back_channel_logout(request: web.Request) -> web.Response:
    """``POST /login/with/{provider}/logout``: a provider sends a logout token (2.5 and 2.8)."""
    provider = request.app[PROVIDERS].get(request.match_info["provider"])
    if provider is None:
        raise NotFound
    token = (await fields_of(request)).get("logout_token", "")
    actor = Actor(
        address=client_address_of(request).address or None, request_id=request_id_of(request)
    )
    await request.app[LOGOUTS].receive(actor, provider, token)
    return web.Response(headers={"Cache-Control": "no-store"})
