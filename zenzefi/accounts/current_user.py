"""The user of a request, identified by its bearer token: a JWT or an API key."""

from __future__ import annotations

from typing import ClassVar

from aiohttp import hdrs, web

from zenzefi.accounts import api_keys
from zenzefi.accounts.api_keys import API_KEYS
from zenzefi.accounts.errors import (
    AddressNotConfirmed,
    ApiKeyForbidden,
    CredentialsRejected,
    InactiveUser,
    NotAuthenticated,
    NotSuperuser,
    SecondFactorRequired,
)
from zenzefi.accounts.identity import IDENTITIES, User
from zenzefi.accounts.registration import REGISTRATIONS
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import API_KEY_ID
from zenzefi.errors import GateError
from zenzefi.http.client_address import client_address_of
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.http.observation import SUBJECT
from zenzefi.rate_limits.middleware import limit_api_key, limit_user
from zenzefi.settings import SETTINGS

USER: web.RequestKey[User] = web.RequestKey("user", User)
_OWN_ACCOUNT = "/api/v1/users/me"
"""What users may call before they have confirmed their address."""

BEARER_ID: web.RequestKey[str] = web.RequestKey("bearer_id", str)
"""The ``jti`` of the request's bearer token, if it has one."""
_SECOND_FACTOR: web.RequestKey[bool] = web.RequestKey("second_factor", bool)


def bearer_token(request: web.BaseRequest) -> str:
    """The token of ``Authorization: Bearer ...`` (RFC 6750, 2.1).

    Raises ``NotAuthenticated`` (403 by contract) without one or with another scheme.
    """
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        raise NotAuthenticated
    if len(given) > 1:
        raise AmbiguousRequest("Authorization was sent twice. Send it once.")
    scheme, _, token = given[0].strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated
    if not token.isascii() or len(token) > 4096:
        raise CredentialsRejected
    return token


async def current_user(request: web.Request, permission: KeyPermission | None) -> User:
    """The signed-in user of this request; looked up once per request.

    ``permission`` is what an API key needs; with ``None`` none is accepted.

    Raises ``BearerAuthentication.user_errors``, ``AmbiguousRequest`` and ``RateLimited``.
    """
    if USER not in request:
        token = bearer_token(request)
        if token.startswith(api_keys.PREFIX):
            await _present_api_key(request, token, permission)
        else:
            await _present_jwt(request, token)
        if request.path != _OWN_ACCOUNT:
            request.app[REGISTRATIONS].require_confirmed_address(request[USER])
    return request[USER]


async def _present_jwt(request: web.Request, token: str) -> None:
    presented = await request.app[IDENTITIES].authenticate(token)
    request[USER], request[_SECOND_FACTOR] = presented.user, presented.second_factor
    request[SUBJECT] = (presented.user.id, None)
    if presented.jti is not None:
        request[BEARER_ID] = presented.jti
    await limit_user(request, presented.user.id)


async def _present_api_key(
    request: web.Request, token: str, permission: KeyPermission | None
) -> None:
    address = client_address_of(request).address or None
    user, key = await request.app[API_KEYS].authenticate(token, permission, address)
    request[USER], request[_SECOND_FACTOR] = user, key.second_factor
    request[SUBJECT], request[API_KEY_ID] = (user.id, None), key.id
    await limit_api_key(request, key.id)


async def current_admin(request: web.Request, permission: KeyPermission | None) -> User:
    """The administrator of this request. Raises ``NotSuperuser`` (403) for other users.

    Raises ``SecondFactorRequired`` (403) if ``ADMIN_TWO_FACTOR`` is set and the bearer token was
    issued, or the API key created, without a second factor.
    """
    user = await current_user(request, permission)
    if not user.is_superuser:
        raise NotSuperuser
    if request.app[SETTINGS].admin_two_factor and (
        user.totp_enabled_at is None or not request[_SECOND_FACTOR]
    ):
        raise SecondFactorRequired
    return user


class BearerAuthentication:
    """Authenticates API operations by bearer token (``zenzefi.api.routing.AUTHENTICATION``)."""

    user_errors: ClassVar[tuple[type[GateError], ...]] = (
        NotAuthenticated,
        CredentialsRejected,
        InactiveUser,
        ApiKeyForbidden,
        AddressNotConfirmed,
    )
    admin_errors: ClassVar[tuple[type[GateError], ...]] = (
        *user_errors,
        NotSuperuser,
        SecondFactorRequired,
    )

    async def user(self, request: web.Request, permission: KeyPermission | None) -> User:
        """As :func:`current_user`."""
        return await current_user(request, permission)

    async def admin(self, request: web.Request, permission: KeyPermission | None) -> User:
        """As :func:`current_admin`."""
        return await current_admin(request, permission)
