"""Admission: the checks on a proxied request in their order, then forwarding.

Token present, token valid, scope, device; nothing is sent to the upstream and
nothing is activated before all of them passed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from aiohttp import web

from zenzefi.http.client_address import client_address_of
from zenzefi.http.observation import PROXIED
from zenzefi.http.request_handler import cancelled_when_lost
from zenzefi.http.request_id import request_id_of
from zenzefi.http.target import Target, check_path, token_parameters, under_prefix, without_token
from zenzefi.http.validation import TARGET
from zenzefi.observability.tracing import SPAN
from zenzefi.origin import DEVICE_HEADER, PROXY_PREFIX, TOKEN_HEADER, Origin
from zenzefi.proxy.browser_response import ClientResponse
from zenzefi.proxy.credentials import ProxyCookies, ProxyCredentials
from zenzefi.proxy.forwarder import HttpForwarder
from zenzefi.proxy.headers.request import Identity, UrlUnmapper, overriding_methods
from zenzefi.proxy.interfaces import DeviceClaims, SessionTracking, TokenValidation
from zenzefi.proxy.method_override import InspectedBody, query_methods, scanner_for
from zenzefi.proxy.mount import Mounts, parse_forwarded
from zenzefi.proxy.proxy_request import ProxyRequest
from zenzefi.proxy.rewriting_adapter import MapperCache
from zenzefi.proxy.sign_in import redirect_or_refuse
from zenzefi.proxy.tickets import Tickets
from zenzefi.proxy.unmounted_requests import UnmountedRequests
from zenzefi.proxy.upstream.exchange import RequestBody
from zenzefi.proxy.upstream.pool import Upstream
from zenzefi.proxy.websocket.handshake import WebSocketProxy, check_origin, is_websocket
from zenzefi.rate_limits.middleware import limit_token
from zenzefi.settings import DevicePolicy
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.devices import device_of
from zenzefi.tokens.errors import ScopeRefused, TokenRejected
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.scopes import FULL, Scopes
from zenzefi.tokens.token_format import is_well_formed


class Gate:
    """The reverse proxy of one upstream: admits requests and forwards them."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        mounts: Mounts,
        scopes: Scopes,
        device_policy: DevicePolicy,
        token_validator: TokenValidation,
        cookies: ProxyCookies,
        devices: DeviceClaims,
        sessions: SessionTracking,
        http: HttpForwarder,
        websockets: WebSocketProxy,
        mappers: MapperCache,
        tickets: Tickets,
    ) -> None:
        self.upstream = upstream
        self.mounts = mounts
        self.scopes = scopes
        self.token_validator = token_validator
        self.cookies = cookies
        self.http = http
        self.websockets = websockets
        self.tickets = tickets
        self.unmounted_requests = UnmountedRequests()
        self._device_policy = device_policy
        self._devices = devices
        self._sessions = sessions
        self._mappers = mappers

    @property
    def public(self) -> Origin:
        """The gate's public origin."""
        return self.mounts.public

    async def authenticate(
        self, request: web.BaseRequest, target: Target | None = None
    ) -> ProxyCredentials:
        """The credentials of this request.

        The token is looked for in the header, then (WebSocket upgrades only, ``target`` given) in
        the query, then in the cookies. Raises :class:`TokenMissing`, :class:`SignInRequired` or
        what the token validator raises.
        """
        address = client_address_of(request).address
        token = request.headers.get(TOKEN_HEADER)
        if token is not None:
            return ProxyCredentials(await self._validated(token, address), token)
        offered = token_parameters(target) if target is not None else []
        # Applications use this parameter name too, and the cookie may be the credential.
        token = next(filter(is_well_formed, offered), None)
        if offered and not self.cookies.tokens(request):
            token = token or offered[0]
            return ProxyCredentials(await self._validated(token, address), token)
        if token is not None:
            with contextlib.suppress(TokenRejected):
                return ProxyCredentials(await self._validated(token, address), token)
        return await self.cookies.find(request, address)

    async def _validated(self, token: str, address: str) -> TokenAccess:
        known = self.token_validator.cached(token)
        return known or await self.token_validator.validate(token, address or None)

    async def handle_prefix(self, request: web.Request) -> web.StreamResponse:
        """Handler of everything below the prefix."""
        target = under_prefix(request[TARGET], PROXY_PREFIX)
        if target is None:  # the prefix itself was percent-encoded: no link looks like this
            raise web.HTTPNotFound
        return await self.handle(request, target)

    async def admit(self, request: web.Request, target: Target | None, method: str) -> TokenAccess:
        """The checks alone, for a server that passes the request on by itself; activates.

        ``target`` is the upstream's; ``None`` when it is not known, which only the scope that
        covers everything allows. The content is not seen here, so a POST that is covered may stand
        for what the application lets it stand for. Raises what the checks raise.
        """
        credentials = await self.authenticate(request)
        access = credentials.access
        await limit_token(request, access.token_id)
        if target is not None:
            self._check_scope(access, request, target, method)
        elif access.scope != FULL:
            raise ScopeRefused
        if access.scope != FULL and "Destination" in request.headers:
            raise ScopeRefused  # a second address, and only who passes it on knows how it is read
        device_id = device_of(request.headers.getall(DEVICE_HEADER, ()), self._device_policy)
        if device_id is not None:
            await self._devices.claim(access, device_id)
        if not access.is_activated:
            access = await self.token_validator.activate(access)
        agent = request.headers.get("User-Agent", "")
        client_identity = ClientIdentity(
            device_id, client_address_of(request).address, agent, credentials.sign_in_id
        )
        with self._sessions.begin(access, client_identity):
            return access  # the bytes go another way

    def _check_scope(
        self, access: TokenAccess, request: web.BaseRequest, target: Target, method: str
    ) -> None:
        """Raises :class:`ScopeRefused` unless the token covers what is asked for.

        The same holds for a method that the application might use instead of this one.
        """
        self.scopes.check(access.scope, target.path, method)
        if access.scope != FULL:
            others = overriding_methods(request._message.raw_headers)
            for other in others + query_methods(target.query):
                self.scopes.check(access.scope, target.path, other)

    def _inspection(
        self, access: TokenAccess, request: web.BaseRequest, target: Target
    ) -> Callable[[RequestBody], RequestBody] | None:
        """What wraps the content where it might name another method than the scope covers.

        Raises :class:`ScopeRefused` for a content that could hide one.
        """
        scope, path = access.scope, target.path
        if not request.body_exists or not self.scopes.restricts_methods(scope, path):
            return None
        scanner = scanner_for(
            request.headers.getall("Content-Type", ()),
            request.headers.getall("Content-Encoding", ()),
        )
        if scanner is None:
            return None

        def judge(method: str) -> None:
            self.scopes.check(scope, path, method)

        return lambda body: InspectedBody(body, scanner, judge)

    def _check_destination(
        self, access: TokenAccess, request: web.BaseRequest, unmapper: UrlUnmapper
    ) -> None:
        """COPY and MOVE write to a second address (RFC 4918, 10.3): it must be covered as well."""
        if access.scope == FULL:
            return
        for value in request.headers.getall("Destination", ()):
            address = unmapper.unmap(value)
            path = address.removeprefix(str(self.upstream.origin)).partition("?")[0]
            if not path.startswith("/"):
                raise ScopeRefused
            check_path(path)
            self.scopes.check(access.scope, path, request.method)

    async def handle(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Admit the request and pass it on; ``target`` is the upstream's."""
        request[PROXIED] = True
        is_upgrade = is_websocket(request)
        credentials = await self.authenticate(request, target if is_upgrade else None)
        access, token = credentials.access, credentials.token
        client_address = client_address_of(request)
        may_forward = client_address.is_behind_trusted_proxy or TOKEN_HEADER in request.headers
        mount = self.mounts.decide(
            request.headers.get("Host"),
            forwarded=parse_forwarded(request.headers) if may_forward else None,
            is_device=DEVICE_HEADER in request.headers,
        )
        if credentials.is_by_cookie and not self.mounts.may_use_cookie(mount):
            return redirect_or_refuse(self.mounts, request, target.raw)
        await limit_token(request, access.token_id)
        self._check_scope(access, request, target, request.method)
        inspection = self._inspection(access, request, target)
        device_id = device_of(request.headers.getall(DEVICE_HEADER, ()), self._device_policy)
        if device_id is not None:
            await self._devices.claim(access, device_id)
        agent = request.headers.get("User-Agent", "")
        unmapper = self._mappers.get(mount)
        self._check_destination(access, request, unmapper)
        proxied = ProxyRequest(
            request=request,
            # A parameter of this name is the upstream's, unless it holds ours; in an upgrade, where
            # it may be the credential, values shaped like a token are not forwarded.
            target=without_token(
                target, lambda value: value == token or (is_upgrade and is_well_formed(value))
            ),
            mount=mount,
            access=access,
            token=token,
            identity=Identity(
                str(access.user_id),
                str(access.token_id),
                client_address.address,
                request_id_of(request),
            ),
            unmapper=unmapper,
            device_id=device_id,
            sign_in=credentials.sign_in_id,
            inspection=inspection,
            tracking=self._sessions.begin(
                access,
                ClientIdentity(device_id, client_address.address, agent, credentials.sign_in_id),
            ),
        )
        if is_upgrade and credentials.is_by_cookie:
            check_origin(request, mount)
        with proxied.tracking:
            span = request.get(SPAN)
            if span is None:
                return await self._pass_on(proxied, is_upgrade=is_upgrade)
            origin = self.upstream.origin
            with span.toward(origin.host, origin.port, request.method) as exchange:
                proxied = proxied.traced(exchange.traceparent)
                response = await self._pass_on(proxied, is_upgrade=is_upgrade)
                exchange.answered(response.status)
                return response

    async def _pass_on(self, proxied: ProxyRequest, *, is_upgrade: bool) -> ClientResponse:
        if is_upgrade:
            return await self.websockets.relay(proxied)
        with cancelled_when_lost(proxied.request):
            return await self.http.forward(proxied)
