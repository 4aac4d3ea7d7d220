"""The agent: a small server on the loopback address that adds the token and forwards requests.

It sends the gate its own origin as the application's root mount, so that links, cookies and
redirects match. The browser never receives the token. Requests, responses and WebSockets are
forwarded by the gate's own code (:mod:`zenzefi.client.forwarding`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ssl import SSLContext

import aiohttp
from aiohttp import web
from yarl import URL

from zenzefi.client.api import ApiClient, ApiError
from zenzefi.client.api_models import TokenStateInfo
from zenzefi.client.forwarding import AgentConnection, AgentForwarder, Traffic
from zenzefi.errors import GateError
from zenzefi.http.expect_continue import not_yet
from zenzefi.http.head_limits import MAX_HEAD, MAX_HEADER_LINES, HeadLimits
from zenzefi.origin import DEVICE_HEADER, TOKEN_HEADER, Origin
from zenzefi.proxy.errors import UpstreamTimeout, UpstreamUnreachable

log = logging.getLogger(__name__)


class Agent:
    """Serves the application behind ``gate`` at ``public``.

    ``gate`` and ``public`` are origins. ``tls``: how the gate's certificate is verified.
    """

    def __init__(
        self, gate: URL, public: URL, token: str, device_id: str, *, tls: SSLContext | bool = True
    ) -> None:
        self.gate = gate
        self.public = public
        self.news = asyncio.Event()
        """Set when the token's state may have changed: it was refused, or first used."""
        self._token = token
        self._tls = tls
        identity = {
            TOKEN_HEADER: token,
            DEVICE_HEADER: device_id,
            "X-Forwarded-Host": public.authority,
            "X-Forwarded-Proto": public.scheme,
            "X-Forwarded-Prefix": "/",
        }
        pairs = [(name.encode(), value.encode()) for name, value in identity.items()]
        origin = Origin(gate.scheme, str(gate.host), int(gate.port or 0))
        self._forwarder = AgentForwarder(
            origin, tls if isinstance(tls, SSLContext) else None, pairs
        )

    @property
    def traffic(self) -> Traffic:
        """Traffic so far."""
        return self._forwarder.traffic

    def runner(self, shutdown_timeout: float = 3) -> web.BaseRunner:
        """Runs the server; ``shutdown_timeout`` in seconds."""
        return _Runner(self._handle, self._forwarder, shutdown_timeout)

    async def status(self) -> TokenStateInfo:
        """The state of the token at the gate; never activates it.

        Raises :class:`TokenEnded` if the token is refused, :class:`NotAGate`,
        ``aiohttp.ClientError`` or
        ``TimeoutError`` if the gate can't be reached.
        """
        async with ApiClient(self.gate, tls=self._tls, timeout=15, attempts=1) as gate:
            try:
                return await gate.token_state(self._token)
            except ApiError as error:
                refusal = error
        if refusal.status >= 500:  # the gate, or a server before it that can't reach it
            raise aiohttp.ClientError(f"the gate responded with {refusal.status}")
        if not refusal.code:
            raise NotAGate(f"{self.gate} responds, but not like a Zenzefi gate.")
        if refusal.status in (401, 403):
            raise TokenEnded(refusal.code)
        raise aiohttp.ClientError(f"the gate responded with {refusal.status}")

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return web.Response(status=403, text=refusal)
        try:
            response = await self._forwarder.forward(request)
        except (UpstreamUnreachable, UpstreamTimeout) as error:
            log.debug("the gate can't be reached: error=%s", error.code)
            return web.Response(
                status=502, text="The gate can't be reached from here. The agent keeps trying."
            )
        except GateError as error:
            return web.Response(status=error.status, text=str(error.detail), headers=error.headers)
        finally:  # also if the browser has left before the end: the first request starts the time
            if self.traffic.requests == 1 or self._forwarder.has_news:
                self._forwarder.has_news = False
                self.news.set()
        if response.status == 401:
            self.news.set()
        return response

    def _refusal(self, request: web.BaseRequest) -> str | None:
        """Rejects requests of other sites: every request through the agent uses the token."""
        host = (request.headers.get("Host") or "").lower()
        port = self.public.port
        if host not in {self.public.authority, f"localhost:{port}", f"127.0.0.1:{port}"}:
            # A foreign name that resolves to this computer: DNS rebinding.
            return f"Open {self.public}/ instead: this address is not the agent's."
        # Other ports of this computer are the same site, but serve pages of other programs.
        site = request.headers.get("Sec-Fetch-Site")
        if site in ("cross-site", "same-site") and not _is_link(request):
            return "This request came from another site. The agent serves only its own pages."
        origin = request.headers.get("Origin")
        own = {str(self.public.origin()), f"{self.public.scheme}://localhost:{port}"}
        if site is None and origin is not None and origin not in own:
            return "This request came from another site. The agent serves only its own pages."
        return None


def _is_link(request: web.BaseRequest) -> bool:
    """Whether the user followed a link: a page in a window, not in another site's frame."""
    return (
        request.method == "GET"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest", "document") == "document"
    )


class _Server(web.Server):
    """aiohttp's low-level server with the gate's protocol for connections."""

    def __call__(self) -> AgentConnection:
        # The gate applies its limits, and has a page for a browser with too many cookies.
        limits = HeadLimits(MAX_HEAD, MAX_HEAD, MAX_HEADER_LINES)
        return AgentConnection(self, loop=self._loop, head_limits=limits, **self._kwargs)


class _Runner(web.BaseRunner):
    """Opens and closes the forwarder with the server."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        forwarder: AgentForwarder,
        shutdown_timeout: float,
    ) -> None:
        super().__init__(shutdown_timeout=shutdown_timeout)
        self._handle = handle
        self._forwarder = forwarder

    async def _make_server(self) -> web.Server:
        self._forwarder.start()
        return _Server(not_yet(self._handle), access_log=None, auto_decompress=False)

    async def shutdown(self) -> None:
        """End the WebSockets."""
        await self._forwarder.drain()

    async def _cleanup_server(self) -> None:
        await self._forwarder.close()


class TokenEnded(Exception):
    """The gate refuses the token; the text is its error code."""


class NotAGate(Exception):
    """The address of the gate belongs to another server."""
