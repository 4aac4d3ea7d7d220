"""Operations of the accounts API."""

from __future__ import annotations

from aiohttp import web

from zenzefi.accounts.current_user import BEARER_ID
from zenzefi.accounts.errors import (
    ApiKeyForbidden,
    CodeRejected,
    EmailTaken,
    InvitationRequired,
    LoginRejected,
    MailDomainRefused,
    PasswordRejected,
    PasswordSignInOff,
    RegistrationClosed,
    SecondFactorRejected,
    TermsNotAccepted,
    UsernameTaken,
)
from zenzefi.accounts.identity import User
from zenzefi.accounts.registration import ON_REGISTER, REGISTRATIONS, NewAccount
from zenzefi.accounts.schemas import (
    BearerOut,
    Credentials,
    ProfileChange,
    Registration,
    UserOut,
)
from zenzefi.accounts.second_factor import SECOND_FACTOR
from zenzefi.accounts.service import ACCOUNTS, ON_PASSWORD_CHANGE
from zenzefi.api.routing import API_KEY_ID, Routes, actor_of
from zenzefi.errors import Invalid, RateLimited
from zenzefi.rate_limits.middleware import code_attempt, limit_sign_in

routes = Routes("Accounts")


@routes.post(
    "/auth/register",
    status=201,
    errors=(
        EmailTaken,
        UsernameTaken,
        RegistrationClosed,
        InvitationRequired,
        MailDomainRefused,
        TermsNotAccepted,
        PasswordSignInOff,
    ),
)
async def register(request: web.Request, body: Registration) -> UserOut:
    """Create an account."""
    user = await request.app[REGISTRATIONS].register(
        actor_of(request),
        NewAccount(
            email=body.email,
            username=body.username,
            password=body.password,
            full_name=body.full_name,
            invitation=body.invitation,
            terms=body.accept_terms,
        ),
    )
    for notify in request.app[ON_REGISTER]:
        notify(request, user)
    return UserOut.of(user)


@routes.post("/auth/login", errors=(LoginRejected, SecondFactorRejected, PasswordSignInOff))
async def login(request: web.Request, body: Credentials) -> BearerOut:
    """Sign in and get a bearer token.

    The response is the same for an unknown address, a wrong password and a deactivated account. If
    two-step sign-in is on, ``code`` is required: a code of the authenticator app or a recovery
    code.
    """
    accounts = request.app[ACCOUNTS]
    user = await accounts.sign_in(actor_of(request), body.email, body.password)
    has_second_factor = user.totp_enabled_at is not None
    if has_second_factor:
        await request.app[SECOND_FACTOR].check(
            actor_of(request, user), user.id, body.code or "", code_attempt(request, user.email)
        )
    bearer = accounts.identities.issue(user, second_factor=has_second_factor)
    return BearerOut(access_token=bearer.access_token, expires_in=bearer.expires_in)


@routes.get("/users/me")
async def me(user: User) -> UserOut:
    """Your account."""
    return UserOut.of(user)


@routes.patch("/users/me", errors=(PasswordRejected, CodeRejected, RateLimited, PasswordSignInOff))
async def change_me(request: web.Request, user: User, body: ProfileChange) -> UserOut:
    """Change your name or password.

    A new password requires ``current_password``, and ``code`` if two-step sign-in is on. It ends
    all other sign-ins (bearer tokens and page sessions). The owner receives an e-mail.
    """
    changes = body.model_dump(exclude_unset=True, include={"full_name", "password"})
    if "password" in changes:
        if body.current_password is None:
            raise Invalid.field(
                "body",
                "current_password",
                type="missing",
                msg="A new password requires the current one.",
            )
        if API_KEY_ID in request:
            raise ApiKeyForbidden("API keys can't change the password. Sign in instead.")
        await confirm_owner(request, user, body.current_password, body.code)
    changed = await request.app[ACCOUNTS].change(
        actor_of(request, user), user.id, keep_jti=request.get(BEARER_ID), **changes
    )
    if "password" in changes:
        for notify in request.app[ON_PASSWORD_CHANGE]:
            notify(request, changed)
    return UserOut.of(changed)


async def confirm_owner(request: web.Request, user: User, password: str, code: str | None) -> None:
    """Verify password and code, because the bearer token may be stolen.

    Raises ``PasswordRejected``, ``CodeRejected``, and ``RateLimited``: attempts count as attempts
    to sign in.
    """
    await limit_sign_in(request, user.email, "confirm")
    actor = actor_of(request, user)
    if not await request.app[ACCOUNTS].is_password(actor, user.id, password):
        raise PasswordRejected
    if user.totp_enabled_at is not None:
        attempt = code_attempt(request, user.email)
        try:
            await request.app[SECOND_FACTOR].check(actor, user.id, code or "", attempt)
        except SecondFactorRejected:
            raise CodeRejected from None
