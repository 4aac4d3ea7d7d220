"""Mounts the reverse proxy: routes, application's origin, unmounted requests, connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi.api import routing
from zenzefi.http.client_address import client_address_of
from zenzefi.http.cookie_reset import COOKIE_RESET_PATHS
from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.http.target import Target, under_prefix
from zenzefi.http.validation import TARGET
from zenzefi.keys import Keyring
from zenzefi.origin import PROXY_PREFIX, TOKEN_HEADER, Origin
from zenzefi.proxy import (
    forward_auth,
    forwarding,
    plugin_lifecycle,
    plugin_metrics,
    runtime_script,
)
from zenzefi.proxy.admission import Admission
from zenzefi.proxy.credentials import ProxyCookies
from zenzefi.proxy.errors import UpstreamUnreachable
from zenzefi.proxy.form_posts import FormPosts
from zenzefi.proxy.forwarder import HttpForwarder
from zenzefi.proxy.gate import Gate
from zenzefi.proxy.headers.request import RequestPolicy
from zenzefi.proxy.interfaces import (
    DEVICE_CLAIMS,
    SESSION_TRACKING,
    SIGN_INS,
    TOKEN_VALIDATOR,
)
from zenzefi.proxy.mount import Mounts, parse_forwarded
from zenzefi.proxy.rewriting_adapter import EngineRewriter, MapperCache
from zenzefi.proxy.sign_in import SignIn
from zenzefi.proxy.tickets import ENTER_PATH, Tickets, spent_tickets
from zenzefi.proxy.unasked_requests import is_unasked
from zenzefi.proxy.unmounted_requests import OwnPages, origin_page, reloads_front_page
from zenzefi.proxy.upstream.limits import Limits
from zenzefi.proxy.upstream.pool import Upstream
from zenzefi.proxy.views import Views
from zenzefi.proxy.websocket.handshake import WebSocketProxy
from zenzefi.proxy.websocket.opening import is_websocket
from zenzefi.proxy.websocket.rate_limit import WebSocketRateLimits
from zenzefi.rate_limits.limiter import LIMITS
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import PluginError, Registry
from zenzefi.rewriting.plugins.watchdog import WATCHDOG
from zenzefi.rewriting.runtime import RUNTIME_PATH
from zenzefi.runtime.drain import REQUEST_HANDLER
from zenzefi.runtime.reload import ON_RELOAD
from zenzefi.settings import SETTINGS, Settings, SettingsError, parse_origin
from zenzefi.settings.own_origin import BrowserMount, notes
from zenzefi.settings.upstream import UpstreamView
from zenzefi.tokens.setup import REDIS_CACHE, SCOPES
from zenzefi.upstream_tls import UpstreamTls

log = logging.getLogger(__name__)

GATE = web.AppKey("gate", Gate)
ENGINE = web.AppKey("engine", Engine)
"""The rewriting engine."""
_OWN_PAGES = web.AppKey("own_pages", OwnPages)


def build_gate(app: web.Application, origin: Origin) -> Gate:
    """One gate from the application's settings and the parts that were put into it before."""
    settings = app[SETTINGS]
    token_validator = app[TOKEN_VALIDATOR]
    upstream = Upstream(
        origin,
        tls=UpstreamTls.of(settings) if origin.scheme == "https" else None,
        connect_timeout=settings.upstream_connect_timeout,
        read_timeout=settings.upstream_read_timeout,
        queue_timeout=settings.upstream_queue_timeout,
        limits=Limits.of(
            settings.upstream_max_connections,
            per_token=settings.upstream_connections_per_token,
            long_lived_share=settings.upstream_long_lived_share,
            waiting=settings.upstream_queue_size,
        ),
    )
    password = settings.zenzefi_basic_auth_password
    policy = RequestPolicy.build(
        origin,
        settings.zenzefi_basic_auth_user,
        password.get_secret_value() if password else None,
        is_public=settings.upstream_view is UpstreamView.PUBLIC,
    )
    mappers = MapperCache(
        origin, [parse_origin(alias) for alias in settings.zenzefi_target_aliases]
    )
    keyring = Keyring.of(settings)
    marks_key = keyring.keys("runtime")[0][:8].hex()
    rewriter = EngineRewriter(app[ENGINE], origin, mappers, marks_key)
    http = HttpForwarder(policy, rewriter, settings.upstream_read_timeout)
    metering = WebSocketRateLimits(app[LIMITS])
    admission = Admission(
        mounts=Mounts(
            settings.public_origin,
            None if settings.own_origin is None else settings.own_origin.authority,
            browsers_at_prefix=settings.browser_mount is BrowserMount.PREFIX,
        ),
        scopes=app[SCOPES],
        device_policy=settings.device_policy,
        token_validator=token_validator,
        cookies=ProxyCookies(settings.public_origin, token_validator, app[SIGN_INS]),
        devices=app[DEVICE_CLAIMS],
        sessions=app[SESSION_TRACKING],
        limits=app[LIMITS],
        mappers=mappers,
        upstream=origin,
    )
    return Gate(
        upstream=upstream,
        admission=admission,
        token_validator=token_validator,
        http=http,
        websockets=WebSocketProxy(token_validator, http, rewriter, metering),
        tickets=Tickets(keyring, spent_tickets(app.get(REDIS_CACHE))),
        form_posts=FormPosts(settings.form_post_origins, settings.form_post_paths),
    )


def build_engine(settings: Settings) -> Engine:
    """The engine with the bundled plugins and those of ``PLUGIN_DIR``. Raises ``PluginError``."""
    registry = Registry.for_gate(
        plugin_dir=settings.plugin_dir,
        disabled=settings.plugins_disabled,
        options=settings.plugin_options,
        watch=settings.debug,
    )
    return Engine(registry)


def setup(app: web.Application) -> None:
    """Mount the reverse proxy. ``app`` must hold the settings, validator and other parts before.

    Add :func:`own_origin_middleware` after validation, and
    :func:`unmounted_requests_middleware` after that.
    """
    settings = app[SETTINGS]
    app[REQUEST_HANDLER] = GateRequestHandler
    origin = settings.target_origin
    if origin is None:
        app.router.add_route("*", PROXY_PREFIX + "/{path:.*}", _no_upstream)
        return
    app[ENGINE] = build_engine(settings)
    mount_upstream(app, origin)


def mount_upstream(app: web.Application, origin: Origin) -> None:
    """Mount the reverse proxy of one upstream; ``app`` must hold the engine as well."""
    plugin_metrics.setup(app, app[ENGINE])
    plugin_lifecycle.setup(app, app[ENGINE])
    gate = app[GATE] = build_gate(app, origin)
    app[_OWN_PAGES] = OwnPages(app.router)

    async def declare(changed: Settings) -> None:
        app[SCOPES].declare(changed.scopes)
        try:
            await asyncio.to_thread(  # it reads and runs files
                app[ENGINE].registry.reconfigure,
                disabled=changed.plugins_disabled,
                options=changed.plugin_options,
            )
        except PluginError as error:
            raise SettingsError(error.problems) from None

    app[ON_RELOAD].append(declare)
    views = Views(gate)
    sign_in = app[SIGN_IN] = SignIn(gate)
    routing.setup(app, views.routes(), forward_auth.routes(gate))
    app.router.add_route("*", ENTER_PATH, sign_in.at_gate)
    app.router.add_get(PROXY_PREFIX, views.add_slash)
    runtime_script.setup(app)
    app.router.add_route(
        "*", PROXY_PREFIX + "/{path:.*}", gate.handle_prefix, expect_handler=_expect_later
    )
    app.cleanup_ctx.append(_lifetime)
    app.cleanup_ctx.append(_watching_plugins)
    app.on_startup.append(_warn)
    forwarding.setup(app, gate, app[ENGINE])
    app.on_shutdown.append(_drain)


SIGN_IN = web.AppKey("sign_in", SignIn)


async def _no_upstream(request: web.Request) -> web.StreamResponse:
    raise UpstreamUnreachable("No upstream is configured here. Set ZENZEFI_TARGET_URL.")


async def _expect_later(request: web.Request) -> None:
    """``100 Continue`` is sent when the upstream requests the content, not before the checks."""


async def _warn(app: web.Application) -> None:
    for note in notes(app[SETTINGS]):
        log.warning("browser mount: %s", note)


async def _lifetime(app: web.Application) -> AsyncIterator[None]:
    app[GATE].upstream.start()
    yield
    await app[GATE].upstream.close()


async def _watching_plugins(_: web.Application) -> AsyncIterator[None]:
    is_watching = WATCHDOG.start()
    yield
    if is_watching:
        WATCHDOG.stop()


async def _drain(app: web.Application) -> None:
    gate = app[GATE]
    gate.http.drain()
    await gate.websockets.drain()


@web.middleware
async def own_origin_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """At the application's origin every path is the upstream's, also paths of the gate.

    A web server that serves that origin itself checks requests with the gate (forward auth).
    """
    gate = request.app.get(GATE)
    if gate is None or gate.mounts.own_origin is None:
        return await handler(request)
    forwarded = (
        parse_forwarded(request.headers)
        if client_address_of(request).is_behind_trusted_proxy
        else None
    )
    if not gate.mounts.is_own_origin(request.headers.get("Host"), forwarded):
        return await handler(request)
    target = request[TARGET]
    if target.path == ENTER_PATH:
        return await request.app[SIGN_IN].at_own_origin(request)
    if target.path == RUNTIME_PATH:
        return await runtime_script.serve_runtime(request)
    if target.path in COOKIE_RESET_PATHS or forward_auth.is_forward_auth(request, target.path):
        return await handler(request)
    # A client that knows only the prefix may ask for it at this host too.
    return await gate.handle(request, under_prefix(target, PROXY_PREFIX) or target)


@web.middleware
async def unmounted_requests_middleware(
    request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Recover requests for paths the gate does not have, if they came from under the mount.

    Pages under the prefix are of header clients, and of browsers with ``BROWSER_MOUNT=prefix``.
    """
    gate = request.app.get(GATE)
    if gate is None:
        return await handler(request)
    target: Target = request[TARGET]
    is_missing = isinstance(request.match_info.http_exception, web.HTTPNotFound)
    if not is_missing and not _shows_upstreams_front_page(request, target):
        return await handler(request)
    if not gate.mounts.browsers_at_prefix and TOKEN_HEADER not in request.headers:
        return await handler(request)
    page = origin_page(
        request.headers,
        request.headers.get("Host"),
        # The browser sends the cookie with its own requests as well, such as for an icon.
        has_cookie=bool(gate.cookies.tokens(request))
        and not is_unasked(request.headers, target.path),
        method=request.method,
        own_pages=frozenset() if _shows_upstream_paths(request) else request.app[_OWN_PAGES].names,
    )
    if page is None or not target.path.startswith("/"):
        return await handler(request)
    if is_missing:
        gate.unmounted_requests.count(page, target.path)
    if is_websocket(request):  # browsers follow no redirect of a WebSocket
        return await gate.handle(request, target)
    return web.Response(
        status=307,
        headers={
            "Location": PROXY_PREFIX + target.raw,
            "Cache-Control": "no-store",
            "Vary": "Referer",
        },
    )


def _shows_upstreams_front_page(request: web.Request, target: Target) -> bool:
    """Whether a reload of ``/`` means the application's front page, by ``address=upstream``."""
    if not reloads_front_page(request.headers, request.method, target.raw):
        return False
    return _shows_upstream_paths(request)


def _shows_upstream_paths(request: web.Request) -> bool:
    """Whether pages of the application are seen at its own paths, by ``address=upstream``."""
    return any(
        getattr(entry.plugin.options, "address", "mount") == "upstream"
        for entry in request.app[ENGINE].registry.entries
    )
