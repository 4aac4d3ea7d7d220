"""Admission: which requests may reach the upstream, decided in one place.

Theory of operation
-------------------

Admission has two steps. :func:`resolve` reads the requested access from the head of a request and
its peer: it is pure, raises nothing and checks nothing. :class:`Admission` then checks it, in this
order::

    token -> mount of a cookie -> rate limit -> scope -> device -> origin of a WebSocket

The first check that fails raises its error; the later ones are not made. Nothing is sent to the
upstream and nothing is activated before all of them have passed.

The proxy (HTTP and WebSocket), forward auth and recognised header blocks use the
same checks. They differ in two respects only:

- Waiting. :meth:`Admission.admit` may wait for Redis or the database. :meth:`Admission.admit_now`
  never waits: it returns ``None`` if a result is not in this process's caches, and the caller uses
  :meth:`Admission.admit` instead.
- Information. Forward auth does not receive the content, and sometimes not the target. Without a
  target only the scope that covers everything is admitted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from aiohttp import web
from multidict import CIMultiDictProxy

from zenzefi.http.client_address import ClientAddress, client_address_of
from zenzefi.http.observation import SUBJECT
from zenzefi.http.request_id import request_id_of
from zenzefi.http.target import Target, check_path, token_parameters, without_token
from zenzefi.origin import DEVICE_HEADER, TOKEN_HEADER, Mount, Origin
from zenzefi.proxy.credentials import ProxyCookies, ProxyCredentials
from zenzefi.proxy.errors import UnaskedRequest
from zenzefi.proxy.headers.request import Identity, UrlUnmapper, overriding_methods
from zenzefi.proxy.interfaces import (
    DeviceClaims,
    RequestTracking,
    SessionTracking,
    TokenValidation,
)
from zenzefi.proxy.method_override import ContentInspection, query_methods, scanner_for
from zenzefi.proxy.mount import Mounts, parse_forwarded
from zenzefi.proxy.proxy_request import ProxyRequest
from zenzefi.proxy.rewriting_adapter import MapperCache
from zenzefi.proxy.unasked_requests import is_unasked
from zenzefi.proxy.websocket.opening import check_origin, is_websocket
from zenzefi.rate_limits.limiter import RateLimits
from zenzefi.rate_limits.middleware import limit_token
from zenzefi.rewriting.plugins.heads import ExchangeMemory
from zenzefi.settings import DevicePolicy
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.devices import device_of
from zenzefi.tokens.errors import ScopeRefused, TokenRejected
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.scopes import FULL, Scopes
from zenzefi.tokens.token_format import is_well_formed


class AccessRequest(NamedTuple):
    """The access that a request needs, from its head and its peer. Nothing has been checked yet."""

    request: web.BaseRequest
    target: Target | None
    """The upstream's target; ``None`` if it is not known (forward auth)."""
    method: str
    client: ClientAddress
    token: str | None
    """The value of the token header."""
    agent: str
    is_websocket: bool

    @property
    def may_forward(self) -> bool:
        """Whether its ``X-Forwarded-*`` headers are trusted once its credentials are valid."""
        return self.client.is_behind_trusted_proxy or self.token is not None

    def identity(self, device_id: str | None, credentials: ProxyCredentials) -> ClientIdentity:
        """The client that uses the token."""
        return ClientIdentity(device_id, self.client.address, self.agent, credentials.sign_in_id)


class _Granted(NamedTuple):
    """The results of the checks that do not wait."""

    device_id: str | None
    inspection: ContentInspection | None


def resolve(
    request: web.BaseRequest,
    target: Target | None = None,
    *,
    method: str | None = None,
    client: ClientAddress | None = None,
) -> AccessRequest:
    """Read the requested access from ``request``; ``target`` is the upstream's.

    ``method`` and ``client`` default to those of the request. Pure, and raises nothing.
    """
    headers = request.headers
    return AccessRequest(
        request=request,
        target=target,
        method=method or request.method,
        client=client or client_address_of(request),
        token=headers.get(TOKEN_HEADER),
        agent=headers.get("User-Agent", ""),
        is_websocket=target is not None and method is None and is_websocket(request),
    )


class Admission:
    """Admits the requests of one gate."""

    def __init__(
        self,
        *,
        mounts: Mounts,
        scopes: Scopes,
        device_policy: DevicePolicy,
        token_validator: TokenValidation,
        cookies: ProxyCookies,
        devices: DeviceClaims,
        sessions: SessionTracking,
        limits: RateLimits,
        mappers: MapperCache,
        upstream: Origin,
    ) -> None:
        self.mounts = mounts
        self._scopes = scopes
        self.cookies = cookies
        self._devices = devices
        self._device_policy = device_policy
        self._token_validator = token_validator
        self._sessions = sessions
        self._limits = limits
        self.mappers = mappers
        self._upstream = str(upstream)

    @property
    def limits(self) -> RateLimits:
        """The rate limits, among them that of proxied requests."""
        return self._limits

    # --- the token

    async def authenticate(self, requested: AccessRequest) -> ProxyCredentials:
        """The credentials of a request.

        The token is looked for in the header, then (WebSocket handshakes only) in the query, then
        in the cookies. Raises ``TokenMissing``, ``SignInRequired`` or what the token validator
        raises.
        """
        credentials = await self._authenticate(requested)
        requested.request[SUBJECT] = (credentials.access.user_id, credentials.access.token_id)
        return credentials

    async def _authenticate(self, requested: AccessRequest) -> ProxyCredentials:
        address = requested.client.address
        if requested.token is not None:
            return ProxyCredentials(
                await self._validated(requested.token, address), requested.token
            )
        # Applications use this parameter name too, and the cookie may be the credential.
        is_offered = requested.is_websocket and requested.target is not None
        offered = token_parameters(requested.target) if is_offered and requested.target else []
        token = next(filter(is_well_formed, offered), None)
        if offered and not self.cookies.tokens(requested.request):
            token = token or offered[0]
            return ProxyCredentials(await self._validated(token, address), token)
        if token is not None:
            with contextlib.suppress(TokenRejected):
                return ProxyCredentials(await self._validated(token, address), token)
        return await self.cookies.find(requested.request, address)

    async def _validated(self, token: str, address: str) -> TokenAccess:
        known = self._token_validator.cached(token)
        return known or await self._token_validator.validate(token, address or None)

    def _authenticate_now(self, requested: AccessRequest) -> ProxyCredentials | None:
        if requested.token is None:
            return self.cookies.known(requested.request, requested.client.address)
        access = self._token_validator.cached(requested.token)
        return None if access is None else ProxyCredentials(access, requested.token)

    # --- the mount

    def mount(self, requested: AccessRequest) -> Mount:
        """Where this browser sees the upstream's root. Its credentials must be valid.

        Raises ``AmbiguousRequest`` for malformed ``X-Forwarded-*`` headers.
        """
        headers = requested.request.headers
        return self.mounts.decide(
            headers.get("Host"),
            forwarded=parse_forwarded(headers) if requested.may_forward else None,
            is_device=DEVICE_HEADER in headers,
        )

    def may_use(self, credentials: ProxyCredentials, mount: Mount) -> bool:
        """Whether these credentials open this mount: a cookie does not open each."""
        return not credentials.is_by_cookie or self.mounts.may_use_cookie(mount)

    # --- scope and device

    def check_scope(self, scope: str, path: str, query: str | None, methods: Sequence[str]) -> None:
        """Raise ``ScopeRefused`` unless the scope covers the path with each of these methods.

        The same holds for methods that the query names, which an application may use instead.
        """
        if scope == FULL:
            return
        for method in (*methods, *query_methods(query)):
            self._scopes.check(scope, path, method)

    def has_claim(self, access: TokenAccess, device_id: str) -> bool:
        """Whether the device may use the token, as far as this process knows."""
        return self._devices.has_claim(access, device_id)

    def _authorize(
        self, requested: AccessRequest, access: TokenAccess, unmapper: UrlUnmapper | None
    ) -> _Granted:
        """Check the scope and the device header.

        ``unmapper`` is ``None`` if another server passes the request on: only that server knows
        how it reads a second address. Raises ``ScopeRefused``, ``InvalidDeviceId``,
        ``DeviceRequired`` and, for a token that is not activated, ``UnaskedRequest``.
        """
        if not access.is_activated:
            path = "" if requested.target is None else requested.target.path
            if is_unasked(requested.request.headers, path):
                raise UnaskedRequest
        if access.scope != FULL:
            if requested.target is None:
                raise ScopeRefused
            overrides = overriding_methods(requested.request._message.raw_headers)
            path, query = requested.target.path, requested.target.query
            self.check_scope(access.scope, path, query, (requested.method, *overrides))
            self._check_destination(requested, access.scope, unmapper)
        inspection = None
        request, target = requested.request, requested.target
        if request.body_exists and target is not None:
            inspection = self.inspection(request.headers, access.scope, target.path)
        device_ids = requested.request.headers.getall(DEVICE_HEADER, ())
        return _Granted(device_of(device_ids, self._device_policy), inspection)

    def _check_destination(
        self, requested: AccessRequest, scope: str, unmapper: UrlUnmapper | None
    ) -> None:
        """COPY and MOVE write to a second address (RFC 4918, 10.3): it must be covered as well."""
        for value in requested.request.headers.getall("Destination", ()):
            if unmapper is None:
                raise ScopeRefused
            path = unmapper.unmap(value).removeprefix(self._upstream).partition("?")[0]
            if not path.startswith("/"):
                raise ScopeRefused
            check_path(path)
            self._scopes.check(scope, path, requested.method)

    def inspection(
        self, headers: CIMultiDictProxy[str], scope: str, path: str
    ) -> ContentInspection | None:
        """What inspects a content that might name another method than the scope covers.

        ``None`` if nothing has to be inspected. Raises ``ScopeRefused`` for a content that could
        hide one.
        """
        if not self._scopes.restricts_methods(scope, path):
            return None
        scanner = scanner_for(
            headers.getall("Content-Type", ()), headers.getall("Content-Encoding", ())
        )
        if scanner is None:
            return None

        def judge(method: str) -> None:
            self._scopes.check(scope, path, method)

        return ContentInspection(scanner, judge)

    # --- all together

    async def admit(
        self, requested: AccessRequest, credentials: ProxyCredentials, mount: Mount
    ) -> ProxyRequest:
        """Make the checks that follow the token; returns the admitted request.

        ``requested`` has a target, and :meth:`may_use` was true. Raises what the checks raise.
        """
        access = credentials.access
        await limit_token(self._limits, access.token_id)
        unmapper = self.mappers.get(mount)
        granted = self._authorize(requested, access, unmapper)
        if granted.device_id is not None:
            await self._devices.claim(access, granted.device_id)
        request_id = request_id_of(requested.request)
        admitted = self._admitted(requested, credentials, mount, unmapper, granted, request_id)
        return admitted._replace(memory=ExchangeMemory(request_id))

    def admit_now(self, requested: AccessRequest, request_id: str) -> ProxyRequest | None:
        """Admit a request without waiting; ``None`` if that is not possible.

        Then the token, the sign-in or the device claim is not in this process's caches, or the
        token is not activated. The caller counts the request in the rate limit. ``request_id`` is
        sent to the upstream. Raises what the checks raise, and ``OwnOriginRequired``.
        """
        credentials = self._authenticate_now(requested)
        if credentials is None or not credentials.access.is_activated:
            return None
        mount = self.mount(requested)
        if not self.may_use(credentials, mount):
            return None
        unmapper = self.mappers.get(mount)
        granted = self._authorize(requested, credentials.access, unmapper)
        device_id = granted.device_id
        if device_id is not None and not self.has_claim(credentials.access, device_id):
            return None
        return self._admitted(requested, credentials, mount, unmapper, granted, request_id)

    def track(self, proxied: ProxyRequest) -> RequestTracking:
        """Track the traffic of an admitted request. Enter the result while the request lasts."""
        return self._sessions.begin(proxied.access, proxied.client_identity)

    async def authorize(self, requested: AccessRequest) -> TokenAccess:
        """Make the checks alone, for a server that passes the request on by itself; activates.

        That server's content is not seen here, so a POST that is covered may stand for what the
        application lets it stand for. A cookie is good at every mount: the server decides at which
        origin it shows the application. Raises what the checks raise.
        """
        credentials = await self.authenticate(requested)
        access = credentials.access
        await limit_token(self._limits, access.token_id)
        device_id = self._authorize(requested, access, None).device_id
        if device_id is not None:
            await self._devices.claim(access, device_id)
        if not access.is_activated:
            access = await self._token_validator.activate(access)
        with self._sessions.begin(access, requested.identity(device_id, credentials)):
            return access  # another server forwards the request

    def _admitted(
        self,
        requested: AccessRequest,
        credentials: ProxyCredentials,
        mount: Mount,
        unmapper: UrlUnmapper,
        granted: _Granted,
        request_id: str,
    ) -> ProxyRequest:
        """The admitted request. Raises ``ScopeRefused`` and ``CrossSiteRefused``."""
        access, token = credentials.access, credentials.token
        target = requested.target
        if target is None:
            raise ScopeRefused
        if requested.is_websocket and credentials.is_by_cookie:
            check_origin(requested.request, mount)
        return ProxyRequest(
            request=requested.request,
            # A parameter of this name is the upstream's, unless it holds ours; in a handshake,
            # where it may be the credential, values shaped like a token are not forwarded.
            target=without_token(
                target,
                lambda value: value == token or (requested.is_websocket and is_well_formed(value)),
            ),
            mount=mount,
            access=access,
            token=token,
            identity=Identity(
                str(access.user_id), str(access.token_id), requested.client.address, request_id
            ),
            unmapper=unmapper,
            is_behind_proxy=requested.client.is_behind_trusted_proxy,
            device_id=granted.device_id,
            sign_in=credentials.sign_in_id,
            sign_in_secret=credentials.secret,
            inspection=granted.inspection,
            is_websocket=requested.is_websocket,
        )
