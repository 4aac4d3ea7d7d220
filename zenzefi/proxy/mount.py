"""Per request: where does this browser see the upstream's root?

Pure. Forwarded headers are used only if they are trusted (sent by a trusted proxy, or the
request carries a valid token in its header); they are strictly parsed and never echoed raw.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multidict import MultiMapping

from zenzefi.http.errors import AmbiguousRequest
from zenzefi.origin import PROXY_PREFIX, Mount, MountKind, Origin
from zenzefi.settings import parse_origin
from zenzefi.settings.own_origin import is_loopback

CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
"""Where the desktop client serves the upstream."""

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Unreserved characters only: nothing that HTML, a header or a cookie would read as its own.
_PREFIX = re.compile(r"/|(?:/[A-Za-z0-9._~-]{1,64}){1,8}")


class Forwarded(NamedTuple):
    """The browser's address as a trusted reverse proxy or client reports it."""

    proto: str | None = None
    host: str | None = None
    prefix: str | None = None


_PROTO_HEADER, _HOST_HEADER = "X-Forwarded-Proto", "X-Forwarded-Host"
_PREFIX_HEADER = "X-Forwarded-Prefix"
_NOTHING = Forwarded()


def parse_forwarded(headers: MultiMapping[str]) -> Forwarded:
    """``X-Forwarded-Proto/-Host/-Prefix``, strictly.

    Raises :class:`AmbiguousRequest` if one of them is malformed: guessing
    would create links to a wrong place. So would choosing between two: a front that adds
    its line leaves the one that its client sent before it.
    """
    if not (_PROTO_HEADER in headers or _HOST_HEADER in headers or _PREFIX_HEADER in headers):
        return _NOTHING
    proto = _once(headers, _PROTO_HEADER)
    host = _once(headers, _HOST_HEADER)
    prefix = _once(headers, _PREFIX_HEADER)
    if proto is not None:
        proto = proto.strip().lower()
        if proto in ("ws", "wss"):
            proto = {"ws": "http", "wss": "https"}[proto]
        if proto not in ("http", "https"):
            raise AmbiguousRequest("X-Forwarded-Proto must be http or https.")
    if host is not None:
        host = host.strip().lower()
        try:
            parse_origin(f"http://{host}")
        except ValueError:
            raise AmbiguousRequest("X-Forwarded-Host must be one host, or host:port.") from None
    prefix = prefix.strip() if prefix is not None else None
    if prefix:
        bare = prefix.rstrip("/") or "/"
        if not _PREFIX.fullmatch(bare) or any(s in (".", "..") for s in bare.split("/")):
            raise AmbiguousRequest("X-Forwarded-Prefix must be a plain path like /app.")
        prefix = "" if bare == "/" else bare
    else:
        prefix = None  # an empty header says nothing; a root is said by a slash
    return Forwarded(proto, host, prefix)


def _once(headers: MultiMapping[str], name: str) -> str | None:
    found = headers.getall(name, ())
    if len(found) > 1:
        raise AmbiguousRequest(f"{name} was sent more than once.")
    return found[0] if found else None


class Mounts:
    """Decides the mount of each request from the settings of one gate."""

    def __init__(
        self, public: Origin, proxy_host: str | None, *, browsers_at_prefix: bool = False
    ) -> None:
        """``public`` is ``BACKEND_URL``, ``proxy_host`` the authority of the application's origin.

        ``browsers_at_prefix``: a browser's cookie may authenticate under the prefix too.
        """
        self._public = public
        self._proxy_host = proxy_host
        self.browsers_at_prefix = browsers_at_prefix
        self._prefix = Mount(MountKind.PREFIX, public, PROXY_PREFIX)
        self._own = None
        if proxy_host is not None:
            own = parse_origin(f"{public.scheme}://{proxy_host}")
            self._own = Mount(MountKind.ORIGIN, own)
            self._proxy_host = own.authority

    @property
    def public(self) -> Origin:
        """The origin of the gate's own pages (``BACKEND_URL``)."""
        return self._public

    @property
    def own_origin(self) -> Mount | None:
        """The root mount at the application's origin, if there is one."""
        return self._own

    def is_own_origin(self, host: str | None, forwarded: Forwarded | None = None) -> bool:
        """Whether the request came to the host whose root is the upstream's root."""
        if self._proxy_host is None:
            return False
        seen = (forwarded.host if forwarded else None) or (host or "").lower()
        return seen == self._proxy_host or self._is_same_host(seen)

    def _is_same_host(self, seen: str) -> bool:
        """Whether it is ``PROXY_HOST`` with its default port or its final dot spelled out."""
        name, colon, port = seen.partition(":")
        if self._own is None or not (colon or name.endswith(".")):
            return False
        try:
            origin = parse_origin(f"{self._public.scheme}://{name.removesuffix('.')}{colon}{port}")
        except ValueError:
            return False
        return origin == self._own.public

    def decide(self, host: str | None, *, forwarded: Forwarded | None, is_device: bool) -> Mount:
        """The mount of one request.

        ``forwarded`` is ``None`` where forwarded headers are not trusted; ``is_device`` states
        that the request names a device, as the desktop client does.
        """
        if forwarded is not None and forwarded.prefix is not None:
            kind = MountKind.PREFIX if forwarded.prefix else MountKind.ORIGIN
            return Mount(kind, self._seen_at(host, forwarded), forwarded.prefix)
        if self._own is not None and self.is_own_origin(host, forwarded):
            return self._own
        if is_device:
            return CLIENT
        public = self._seen_at(host, forwarded)
        return (
            self._prefix
            if public == self._public
            else Mount(MountKind.PREFIX, public, PROXY_PREFIX)
        )

    def may_use_cookie(self, mount: Mount) -> bool:
        """Whether a cookie alone may authenticate a request in this mount.

        This rule keeps the upstream's scripts off the origin of the gate's own pages. Header
        clients are not affected. ``mount`` is the
        result of :meth:`decide` for forwarded headers of a trusted proxy only: with another prefix,
        such a proxy shows the upstream at another origin than the gate's.
        """
        if self.browsers_at_prefix or mount is self._own:
            return True
        is_gates_prefix = mount.kind is MountKind.PREFIX and mount.prefix == PROXY_PREFIX
        return (
            mount.kind is not MountKind.CLIENT
            and not is_gates_prefix
            and mount.public not in (self._public, *self._loopback_aliases())
        )

    def own_origin_for(self, host: str | None) -> Mount | None:
        """The application's origin, if a browser that sees the gate at ``host`` can reach it.

        A name below ``localhost`` means the browser's own machine (RFC 6761, 6.3): a browser that
        reached the gate from another machine would look for the upstream at itself.
        """
        own = self._own
        if own is None or not is_loopback(own.public.host):
            return own
        try:
            requested = parse_origin(f"{self._public.scheme}://{host or ''}")
        except ValueError:
            return None
        return own if is_loopback(requested.host) else None

    def gate_origin(self, host: str | None) -> Origin:
        """The origin of the gate's own pages as this browser sees it.

        ``BACKEND_URL``, or on loopback the name of this machine that the request used.
        """
        return self._seen_at(host, None)

    def is_gate_origin(self, text: str) -> bool:
        """Whether ``text`` is an origin of the gate's own pages, as :meth:`gate_origin` returns."""
        return text in map(str, (self._public, *self._loopback_aliases()))

    def _loopback_aliases(self) -> list[Origin]:
        if self._public.host not in _LOOPBACK:
            return []
        return [Origin(self._public.scheme, name, self._public.port) for name in _LOOPBACK]

    def _seen_at(self, host: str | None, forwarded: Forwarded | None) -> Origin:
        """The origin in the address bar: as forwarded, else ``BACKEND_URL``.

        The Host header alone is not trusted (it would poison links), except to tell the names of
        this very machine apart: localhost and 127.0.0.1 are different origins to a browser.
        """
        if forwarded is not None and (forwarded.host or forwarded.proto):
            authority = forwarded.host or self._public.authority
            return parse_origin(f"{forwarded.proto or self._public.scheme}://{authority}")
        if self._public.host in _LOOPBACK and host:
            try:
                requested = parse_origin(f"{self._public.scheme}://{host}")
            except ValueError:
                return self._public
            if requested.host in _LOOPBACK and requested.port == self._public.port:
                return requested
        return self._public
