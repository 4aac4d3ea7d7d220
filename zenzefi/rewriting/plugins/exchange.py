"""The one object that a plugin gets for a request, its response, and the messages of a socket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from zenzefi.http_syntax import canonical_path, path_readings
from zenzefi.origin import Mount, Origin
from zenzefi.rewriting import csp, sniff
from zenzefi.rewriting.csp import InlineHashes
from zenzefi.rewriting.plugins.client import ANYTHING, HEADER_READ, Client, HeaderView
from zenzefi.rewriting.plugins.heads import CONTENT_TYPE, ExchangeHead
from zenzefi.rewriting.plugins.values import globs
from zenzefi.rewriting.url_map import UrlMap

_MOST_READS = 64


class Reads:
    """The dependencies of the bodies of one plugin, as far as they have been read: names of headers
    and of facts about the client, or :data:`~zenzefi.rewriting.plugins.client.ANYTHING`."""

    __slots__ = ("is_known", "names")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.is_known = False
        """Whether a body was finished, so that the names are known."""

    def add(self, name: str) -> None:
        """Remember a read. Too many different ones count as anything."""
        if len(self.names) < _MOST_READS:
            self.names.add(name)
        else:
            self.names.add(ANYTHING)


class Exchange:
    """One request and its response, for one plugin; for a WebSocket, also all its messages.

    Every hook that a plugin has for a request gets the same object, so ``state`` carries what one
    hook found to the next one. Nothing of it is shared with other plugins or other requests.
    """

    __slots__ = (
        "_body_reads",
        "_carried",
        "_charset",
        "_content_type",
        "_head",
        "_is_plain",
        "_nonce",
        "_permission",
        "_reads",
        "_state",
    )

    def __init__(self, head: ExchangeHead, reads: Reads, *, is_plain: bool = False) -> None:
        """``is_plain``: for a plugin of the gate itself, whose reads need no record."""
        self._head = head
        self._reads = reads
        self._is_plain = is_plain
        self._state: dict[str, Any] | None = None
        self._content_type: str | None = None
        self._charset = "utf-8"
        self._permission: csp.Permission | None = None
        self._body_reads: set[str] | None = None
        self._carried = False
        self._nonce: csp.FreshNonce | None = None

    # --- called by the engine

    def _continue(self, head: ExchangeHead) -> None:
        self._head = head

    def _begin_body(self, effective: str, charset: str, permission: csp.Permission | None) -> None:
        """A body of this type and encoding begins: record the facts that are read from now on."""
        self._content_type = effective
        self._charset = charset
        self._permission = permission
        if not self._is_plain:
            self._body_reads = set()
            self._carried = bool(self._state)

    def _depends_only_on(self, names: frozenset[str]) -> bool:
        """Whether the body has read nothing but ``names``, and contains no fresh nonce."""
        if self._nonce:
            return False
        return self._body_reads is None or self._body_reads <= names

    def _note(self, name: str) -> None:
        if self._body_reads is not None:
            self._body_reads.add(name)
            self._reads.add(name)

    # --- the request

    @property
    def id(self) -> str:
        """The request's ID, as in the logs and in ``X-Request-ID``."""
        self._note(ANYTHING)
        return self._head.memory.id if self._head.memory is not None else ""

    @property
    def method(self) -> str:
        """The method, such as ``GET``."""
        return self._head.method

    @property
    def url(self) -> str:
        """The absolute URL at the upstream, as the browser spelled it."""
        return self._head.url

    @property
    def raw_path(self) -> str:
        """The path as the browser spelled it, without the query."""
        return urlsplit(self._head.url).path or "/"

    @property
    def path(self) -> str:
        """The canonical path, as scopes see it: ``/admin`` also for ``/%61dmin``."""
        return canonical_path(self.raw_path)

    @property
    def query(self) -> str:
        """The query as it was sent, without the question mark."""
        return urlsplit(self._head.url).query

    def path_matches(self, *patterns: str) -> bool:
        """Whether a glob matches the path, in any way that a server may read it.

        For rules that protect a path: ``/admin``, ``//admin``, ``/admin;x`` and ``/%2561dmin`` may
        reach the same page. The gate refuses paths with dot segments (``/x/../admin``) before any
        plugin. Case and white space count: name each spelling that the application accepts.
        """
        expression = globs(patterns)
        return any(expression.match(reading) for reading in path_readings(self.raw_path))

    @property
    def request_headers(self) -> HeaderView | CIMultiDictProxy[str]:
        """The browser's headers, read-only and without the gate's credentials."""
        if self._is_plain:
            return self._head.request_headers
        return HeaderView(self._head.request_headers, self._note)

    @property
    def destination(self) -> str | None:
        """``Sec-Fetch-Dest``: ``document``, ``script``, ``empty``...; ``None`` without it."""
        if not self._is_plain:
            self._note(HEADER_READ + "sec-fetch-dest")
        return self._head.destination

    @property
    def is_websocket(self) -> bool:
        """Whether the request opens a WebSocket."""
        return self._head.is_websocket

    @property
    def client(self) -> Client:
        """Who is asking: user, token, scope, device, times and address."""
        return Client(self._head.client, self._note)

    @property
    def now(self) -> datetime:
        """The time, in UTC. Use it instead of a clock: a body that reads it is never reused."""
        self._note(ANYTHING)
        return datetime.now(UTC)

    @property
    def state(self) -> dict[str, Any]:
        """A dictionary for this plugin and this exchange.

        A body that reads what earlier hooks have stored is never reused for another request.
        """
        if self._carried:
            self._note(ANYTHING)
        if self._state is None:
            self._state = {}
        return self._state

    # --- the response

    @property
    def status(self) -> int:
        """The status of the response; 0 before it has begun."""
        return self._head.status

    @property
    def response_headers(self) -> CIMultiDictProxy[str]:
        """The upstream's headers, read-only; empty before the response has begun."""
        return self._head.response_headers

    @property
    def content_type(self) -> str:
        """The effective essence in lower case, or ``""``."""
        if self._content_type is not None:
            return self._content_type
        if not self._head.status:
            return ""
        return sniff.essence(self._head.response_headers.get(CONTENT_TYPE))

    @property
    def charset(self) -> str:
        """The body's encoding by its Python name.

        Plugins get UTF-16 bodies as UTF-8; all other encodings are ASCII-compatible bytes.
        """
        return self._charset

    @property
    def script_nonce(self) -> str | None:
        """The nonce with which the page's Content-Security-Policy allows a script of the gate;
        ``None`` if the policy needs none."""
        return self._permission.nonce if self._permission else None

    @property
    def scripts_allowed(self) -> bool:
        """False if the page's Content-Security-Policy allows no script at all."""
        return self._permission.allowed if self._permission else True

    @property
    def inline_hashes(self) -> InlineHashes | None:
        """The hashes by which the policy allows inline scripts and styles, if it has some."""
        return self._permission.hashes if self._permission else None

    @property
    def fresh_nonce(self) -> csp.FreshNonce:
        """A nonce for a policy that is a part of the body. A body with one is never reused."""
        if self._nonce is None:
            self._nonce = csp.FreshNonce()
        return self._nonce

    # --- addresses

    @property
    def mount(self) -> Mount:
        """Where the browser sees the upstream."""
        return self._head.mount

    @property
    def mapper(self) -> UrlMap:
        """The mapping of addresses between the upstream's and the browser's view."""
        return self._head.mapper

    @property
    def marks_key(self) -> str:
        """The gate's key for :func:`zenzefi.rewriting.runtime.runtime_tag`."""
        return self._head.marks_key

    def map(self, url: str, document_url: str | None = None) -> str:
        """The URL that the browser must use for ``url`` (relative to the document's URL).

        Returns the same object if nothing changes.
        """
        return self._head.mapper.map(url, document_url or self._head.url)

    @property
    def upstream(self) -> Origin:
        """The upstream's own origin."""
        return self._head.mapper.upstream

    @property
    def origins(self) -> frozenset[Origin]:
        """The upstream's origin and its declared aliases."""
        return self._head.mapper.origins


Context = Exchange
"""The name of :class:`Exchange` in the first edition of the API."""
