"""Known requests: header blocks that were admitted before, recognised by their bytes.

Browsers repeat their headers: the same block comes with every image of a page. The first time, the
C parser and the functions of admission (request validation, mount, header policy) process
it. The result is stored under the bytes of the block, and the next request with the same block
costs one dictionary lookup. Everything that can change between two requests is checked each time:
the token, the sign-in, the device, and the scope for the method and the path.

The length of a content differs from request to request. Its digits are cut out of the block before
the lookup, and are written into the request for the upstream. A block is stored only if the parser
has accepted it with exactly one length, and other digits don't change what it means.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.http import HttpVersion11

from zenzefi.errors import GateError
from zenzefi.http.client_address import resolve_client_address, socket_address
from zenzefi.http.request_id import offered_id
from zenzefi.http.target import under_prefix
from zenzefi.http.validation import check
from zenzefi.origin import PROXY_PREFIX
from zenzefi.proxy.admission import resolve
from zenzefi.proxy.forward_auth import TARGET_HEADERS
from zenzefi.proxy.forwarding.known_request import KnownRequest, header_lines
from zenzefi.proxy.forwarding.rewritten_types import Rewriting
from zenzefi.proxy.gate import Gate
from zenzefi.proxy.headers.request import overriding_methods
from zenzefi.proxy.interfaces import SignIns
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.proxy.mount import parse_forwarded
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.tickets import ENTER_PATH
from zenzefi.proxy.upstream.response_head import HeadReader
from zenzefi.rewriting.runtime import WORKER_MARK
from zenzefi.settings import Network
from zenzefi.tokens.scopes import FULL

HeadReaderOf = Callable[[EngineRequest], HeadReader]

LINE = re.compile(
    rb"(?!TRACE |CONNECT )([A-Z-]{1,32}) (/[A-Za-z0-9/._~!$&'()*+,=:@-]*(?:\?[!$-~]*)?) HTTP/1\.1"
)
"""An unambiguous request line: no percent-encoding and no parameter in the path.

``KnownRequests._target`` rejects the remaining ambiguous paths. All other lines are parsed by
:mod:`zenzefi.http.target`.
"""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)")
_UNUSUAL = (
    "Upgrade",
    *TARGET_HEADERS,  # forward auth
)
_MAX_BLOCK = 8 * 1024  # bytes of a stored header block
_BUDGET = 4 * 1024 * 1024  # bytes of all stored blocks and results


class Recognised(NamedTuple):
    """A request whose header block is known."""

    known: KnownRequest
    method: bytes
    target: bytes
    size: int
    """Bytes of its head."""
    length: int
    """Bytes of its content."""


class Admitted(NamedTuple):
    """A parsed request that was admitted."""

    known: KnownRequest
    target: bytes
    length: int | None
    """Bytes of its content; ``None`` if it is chunked."""
    inspection: ContentInspection | None


def without_content(head: bytes) -> bytes:
    """A head that was recognised, for a request without content."""
    return _LENGTH.sub(b"\r\nContent-Length: 0", head, count=1)


class KnownRequests:
    """Admits requests, and recognises header blocks admitted before."""

    def __init__(
        self,
        gate: Gate,
        sign_ins: SignIns,
        trusted: Sequence[Network],
        own_paths: frozenset[bytes],
        head_reader: HeadReaderOf,
        rewriting: Rewriting,
        *,
        is_traced: bool,
    ) -> None:
        self._gate = gate
        self._admission = gate.admission
        self._token_validator = gate.token_validator
        self._sign_ins = sign_ins
        self._trusted = trusted
        self._own_paths = own_paths
        self._head_reader = head_reader
        self._rewriting = rewriting
        self._is_traced = is_traced
        self._known: dict[bytes, KnownRequest] = {}
        self._size = 0
        self._marker = f"@{secrets.token_hex(16)}@"  # stands for the request ID, unknown to clients

    def recognise(self, data: bytes, remote: str, max_line: int) -> Recognised | None:
        """Return the request at the start of ``data``, if its header block is known.

        ``max_line``: bytes that its first line may have.
        """
        end = data.find(b"\r\n")
        size = data.find(b"\r\n\r\n", end) + 4 if end > 0 else 0
        if size < 4 or end > max_line:
            return None
        length = 0
        known = self._find(data[end + 2 : size], remote)
        if known is None:
            found = _LENGTH.search(data, end, size)
            if found is None:
                return None
            length = int(found[1])
            known = self._find(data[end + 2 : found.start(1)] + data[found.end(1) : size], remote)
        if known is None or known.has_content is not (length > 0):
            return None
        line = LINE.fullmatch(data, 0, end)
        if line is None:
            return None
        method = line[1]
        target = self._target(known, method, line[2])
        return None if target is None else Recognised(known, method, target, size, length)

    def inspection(self, known: KnownRequest, target: bytes) -> ContentInspection | None:
        """See :meth:`Admission.inspection`; for the content of a recognised request."""
        scope = known.access.scope
        if scope == FULL:
            return None
        path = target.partition(b"?")[0].decode()
        return self._admission.inspection(known.for_engine.headers, scope, path)

    def _find(self, block: bytes, remote: str) -> KnownRequest | None:
        """Return the known request of a header block, if its token and device are still valid."""
        known = self._known.get(block)
        if known is None or known.remote != remote:
            return None
        secret = known.secret
        if secret is not None and self._sign_ins.cached(secret) is None:
            return None
        access = self._token_validator.cached(known.token)
        if access is not known.access:
            if access is None or access != known.access:
                return None
            known.access = access
        device_id = known.device_id
        if device_id is not None and not self._admission.has_claim(access, device_id):
            return None
        return known

    def remember(self, head: bytes, admitted: Admitted) -> None:
        """Store the header block of ``head``, which was parsed as exactly these bytes.

        All stored requests are removed first if the budget is exceeded.
        """
        known = admitted.known
        end = head.find(b"\r\n")
        if known.is_for_one_target or end <= 0 or not LINE.fullmatch(head, 0, end):
            return
        block = head[end + 2 :]
        if known.has_content:
            found = _LENGTH.findall(head)
            match = _LENGTH.search(head, end)
            if match is None or len(found) != 1 or int(match[1]) != admitted.length:
                return
            block = head[end + 2 : match.start(1)] + head[match.end(1) :]
        # The headers that the engine sees take about as much as the block and its result.
        size = 2 * (len(block) + len(known.before) + len(known.after)) + 1024
        if len(block) > _MAX_BLOCK:
            return
        if self._size + size > _BUDGET:
            self.clear()
        if block not in self._known:
            self._size += size
        self._known[block] = known

    def facts(self, proxied: ProxyRequest, for_engine: EngineRequest) -> KnownRequest:
        """The facts of an admitted request."""
        return KnownRequest.of(
            proxied,
            for_engine,
            self._head_reader(for_engine),
            may_authenticate=self._gate.http.policy.authorization is None,
        )

    def clear(self) -> None:
        """Remove all stored requests, because the rewriting has changed."""
        self._known.clear()
        self._size = 0

    def _target(self, known: KnownRequest, method: bytes, raw: bytes) -> bytes | None:
        """Return the upstream's target for a match of :data:`LINE`; ``None``: a task."""
        if known.is_own_origin:
            if raw.startswith((_PREFIX, _OWN)):
                return None
        else:
            if not raw.startswith(_BELOW):
                return None
            raw = raw[len(_PREFIX) :]
        path, mark, query = raw.partition(b"?")
        # The router compares decoded paths.
        decoded = unquote_to_bytes(path) if b"%" in path else path
        if decoded in self._own_paths or path.startswith(_PREFIX) or b"/." in path:
            return None
        if mark and (b"token=" in query or WORKER_MARK in query):
            return None
        scope = known.access.scope
        if scope != FULL:
            try:
                methods = (method.decode(), *known.overrides)
                self._admission.check_scope(scope, path.decode(), query.decode(), methods)
            except GateError:
                return None
        return raw

    def admit(self, request: web.BaseRequest, remote: str) -> Admitted | None:
        """Admit a parsed request.

        ``None`` for all requests that need a task, rejected ones included: the task raises the
        error.
        """
        if request.version != HttpVersion11:
            return None
        try:
            return self._admit(request, remote)
        except GateError:
            return None

    def _admit(self, request: web.BaseRequest, remote: str) -> Admitted | None:
        gate = self._gate
        headers = request.headers
        received_target = check(request)
        for name in _UNUSUAL:
            if name in headers:
                return None
        connection = headers.getall("Connection", ("keep-alive",))
        if len(connection) > 1 or connection[0].lower() not in ("keep-alive", "close"):
            return None
        client = resolve_client_address(
            socket_address(request), headers.getall("X-Forwarded-For", ()), self._trusted
        )
        is_own_origin = gate.mounts.is_own_origin(
            headers.get("Host"),
            parse_forwarded(headers) if client.is_behind_trusted_proxy else None,
        )
        target = received_target if is_own_origin else under_prefix(received_target, PROXY_PREFIX)
        if target is None:
            return None
        marker = self._marker
        requested = resolve(request, target, client=client)
        proxied = self._admission.admit_now(requested, marker)
        if proxied is None:
            return None
        raw_headers = request._message.raw_headers
        http = gate.http
        pairs = http.request_pairs(
            proxied,
            [pair for pair in raw_headers if pair[0].lower() != b"traceparent"]
            if self._is_traced
            else raw_headers,
        )
        is_hooked = self._rewriting.has_hook("request_headers")
        for_engine = proxied.for_engine
        own = pairs if is_hooked else http.rewriter.request(for_engine, pairs)
        before, found, after = header_lines(own).partition(b"X-Request-ID: " + marker.encode())
        if not found:
            return None
        known = self.facts(proxied, for_engine)
        known.before, known.after = b" HTTP/1.1\r\n" + before + b"X-Request-ID: ", after
        known.pairs = pairs if is_hooked else None
        known.remote = remote
        known.is_own_origin = is_own_origin
        known.overrides = tuple(overriding_methods(raw_headers))
        offered = offered_id(request)
        known.request_id = None if offered is None else offered.encode()
        # The scope is checked for the destination; the path tells whether ranges are sent.
        known.is_for_one_target = (
            "Range" in headers
            or ("Destination" in headers and proxied.access.scope != FULL)
            or known.is_authenticating
        )
        raw = self._target(known, request.method.encode(), received_target.raw.encode())
        if raw is None:
            return None
        return Admitted(known, raw, request.content_length, proxied.inspection)


_PREFIX = PROXY_PREFIX.encode()
_BELOW = _PREFIX + b"/"
_OWN = ENTER_PATH.rpartition("/")[0].encode() + b"/"
