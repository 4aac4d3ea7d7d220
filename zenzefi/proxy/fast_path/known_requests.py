"""Who asks: a header block that was admitted before is recognised by its bytes.

Browsers repeat their headers: the same block comes with every image of a page. The first time it
goes through the C parser and through the very functions of the standard path (guard, mount, header
table); what they made of it is kept under the block's bytes, and the next request with the same
block costs one look-up. What can change meanwhile is asked each time: the token and the device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from aiohttp import web
from aiohttp.http import HttpVersion11

from zenzefi.errors import GateError
from zenzefi.http.client_address import resolve_client_address
from zenzefi.http.request_id import HEADER as REQUEST_ID_HEADER
from zenzefi.http.request_id import request_id_of
from zenzefi.http.target import under_prefix
from zenzefi.http.validation import check
from zenzefi.http_syntax import DOCUMENT_DESTINATIONS
from zenzefi.origin import DEVICE_HEADER, PROXY_PREFIX, TOKEN_HEADER, Mount
from zenzefi.proxy.credentials import ProxyCredentials
from zenzefi.proxy.fast_path.head_table import HeadTable
from zenzefi.proxy.forward_auth import TARGET_HEADERS
from zenzefi.proxy.forwarder import ProxyRequest
from zenzefi.proxy.gate import Gate
from zenzefi.proxy.headers.rules import Identity, overriding_methods, request_headers
from zenzefi.proxy.interfaces import SignIns
from zenzefi.proxy.method_override import query_methods
from zenzefi.proxy.mount import parse_forwarded
from zenzefi.proxy.tickets import ENTER_PATH
from zenzefi.proxy.upstream.connection_auth import has_credentials
from zenzefi.settings import Network
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.devices import device_of
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.scopes import FULL

RowsOf = Callable[[Mount, str | None], HeadTable]

LINE = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9/._~!$&'()*+,=:@-]*(?:\?[!$-~]*)?) HTTP/1\.1")
"""A request line that needs no thought: no percent-encoding and no parameter in the path.

:meth:`KnownRequests.target` refuses what else could mean two things. The functions of
``zenzefi.http.target`` read all other lines.
"""

_UNUSUAL = (
    "Upgrade",
    "Expect",
    "Transfer-Encoding",
    "Range",
    "If-Range",
    "If-Match",
    "Trailer",
    "TE",
    "Traceparent",
    *TARGET_HEADERS,  # forward auth
)
_MAX_BLOCK = 8 * 1024
_BUDGET = 4 * 1024 * 1024  # bytes of all that is remembered


@dataclass(slots=True)
class KnownRequest:
    """What was made of one header block from one address."""

    access: TokenAccess
    token: str
    device_id: str | None
    remote: str
    address: str
    agent: str
    is_behind_proxy: bool
    sign_in: UUID | None
    secret: str | None
    is_own_origin: bool
    keep_alive: bool
    is_stream: bool
    request_id: bytes | None
    before: bytes
    after: bytes
    rows: HeadTable
    uncounted: int = 0
    """Requests that :class:`~zenzefi.proxy.interfaces.SessionTracking` has not heard of yet."""
    unsent: int = 0
    """The bytes of their answers."""

    @property
    def identity(self) -> ClientIdentity:
        """The client, for the registries of open connections."""
        return ClientIdentity(self.device_id, self.address, self.agent, self.sign_in)

    def request(self, method: bytes, target: bytes, request_id: bytes) -> bytes:
        """The whole request as the upstream gets it."""
        return b"%b %b%b%b%b" % (method, target, self.before, request_id, self.after)


class KnownRequests:
    """Admits header blocks, and recognises those admitted before."""

    def __init__(
        self,
        gate: Gate,
        sign_ins: SignIns,
        trusted: Sequence[Network],
        own_paths: frozenset[bytes],
        rows_of: RowsOf,
    ) -> None:
        self._gate = gate
        self._token_validator = gate.token_validator
        self._sign_ins = sign_ins
        self._trusted = trusted
        self._own_paths = own_paths
        self._rows_of = rows_of
        self._known: dict[bytes, KnownRequest] = {}
        self._size = 0

    def known(self, block: bytes, remote: str) -> KnownRequest | None:
        """The visitor of these header bytes, if the token still stands."""
        visitor = self._known.get(block)
        if visitor is None or visitor.remote != remote:
            return None
        secret = visitor.secret
        if secret is not None and self._sign_ins.cached(secret) is None:
            return None
        access = self._token_validator.cached(visitor.token)
        if access is not visitor.access:
            if access is None or access != visitor.access:
                return None
            visitor.access = access
        device_id = visitor.device_id
        if device_id is not None and not self._gate._devices.has_claim(access, device_id):
            return None
        return visitor

    def remember(self, block: bytes, visitor: KnownRequest) -> None:
        """Keep it, within the budget."""
        size = len(block) + len(visitor.before) + len(visitor.after) + 512
        if len(block) > _MAX_BLOCK:
            return
        if self._size + size > _BUDGET:
            self.forget()
        if block not in self._known:
            self._size += size
        self._known[block] = visitor

    def forget(self) -> None:
        """Recognise nobody any more (settings of the rewriting have changed)."""
        self._known.clear()
        self._size = 0

    def target(self, visitor: KnownRequest, raw: bytes) -> bytes | None:
        """The upstream's target for a match of :data:`LINE`; ``None``: not for the fast path."""
        if visitor.is_own_origin:
            if raw.startswith((_PREFIX, _ENTER)):
                return None
        else:
            if not raw.startswith(_BELOW):
                return None
            raw = raw[len(_PREFIX) :]
        path, query, rest = raw.partition(b"?")
        if path in self._own_paths or path.startswith(_PREFIX) or b"/." in path:
            return None
        if query and b"token=" in rest:
            return None
        scope = visitor.access.scope
        if scope != FULL:
            try:
                # Only GET and HEAD come here, and a scope covers HEAD where it covers GET.
                self._gate.scopes.check(scope, path.decode(), "GET")
                for other in query_methods(rest.decode()):
                    self._gate.scopes.check(scope, path.decode(), other)
            except GateError:
                return None
        return raw

    def admit(self, request: web.BaseRequest, remote: str) -> tuple[KnownRequest, bytes] | None:
        """The visitor behind a parsed request and the upstream's target.

        ``None`` for everything that the fast path does not serve, refusals included: the
        standard path raises the error.
        """
        if request.method not in ("GET", "HEAD") or request.version != HttpVersion11:
            return None
        try:
            return self._admit(request, remote)
        except GateError:
            return None

    def _admit(self, request: web.BaseRequest, remote: str) -> tuple[KnownRequest, bytes] | None:
        gate = self._gate
        headers = request.headers
        asked = check(request)
        if any(name in headers for name in _UNUSUAL) or headers.get("Content-Length", "0") != "0":
            return None
        # Documents are rewritten nearly always, and early hints must reach the browser early.
        if headers.get("Sec-Fetch-Dest") in DOCUMENT_DESTINATIONS:
            return None
        # An event stream does not end by itself: the standard path ends the open ones on drain.
        if headers.get("Accept", "").strip().lower() == "text/event-stream":
            return None
        # A tag that this gate derived stands for a rewritten body: the engine's business.
        if "~z" in headers.get("If-None-Match", ""):
            return None
        if has_credentials(request._message.raw_headers):  # they belong to one connection
            return None
        connection = headers.getall("Connection", ("keep-alive",))
        if len(connection) > 1 or connection[0].lower() not in ("keep-alive", "close"):
            return None
        client_address = resolve_client_address(
            request.remote, headers.getall("X-Forwarded-For", ()), self._trusted
        )
        credentials = self._credentials(request, client_address.address)
        if credentials is None or not credentials.access.is_activated:
            return None
        access, token = credentials.access, credentials.token
        if access.scope != FULL and overriding_methods(request._message.raw_headers):
            return None
        device_id = device_of(headers.getall(DEVICE_HEADER, ()), gate._device_policy)
        if device_id is not None and not gate._devices.has_claim(access, device_id):
            return None
        may_forward = client_address.is_behind_trusted_proxy or TOKEN_HEADER in headers
        forwarded = parse_forwarded(headers) if may_forward else None
        host = headers.get("Host")
        is_own_origin = gate.mounts.is_own_origin(
            host, forwarded if client_address.is_behind_trusted_proxy else None
        )
        target = asked if is_own_origin else under_prefix(asked, PROXY_PREFIX)
        if target is None:
            return None
        mount = gate.mounts.decide(host, forwarded=forwarded, is_device=DEVICE_HEADER in headers)
        if TOKEN_HEADER not in headers and not gate.mounts.may_use_cookie(mount):
            return None
        offered = headers.get(REQUEST_ID_HEADER)
        request_id = request_id_of(request)
        marker = f"@{request_id}@"
        proxied = ProxyRequest(
            request=request,
            target=target,
            mount=mount,
            access=access,
            token=token,
            identity=Identity(
                str(access.user_id), str(access.token_id), client_address.address, marker
            ),
            unmapper=gate._mappers.get(mount),
            device_id=device_id,
            sign_in=credentials.sign_in_id,
        )
        pairs = request_headers(
            request._message.raw_headers,
            gate.http._policy,
            mount,
            proxied.identity,
            proxied.unmapper,
            is_bodiless=True,
            token=token,
        )
        pairs = gate.http._rewriter.request(proxied, pairs)
        block = b"\r\n".join(b"%b: %b" % pair for pair in pairs) + b"\r\n\r\n"
        before, found, after = block.partition(b"X-Request-ID: " + marker.encode())
        if not found:
            return None
        visitor = KnownRequest(
            access=access,
            token=token,
            device_id=device_id,
            remote=remote,
            address=client_address.address,
            agent=headers.get("User-Agent", ""),
            is_behind_proxy=client_address.is_behind_trusted_proxy,
            sign_in=credentials.sign_in_id,
            secret=credentials.secret,
            is_own_origin=is_own_origin,
            keep_alive=connection[0].lower() == "keep-alive",
            is_stream=headers.get("Accept", "").strip().lower() == "text/event-stream",
            request_id=request_id.encode() if offered == request_id else None,
            before=b" HTTP/1.1\r\n" + before + b"X-Request-ID: ",
            after=after,
            rows=self._rows_of(mount, headers.get("Sec-Fetch-Dest")),
        )
        raw = self.target(visitor, asked.raw.encode())
        return None if raw is None else (visitor, raw)

    def _credentials(self, request: web.BaseRequest, address: str) -> ProxyCredentials | None:
        token = request.headers.get(TOKEN_HEADER)
        if token is None:
            return self._gate.cookies.known(request, address)
        access = self._token_validator.cached(token)
        return None if access is None else ProxyCredentials(access, token)


_PREFIX = PROXY_PREFIX.encode()
_BELOW = _PREFIX + b"/"
_ENTER = ENTER_PATH.encode()
