"""The agent: a small server on the loopback address that adds the token and forwards requests.

It sends the gate its own origin as the application's root mount, so that links, cookies and
redirects match. Bodies are streamed unchanged both ways. The browser never receives the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ssl import SSLContext

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from zenzefi.origin import DEVICE_HEADER, PROXY_PREFIX, TOKEN_HEADER

log = logging.getLogger(__name__)

_MAX_MESSAGE = 64 * 1024 * 1024  # bytes of one WebSocket message
_PIECE = 64 * 1024
_MAX_HEAD = 1024 * 1024  # bytes of a line of a browser's request

# RFC 9110, 7.6.1: these belong to one connection.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "proxy-authorization",
    )
)
# Headers that the agent sets itself; a page must not be able to set them.
_OURS = frozenset(
    (
        "host",
        "x-access-token",
        "x-device-id",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-prefix",
    )
)
_HANDSHAKE = frozenset(
    (
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "sec-websocket-accept",
    )
)


@dataclass
class Traffic:
    """Traffic since the start: requests, and bytes of bodies to and from the application."""

    requests: int = 0
    sent: int = 0
    received: int = 0


class Agent:
    """Serves the application behind ``gate`` at ``public``; owns one client session.

    ``gate`` and ``public`` are origins. ``tls``: how the gate's certificate is verified.
    """

    def __init__(
        self, gate: URL, public: URL, token: str, device_id: str, *, tls: SSLContext | bool = True
    ) -> None:
        self.gate = gate
        self.public = public
        self.traffic = Traffic()
        self.news = asyncio.Event()
        """Set when the token's state may have changed: it was refused, or first used."""
        self._token = token
        self._tls = tls
        self._identity = {
            TOKEN_HEADER: token,
            DEVICE_HEADER: device_id,
            "X-Forwarded-Host": public.authority,
            "X-Forwarded-Proto": public.scheme,
            "X-Forwarded-Prefix": "/",
        }
        self._session: aiohttp.ClientSession | None = None
        self._sockets: set[web.WebSocketResponse] = set()

    def runner(self, shutdown_timeout: float = 3) -> web.AppRunner:
        """Runs the application; ``shutdown_timeout`` in seconds."""
        return web.AppRunner(
            self.application(),
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=shutdown_timeout,
            # The gate applies its limits, and has a page for a browser with too many cookies.
            max_line_size=_MAX_HEAD,
            max_field_size=_MAX_HEAD,
        )

    def application(self) -> web.Application:
        """The server's application; :meth:`runner` runs it."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._handle, expect_handler=_expect)
        app.cleanup_ctx.append(self._life)
        app.on_shutdown.append(self._close_sockets)
        return app

    async def _life(self, app: web.Application) -> AsyncIterator[None]:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=256),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=15),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        yield
        await self._session.close()

    async def _close_sockets(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY, message=b"the agent ends")

    async def status(self) -> dict[str, object]:
        """The state of the token at the gate; never activates it.

        Raises :class:`TokenEnded` if the token is refused, ``aiohttp.ClientError`` or
        ``TimeoutError`` if the gate can't be reached.
        """
        session = self._opened()
        async with session.get(
            self.gate.with_path(f"{PROXY_PREFIX}/status"),
            headers={TOKEN_HEADER: self._token, "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=15),
            allow_redirects=False,
        ) as response:
            if response.status >= 500:  # the gate, or a server before it that can't reach it
                raise aiohttp.ClientError(f"the gate responded with {response.status}")
            try:
                body = await response.json(content_type=None)
            except ValueError:
                body = None
            if not isinstance(body, dict):
                raise NotAGate(f"{self.gate} responds, but not like a Zenzefi gate.")
            if response.status in (401, 403):
                raise TokenEnded(str(body.get("code", "")))
            if response.status != 200:
                raise aiohttp.ClientError(f"the gate responded with {response.status}")
            return body

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the agent is not running")
        return self._session

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return web.Response(status=403, text=refusal)
        self.traffic.requests += 1
        url = URL(f"{self.gate}{PROXY_PREFIX}{request.raw_path}", encoded=True)
        headers = CIMultiDict(
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP and name.lower() not in _OURS
        )
        named = {part.strip().lower() for part in request.headers.get("Connection", "").split(",")}
        for name in named & {name.lower() for name in headers}:
            headers.popall(name)
        headers.update(self._identity)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._relay(request, url, headers)
            return await self._forward(request, url, headers)
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            log.debug("the gate can't be reached: %s", error)
            return web.Response(
                status=502, text="The gate can't be reached from here. The agent keeps trying."
            )

    def _refusal(self, request: web.Request) -> str | None:
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

    async def _forward(
        self, request: web.Request, url: URL, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        async with self._opened().request(
            request.method,
            url,
            headers=headers,
            data=self._upload(request) if request.can_read_body else None,
            allow_redirects=False,
        ) as upstream:
            if upstream.status == 401 or self.traffic.requests == 1:
                self.news.set()
            response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            for name, value in upstream.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            try:
                async for piece in upstream.content.iter_any():
                    self.traffic.received += len(piece)
                    await response.write(piece)
            except aiohttp.ClientError:
                # A truncated body must not look complete to the browser.
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write_eof()
            return response

    async def _upload(self, request: web.Request) -> AsyncIterator[bytes]:
        async for piece in request.content.iter_chunked(_PIECE):
            self.traffic.sent += len(piece)
            yield piece

    async def _relay(
        self, request: web.Request, url: URL, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [part.strip() for part in offered.split(",") if part.strip()]
        for name in list(headers):
            if name.lower() in _HANDSHAKE:
                headers.popall(name, None)
        try:
            far = await self._opened().ws_connect(
                url,
                headers=headers,
                protocols=protocols,
                autoping=False,
                autoclose=False,
                max_msg_size=_MAX_MESSAGE,
                compress=15,
            )
        except aiohttp.WSServerHandshakeError as refusal:
            return web.Response(status=refusal.status, text=refusal.message)
        # The gate's response comes first: the page is offered only the protocol that it chose.
        near = web.WebSocketResponse(
            protocols=[far.protocol] if far.protocol else [],
            autoping=False,
            autoclose=False,
            max_msg_size=_MAX_MESSAGE,
        )
        try:
            await near.prepare(request)
            self._sockets.add(near)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(near, far, sent=True), name="websocket out")
                group.create_task(self._pump(far, near, sent=False), name="websocket in")
        finally:
            self._sockets.discard(near)
            await far.close()
        return near

    async def _pump(self, source: _Socket, sink: _Socket, *, sent: bool) -> None:
        kinds = aiohttp.WSMsgType
        while True:
            message = await source.receive()
            if message.type in (kinds.TEXT, kinds.BINARY):
                size = len(message.data)
                self.traffic.sent += size if sent else 0
                self.traffic.received += 0 if sent else size
            try:
                if message.type is kinds.TEXT:
                    await sink.send_str(message.data)
                elif message.type is kinds.BINARY:
                    await sink.send_bytes(message.data)
                elif message.type is kinds.PING:
                    await sink.ping(message.data)
                elif message.type is kinds.PONG:
                    await sink.pong(message.data)
                else:
                    break
            except (ConnectionError, RuntimeError):
                break
        code = source.close_code or aiohttp.WSCloseCode.GOING_AWAY
        if message.type is kinds.CLOSE:
            code = message.data
        if code == 4401:  # the gate's close code: the token has ended
            self.news.set()
        text = (message.extra or "") if message.type is kinds.CLOSE else ""
        with contextlib.suppress(ConnectionError, RuntimeError):
            # 1005 and 1006 are never sent (RFC 6455, 7.4.1): they mean that no code was received.
            await sink.close(code=1001 if code in (1005, 1006) else code, message=text.encode())
        with contextlib.suppress(ConnectionError, RuntimeError):
            await source.close()


def _is_link(request: web.Request) -> bool:
    """Whether the user followed a link: a page in a window, not in another site's frame."""
    return (
        request.method == "GET"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest", "document") == "document"
    )


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _expect(request: web.Request) -> None:
    transport = request.transport
    if transport is not None:
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class TokenEnded(Exception):
    """The gate refuses the token; the text is its error code."""


class NotAGate(Exception):
    """The address of the gate belongs to another server."""
