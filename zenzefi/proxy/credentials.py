"""Credentials of a proxied request: the token of its header, or a cookie bound to the browser.

A script of the upstream may plant proxy cookies, many and with longer paths. In a browser a cookie
is therefore valid only with the sign-in cookie of a sign-in for the same token. Of several proxy
cookies the matching one is chosen, in any order (ADR 0015); each other one costs a hash, without a
look-up or a count against the network. A program has its own cookie jar, which no script writes to:
its proxy cookie is valid alone.

Requests that are admitted at once and those that wait are both decided here.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from aiohttp import web

from zenzefi import gate_cookies
from zenzefi.http.client_address import client_address_of
from zenzefi.origin import Origin
from zenzefi.proxy.interfaces import SignIns, TokenValidation
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import SignInRequired, TokenMissing, TokenRejected
from zenzefi.tokens.sign_in_repository import BrowserSignIn
from zenzefi.tokens.token_format import is_well_formed

_MAX_TRIED = 16  # proxy cookies of a program


class ProxyCredentials(NamedTuple):
    """A validated access, its token, and the sign-in if a browser's cookie supplied it."""

    access: TokenAccess
    token: str
    is_by_cookie: bool = False
    sign_in: BrowserSignIn | None = None
    secret: str | None = None
    """The secret of the sign-in, for asking again whether it is live."""

    @property
    def sign_in_id(self) -> UUID | None:
        """The id of the sign-in, if there is one."""
        return None if self.sign_in is None else self.sign_in.id


class OfferedCookies(NamedTuple):
    """The gate's cookies of one request, as far as they concern the proxy."""

    tokens: list[str]
    secrets: list[str]
    is_browser: bool
    is_sealed: bool
    """Whether no script can have written the sign-in cookie."""
    agent: str
    address: str

    def may_be(self, sign_in: BrowserSignIn) -> bool:
        """Whether this client may be the one that signed in."""
        return (self.is_sealed and sign_in.is_sealed) or sign_in.is_of(self.address, self.agent)


class ProxyCookies:
    """The proxy cookie and the sign-in cookie: reads, sets and drops them."""

    def __init__(self, public: Origin, token_validator: TokenValidation, sign_ins: SignIns) -> None:
        self._public = public
        self._token_validator = token_validator
        self._sign_ins = sign_ins

    def name(self, request: web.BaseRequest) -> str:
        """The name under which this browser keeps its sign-in cookie."""
        agent = request.headers.get("User-Agent", "")
        host = request.headers.get("Host", "")
        return gate_cookies.stored_name(gate_cookies.SIGN_IN, self._public, host, agent)

    def tokens(self, request: web.BaseRequest) -> list[str]:
        """The distinct values of the proxy cookie, most specific path first."""
        return gate_cookies.values_of(request.headers.getall("Cookie", ()), gate_cookies.ACCESS)

    def offered(self, request: web.BaseRequest, address: str) -> OfferedCookies:
        """The tokens and sign-ins in the cookies of a request from this address."""
        lines = request.headers.getall("Cookie", ())
        agent = request.headers.get("User-Agent", "")
        name = self.name(request)
        return OfferedCookies(
            tokens=gate_cookies.values_of(lines, gate_cookies.ACCESS),
            secrets=gate_cookies.values_of(lines, name),
            is_browser=gate_cookies.is_browser(request.headers, agent),
            is_sealed=gate_cookies.is_sealed(name, agent),
            agent=agent,
            address=address,
        )

    def known(self, request: web.BaseRequest, address: str) -> ProxyCredentials | None:
        """The credentials of a request whose cookies this process knows; ``None``: ask further.

        One dictionary look-up for the sign-in and one for the token.
        """
        offered = self.offered(request, address)
        for secret in offered.secrets:
            sign_in = self._sign_ins.cached(secret)
            token = None if sign_in is None else self._token_of(sign_in, offered)
            access = None if token is None else self._token_validator.cached(token)
            if token is not None and access is not None:
                return ProxyCredentials(access, token, True, sign_in, secret)
        if offered.is_browser or len(offered.tokens) != 1:
            return None
        access = self._token_validator.cached(offered.tokens[0])
        return None if access is None else ProxyCredentials(access, offered.tokens[0], True)

    async def find(self, request: web.BaseRequest, address: str) -> ProxyCredentials:
        """The credentials in the cookies of a request.

        Raises ``TokenMissing`` without a proxy cookie, ``SignInRequired`` for a browser whose
        proxy cookie without a live sign-in, and the errors of the token validator.
        """
        offered = self.offered(request, address)
        if not offered.tokens:
            raise TokenMissing
        if any(map(is_well_formed, offered.tokens)):
            for secret, sign_in in await self._sign_ins.find(offered.secrets):
                token = self._token_of(sign_in, offered)
                if token is not None:
                    access = await self._validated(token, address)
                    return ProxyCredentials(access, token, True, sign_in, secret)
        if offered.is_browser:
            raise SignInRequired
        return await self._of_program(offered.tokens, address)

    def _token_of(self, sign_in: BrowserSignIn, offered: OfferedCookies) -> str | None:
        """The proxy cookie that belongs to this sign-in, if the client may be its browser."""
        if not offered.may_be(sign_in):
            return None
        for token in offered.tokens:
            if is_well_formed(token) and self._sign_ins.belongs(sign_in, token):
                return token
        return None

    async def _of_program(self, tokens: list[str], address: str) -> ProxyCredentials:
        *others, last = tokens[:_MAX_TRIED]
        for token in others:
            try:
                return ProxyCredentials(await self._validated(token, address), token, True)
            except TokenRejected:
                continue
        return ProxyCredentials(await self._validated(last, address), last, True)

    async def _validated(self, token: str, address: str) -> TokenAccess:
        known = self._token_validator.cached(token)
        return known or await self._token_validator.validate(token, address or None)

    # --- signing in and out

    async def sign_in(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        token: str,
        access: TokenAccess,
        *,
        family: UUID | None = None,
    ) -> int:
        """Sign this browser in with a validated token: sets both cookies on the response.

        Returns their life in whole seconds. ``family`` is the page session or the family of the
        sign-in that this one comes from: it ends with that. Raises ``SignInRequired`` when that
        has ended, and ``DatabaseUnavailable``.
        """
        agent = request.headers.get("User-Agent", "")
        name = self.name(request)
        max_age = self._token_validator.seconds_left(access)
        secret = await self._sign_ins.start(
            access,
            family=family,
            address=client_address_of(request).address,
            agent=agent,
            is_sealed=gate_cookies.is_sealed(name, agent),
        )
        self._set(response, gate_cookies.ACCESS, token, max_age)
        self._set(response, name, secret, max_age)
        return max_age

    async def sign_out(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """End the sign-ins of this browser on every node, and drop both cookies.

        Also ends the sign-ins that were made from them: each origin has one. Raises
        ``DatabaseUnavailable``.
        """
        offered = self.offered(request, client_address_of(request).address)
        found = await self._sign_ins.find(offered.secrets)
        for family in {sign_in.family for _, sign_in in found}:
            await self._sign_ins.end(family)
        self._set(response, gate_cookies.ACCESS, "", 0)
        self._set(response, self.name(request), "", 0)

    def _set(self, response: web.StreamResponse, name: str, content: str, max_age: int) -> None:
        """HttpOnly and Lax: no script reads it, no other site's form or fetch carries it."""
        response.set_cookie(
            name,
            content,
            max_age=max_age,
            path="/",
            httponly=True,
            secure=self._public.scheme == "https" or name.startswith(gate_cookies.SEAL),
            samesite="Lax",
        )
