"""The calls about accounts."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.accounts.schemas import (
    BearerOut,
    Credentials,
    ProfileChange,
    Registration,
    UserOut,
)
from zenzefi.accounts.second_factor import SECOND_FACTOR
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.api.routing import BEARER_ID, Routes, actor_of
from zenzefi.errors import EmailTaken, LoginRejected, SecondFactorRejected, UsernameTaken

routes = Routes("Accounts")


@routes.post("/auth/register", status=201, errors=(EmailTaken, UsernameTaken))
async def register(request: web.Request, body: Registration) -> UserOut:
    """Open an account."""
    user = await request.app[ACCOUNTS].register(
        actor_of(request),
        email=body.email,
        username=body.username,
        password=body.password,
        full_name=body.full_name,
    )
    return UserOut.of(user)


@routes.post("/auth/login", errors=(LoginRejected, SecondFactorRejected))
async def login(request: web.Request, body: Credentials) -> BearerOut:
    """Sign in and get a bearer token.

    An unknown address, a wrong password and a deactivated account are answered alike. An account
    with two-step sign-in also needs ``code``: one of the authenticator app, or a recovery code.
    """
    accounts = request.app[ACCOUNTS]
    user = await accounts.sign_in(actor_of(request), body.email, body.password)
    has_second_factor = user.totp_enabled_at is not None
    if has_second_factor:
        await request.app[SECOND_FACTOR].check(actor_of(request, user), user.id, body.code or "")
    bearer = accounts.identities.issue(user, second_factor=has_second_factor)
    return BearerOut(access_token=bearer.access_token, expires_in=bearer.expires_in)


@routes.get("/users/me")
async def me(user: User) -> UserOut:
    """Your account."""
    return UserOut.of(user)


@routes.patch("/users/me")
async def change_me(request: web.Request, user: User, body: ProfileChange) -> UserOut:
    """Change your name or password.

    A new password ends all other sign-ins: other bearer tokens and page sessions.
    """
    changed = await request.app[ACCOUNTS].change(
        actor_of(request, user),
        user.id,
        keep_jti=request.get(BEARER_ID),
        **body.model_dump(exclude_unset=True),
    )
    return UserOut.of(changed)
