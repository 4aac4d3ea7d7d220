"""Gates with only the proxy in them, their tokens and sign-ins kept in memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from pydantic import BaseModel

from tests.kit.proxy_stand_ins import FreeDevices, NoSessions
from zenzefi.gate_cookies import browser_of, network_of
from zenzefi.http import cookie_reset, observation, request_id, server_header
from zenzefi.http.client_address import client_address_middleware
from zenzefi.http.error_responses import ERROR_PAGE_TEXT, errors_middleware
from zenzefi.http.expect_continue import expectation_middleware
from zenzefi.http.request_handler import GateRequestHandler
from zenzefi.http.request_id import request_id_middleware
from zenzefi.http.validation import validation_middleware
from zenzefi.observability import tracing
from zenzefi.proxy import setup as proxy_setup
from zenzefi.proxy.interfaces import DEVICE_CLAIMS, SESSION_TRACKING, SIGN_INS, TOKEN_VALIDATOR
from zenzefi.rate_limits import middleware
from zenzefi.rewriting.engine import Engine
from zenzefi.runtime import drain, reload
from zenzefi.runtime.drain import REQUEST_HANDLER
from zenzefi.settings import SETTINGS, Settings, parse_origin
from zenzefi.sliced_calls import SlicedCalls
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import TokenInvalid
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.scopes import Scopes
from zenzefi.tokens.setup import SCOPES
from zenzefi.tokens.sign_in_repository import BrowserSignIn
from zenzefi.web.error_pages import page_text

TOKEN = "T" * 64
PREFIX = "/api/v1/proxy"


class MemoryTokenValidator:
    """The token validator's protocol over a dictionary, as the reverse proxy sees it."""

    def __init__(self) -> None:
        self.known: dict[str, TokenAccess] = {}
        self.activations: list[UUID] = []
        self.open_connections: dict[UUID, list[Callable[[str], None]]] = {}
        self.by_sign_in: dict[UUID | None, list[Callable[[str], None]]] = {}
        self.signed_out: set[UUID] = set()
        self.closing = SlicedCalls()

    def add(
        self, token: str = TOKEN, scope: str = "full", *, activated: bool = False
    ) -> TokenAccess:
        access = TokenAccess(uuid4(), uuid4(), scope, 24, datetime.now(UTC) if activated else None)
        self.known[token] = access
        return access

    def cached(self, token: str) -> TokenAccess | None:
        return self.known.get(token)

    async def validate(self, token: str, address: str | None = None) -> TokenAccess:
        if token not in self.known:
            raise TokenInvalid
        return self.known[token]

    def seconds_left(self, access: TokenAccess) -> int:
        return int(access.seconds_left(datetime.now(UTC)))

    async def activate(self, access: TokenAccess) -> TokenAccess:
        self.activations.append(access.token_id)
        for token, known in self.known.items():
            if known.token_id == access.token_id and not known.is_activated:
                access = self.known[token] = replace(known, activated_at=datetime.now(UTC))
        return access

    @contextlib.contextmanager
    def register(
        self,
        access: TokenAccess,
        close: Callable[[str], None],
        client: ClientIdentity | None = None,
    ) -> Iterator[None]:
        closers = self.open_connections.setdefault(access.token_id, [])
        of_browser = self.by_sign_in.setdefault(client.sign_in if client else None, [])
        closers.append(close)
        of_browser.append(close)
        try:
            yield
        finally:
            closers.remove(close)
            of_browser.remove(close)

    @property
    def is_closing(self) -> bool:
        return bool(self.closing)

    def is_signed_out(self, client: ClientIdentity) -> bool:
        return client.sign_in in self.signed_out

    def end_sign_in(self, sign_in: UUID) -> None:
        self.signed_out.add(sign_in)
        for close in list(self.by_sign_in.get(sign_in, [])):
            close("This browser was logged out.")

    def revoke(self, token: str = TOKEN, reason: str = "The access token was revoked.") -> None:
        access = self.known.pop(token)
        ending = self.open_connections.get(access.token_id, [])
        self.closing.add([functools.partial(close, reason) for close in ending])


class MemorySignIns:
    """The protocol of sign-ins over a dictionary."""

    def __init__(self, tokens: MemoryTokenValidator) -> None:
        self.tokens = tokens
        self.known: dict[str, BrowserSignIn] = {}
        self.looked_up: list[str] = []

    def add(
        self,
        token: str = TOKEN,
        *,
        family: UUID | None = None,
        address: str = "127.0.0.1",
        agent: str = "",
        is_sealed: bool = True,
    ) -> str:
        """Sign a browser in; its secret."""
        access = self.tokens.known[token]
        return self._add(access, token, family, address, agent, is_sealed)

    def _add(
        self,
        access: TokenAccess,
        token: str,
        family: UUID | None,
        address: str,
        agent: str,
        is_sealed: bool,
    ) -> str:
        secret = secrets.token_urlsafe(32)
        row = uuid4()
        self.known[secret] = BrowserSignIn(
            id=row,
            family=family or row,
            token_id=access.token_id,
            token_index=token.encode(),
            network=network_of(address),
            browser=browser_of(agent),
            is_sealed=is_sealed,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )
        return secret

    def cached(self, secret: str) -> BrowserSignIn | None:
        return self.known.get(secret)

    async def find(self, offered: Iterable[str]) -> list[tuple[str, BrowserSignIn]]:
        self.looked_up += offered
        return [(one, self.known[one]) for one in offered if one in self.known]

    def belongs(self, sign_in: BrowserSignIn, token: str) -> bool:
        return sign_in.token_index == token.encode()

    async def start(
        self,
        access: TokenAccess,
        *,
        family: UUID | None,
        address: str,
        agent: str,
        is_sealed: bool,
    ) -> str:
        token = next(t for t, known in self.tokens.known.items() if known == access)
        return self._add(access, token, family, address, agent, is_sealed)

    async def end(self, family: UUID) -> int:
        ended = [secret for secret, one in self.known.items() if one.family == family]
        for secret in ended:
            self.tokens.end_sign_in(self.known.pop(secret).id)
        return len(ended)


class RunningGate:
    """A gate that listens, and what tests want to reach of it."""

    def __init__(self, port: int, app: web.Application, tokens: MemoryTokenValidator) -> None:
        self.port = port
        self.app = app
        self.tokens = tokens
        self.url = f"http://127.0.0.1:{port}"
        self.proxy_url = self.url + PREFIX

    @property
    def sign_ins(self) -> MemorySignIns:
        sign_ins = self.app[SIGN_INS]
        assert isinstance(sign_ins, MemorySignIns)
        return sign_ins

    @property
    def gate(self) -> Any:
        return self.app[proxy_setup.GATE]

    async def raw(self, data: bytes, *, timeout: float = 10, half_close: bool = False) -> bytes:
        """Send bytes, read until the gate closes (or nothing comes for a moment)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if half_close:
                writer.write_eof()
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                async with asyncio.timeout(timeout):
                    while piece := await reader.read(65536):
                        received += piece
            return received
        finally:
            writer.transport.abort()
            await asyncio.sleep(0)

    async def request(
        self,
        target: str,
        *headers: str,
        method: str = "GET",
        token: str | None = TOKEN,
        body: bytes = b"",
        timeout: float = 10,
    ) -> bytes:
        """One raw request with ``Connection: close``; the whole response as bytes."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers]
        if token is not None:
            lines.append(f"X-Access-Token: {token}")
        lines.append("Connection: close")
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
        return await self.raw(head + body, timeout=timeout)


@functools.cache
def shared_engine() -> Engine:
    """One engine for all gates of a test process: reading the plugins takes a while."""
    return proxy_setup.build_engine(Settings(_env_file=None, debug=True))


def settings_of(**values: Any) -> Settings:
    """Validated settings without those of the environment, whose names take long to look up."""
    made = Settings.__new__(Settings)
    BaseModel.__init__(made, **values)
    return made


def proxy_app(
    tokens: MemoryTokenValidator,
    data_dir: Path,
    upstream_url: str,
    port: int,
    *,
    devices: Any = None,
    engine: Engine | None = None,
    **settings: Any,
) -> web.Application:
    """An application with only the reverse proxy."""
    app = web.Application(
        middlewares=[
            request_id_middleware,
            *([observation.observation_middleware] if settings.get("tracing") else []),
            errors_middleware,
            validation_middleware,
            client_address_middleware,
            proxy_setup.own_origin_middleware,
            proxy_setup.unmounted_requests_middleware,
            expectation_middleware,
        ]
    )
    if settings.pop("has_page_texts", False):
        app[ERROR_PAGE_TEXT] = page_text
    app[SETTINGS] = settings_of(
        debug=True,
        access_log=False,
        secret_key="k" * 40,
        data_dir=data_dir,
        backend_url=settings.pop("backend_url", f"http://127.0.0.1:{port}"),
        zenzefi_target_url=upstream_url,
        **settings,
    )
    app[TOKEN_VALIDATOR] = tokens
    app[SIGN_INS] = MemorySignIns(tokens)
    app[proxy_setup.ENGINE] = engine or shared_engine()
    app[DEVICE_CLAIMS] = devices or FreeDevices()
    app[SESSION_TRACKING] = NoSessions()
    app[SCOPES] = Scopes(app[SETTINGS].scopes)
    app[REQUEST_HANDLER] = GateRequestHandler
    request_id.setup(app)
    server_header.setup(app)
    observation.setup(app)
    tracing.setup(app)
    reload.setup(app)
    drain.setup(app)
    middleware.setup(app)
    cookie_reset.setup(app)
    proxy_setup.mount_upstream(app, parse_origin(upstream_url))

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="a page of the gate")

    app.router.add_get("/gate-page", page)
    return app


GateFactory = Callable[..., Awaitable[RunningGate]]


@dataclass
class BrowserMount:
    """Where a browser that signed in by cookie sees the upstream of ``gate``.

    ``url`` is the upstream's root as seen through the socket, without a final slash; ``headers``
    are those of a signed-in browser (its Host, its cookie); ``mount`` is where it is.
    """

    gate: RunningGate
    mount: str
    url: str
    prefix: str
    origin: str
    host: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """Host and proxy cookie."""
        return {**self.host, "Cookie": f"zenzefi_access_token={TOKEN}"}


MountFactory = Callable[..., Awaitable[BrowserMount]]


def body_of(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]


def sent_headers(echoed: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in echoed["headers"]]


def head_of(response: bytes) -> list[bytes]:
    return response.partition(b"\r\n\r\n")[0].split(b"\r\n")
