"""The reverse proxy of one upstream: admits requests, then forwards them."""

from __future__ import annotations

from aiohttp import web

from zenzefi.errors import NotFound
from zenzefi.http.observation import PROXIED
from zenzefi.http.request_handler import cancelled_when_lost
from zenzefi.http.request_id import request_id_of
from zenzefi.http.target import Target, under_prefix
from zenzefi.http.validation import TARGET
from zenzefi.observability.tracing import SPAN
from zenzefi.origin import PROXY_PREFIX, Origin
from zenzefi.proxy.admission import AccessRequest, Admission, resolve
from zenzefi.proxy.browser.awaited_response import AwaitedResponse
from zenzefi.proxy.credentials import ProxyCookies, ProxyCredentials
from zenzefi.proxy.form_posts import FormPosts, sent_again
from zenzefi.proxy.forwarder import HttpForwarder, client_of
from zenzefi.proxy.interfaces import RequestTracking, TokenValidation
from zenzefi.proxy.mount import Mounts
from zenzefi.proxy.plugin_pages import anonymous_response, refuse_other_sites
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.sign_in import redirect_or_refuse
from zenzefi.proxy.tickets import Tickets
from zenzefi.proxy.unmounted_requests import UnmountedRequests
from zenzefi.proxy.upstream.pool import Upstream
from zenzefi.proxy.websocket.handshake import WebSocketProxy
from zenzefi.proxy.websocket.opening import is_websocket
from zenzefi.rewriting.plugins.client import ClientFacts
from zenzefi.rewriting.plugins.heads import ExchangeMemory
from zenzefi.rewriting.plugins.served import is_plugin_path
from zenzefi.tokens.errors import SignInRequired, TokenMissing


class Gate:
    """The parts of the reverse proxy, and its handlers."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        admission: Admission,
        token_validator: TokenValidation,
        http: HttpForwarder,
        websockets: WebSocketProxy,
        tickets: Tickets,
        form_posts: FormPosts,
    ) -> None:
        self.upstream = upstream
        self.admission = admission
        self.token_validator = token_validator
        self.http = http
        self.websockets = websockets
        self.tickets = tickets
        self.form_posts = form_posts
        self.unmounted_requests = UnmountedRequests()

    @property
    def mounts(self) -> Mounts:
        """Where browsers see the upstream."""
        return self.admission.mounts

    @property
    def cookies(self) -> ProxyCookies:
        """The cookies that sign a browser in."""
        return self.admission.cookies

    @property
    def public(self) -> Origin:
        """The gate's public origin."""
        return self.mounts.public

    async def authenticate(self, request: web.BaseRequest) -> ProxyCredentials:
        """The credentials of a request to the gate itself: in its header or in its cookies.

        Raises what :meth:`Admission.authenticate` raises.
        """
        return await self.admission.authenticate(resolve(request))

    async def handle_prefix(self, request: web.Request) -> web.StreamResponse:
        """Handler of everything below the prefix."""
        target = under_prefix(request[TARGET], PROXY_PREFIX)
        if target is None:  # the prefix itself was percent-encoded: no link looks like this
            raise web.HTTPNotFound
        return await self.handle(request, target)

    async def handle(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Admit the request and pass it on; ``target`` is the upstream's."""
        request[PROXIED] = True
        client_of(request).check_pending(request)
        requested = resolve(request, target)
        is_plugin = is_plugin_path(target.path)
        if is_plugin and self.http.rewriter.is_anonymous_page(request.method, target.path):
            return await self._anonymous_page(requested, target)
        try:
            credentials = await self.admission.authenticate(requested)
        except (TokenMissing, SignInRequired):
            if not self.form_posts.concerns(request, target):
                raise
            return await sent_again(request)
        mount = self.admission.mount(requested)
        if not self.admission.may_use(credentials, mount):
            return redirect_or_refuse(self.mounts, request, target.raw)
        if is_plugin:
            if requested.is_websocket:
                raise NotFound
            if credentials.is_by_cookie:
                refuse_other_sites(request, mount)
        proxied = await self.admission.admit(requested, credentials, mount)
        tracking = self.admission.track(proxied)
        with tracking:
            span = request.get(SPAN)
            if span is None:
                return await self._pass_on(proxied, tracking)
            origin = self.upstream.origin
            with span.toward(origin.host, origin.port, request.method) as exchange:
                response = await self._pass_on(proxied.traced(exchange.traceparent), tracking)
                exchange.responded(response.status)
                return response

    async def _anonymous_page(self, requested: AccessRequest, target: Target) -> web.Response:
        """A page or file of a plugin that needs no access token: nothing tells who is asking."""
        request = requested.request
        page = EngineRequest(
            method=request.method,
            target=target.raw,
            headers=request.headers,
            mount=self.admission.mount(requested._replace(token=None)),
            user_id="",
            client=ClientFacts(scope="", address=requested.client.address),
            memory=ExchangeMemory(request_id_of(request)),
        )
        with cancelled_when_lost(request):
            answer = await self.http.rewriter.page(page, self.http.content(request))
        return anonymous_response(answer)

    async def _pass_on(self, proxied: ProxyRequest, tracking: RequestTracking) -> AwaitedResponse:
        if is_websocket(proxied.request):
            return await self.websockets.relay(proxied, tracking)
        with cancelled_when_lost(proxied.request):
            return await self.http.forward(proxied, tracking)
