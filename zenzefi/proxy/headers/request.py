"""Request headers: one readable table, and the function that applies it.

Pure. Hop-by-hop fields and those that ``Connection`` names never pass (RFC 9110, 7.6.1).

The upstream gets one of two views, whole (``UPSTREAM_VIEW``). Applications compare ``Origin`` or
``Referer`` with the host that they take for their address, and refuse where one names the gate and
the other does not. *Private*: the request is for the upstream's own address. ``Host``, ``Origin``,
``Referer`` and ``Destination`` name it, and no header names the gate. *Public*: the request is for
the address in the browser. ``Host``, ``X-Forwarded-Host``, ``-Proto``, ``-Prefix`` and
``Forwarded`` name the mount; ``Origin`` and ``Referer`` pass untouched. The client's address is in
both.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from zenzefi.http.target import Target, without_token
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.cookies import unmap_cookie
from zenzefi.proxy.headers.pairs import (
    DICTIONARY,
    FRAMING,
    HOP,
    TRAILERS,
    Pairs,
    Rule,
    Verb,
    named_by_connection,
)

_IDENTITY = "only the gate identifies the client"
_SIGNED_IN = "set by an authenticating server in front of an application; the gate is not one"
_TRAIL = "only the gate states where the request came from"
_SECRET = "the gate's secret"  # noqa: S105 - a reason, not a secret
_ROUTING = "some frameworks route by it, past the path that was checked"

REQUEST_RULES = (
    Rule("connection", Verb.DROP, HOP),
    Rule("keep-alive", Verb.DROP, HOP),
    Rule("proxy-connection", Verb.DROP, HOP),
    Rule("proxy-authorization", Verb.DROP, "meant for a forward proxy, not for the upstream"),
    Rule("te", Verb.DROP, HOP),
    Rule("trailer", Verb.DROP, TRAILERS),
    Rule("upgrade", Verb.DROP, HOP + "; the WebSocket proxy sets its own"),
    Rule("http2-settings", Verb.DROP, "only meaningful with Upgrade: h2c"),
    Rule("transfer-encoding", Verb.SET, FRAMING),
    Rule("content-length", Verb.SET, FRAMING),
    Rule("expect", Verb.SET, "passed on exactly when the gate waits for the 100 itself"),
    Rule("host", Verb.SET, "the upstream's own, or the gate's in the public view"),
    Rule("x-access-token", Verb.DROP, _SECRET),
    Rule("x-device-id", Verb.DROP, "between the client and the gate"),
    Rule("x-user-id", Verb.SET, _IDENTITY),
    Rule("x-token-id", Verb.SET, _IDENTITY),
    Rule("x-forwarded-for", Verb.SET, _TRAIL),
    Rule("x-forwarded-proto", Verb.SET, _TRAIL),
    Rule("x-forwarded-host", Verb.SET, _TRAIL),
    Rule("x-forwarded-prefix", Verb.SET, _TRAIL),
    Rule("x-forwarded-*", Verb.DROP, _TRAIL),
    Rule("x-scheme", Verb.DROP, _TRAIL),
    Rule("x-real-ip", Verb.DROP, _TRAIL),
    Rule("x-client-ip", Verb.DROP, _TRAIL),
    Rule("client-ip", Verb.DROP, _TRAIL),
    Rule("true-client-ip", Verb.DROP, _TRAIL),
    Rule("x-cluster-client-ip", Verb.DROP, _TRAIL),
    Rule("x-originating-ip", Verb.DROP, _TRAIL),
    Rule("x-remote-ip", Verb.DROP, _TRAIL),
    Rule("x-remote-addr", Verb.DROP, _TRAIL),
    Rule("cf-connecting-ip", Verb.DROP, _TRAIL),
    Rule("fastly-client-ip", Verb.DROP, _TRAIL),
    Rule("remote-user", Verb.DROP, _SIGNED_IN),
    Rule("x-remote-user", Verb.DROP, _SIGNED_IN),
    Rule("x-webauth-user", Verb.DROP, _SIGNED_IN),
    Rule("x-auth-request-*", Verb.DROP, _SIGNED_IN),
    Rule("x-ssl-client-*", Verb.DROP, _SIGNED_IN),
    Rule("ssl-client-*", Verb.DROP, _SIGNED_IN),
    Rule("forwarded", Verb.SET, _TRAIL),
    Rule("x-request-id", Verb.SET, "one id names the request in both logs"),
    Rule("x-original-url", Verb.DROP, _ROUTING),
    Rule("x-original-uri", Verb.DROP, _ROUTING),
    Rule("x-rewrite-url", Verb.DROP, _ROUTING),
    Rule("x-original-host", Verb.DROP, _ROUTING),
    Rule("x-host", Verb.DROP, _ROUTING),
    Rule("x-http-host-override", Verb.DROP, _ROUTING),
    Rule("cookie", Verb.MAP, "the gate's cookies stay here, mapped names get their own back"),
    Rule("origin", Verb.MAP, "the upstream compares it with its host (Django's CSRF check)"),
    Rule("referer", Verb.MAP, "the upstream compares it as it does Origin"),
    Rule("hx-current-url", Verb.MAP, "htmx names the page here, as Referer does"),
    Rule("destination", Verb.MAP, "WebDAV's target of COPY and MOVE (RFC 4918, 10.3)"),
    Rule("if", Verb.MAP, "WebDAV's conditions name resources (RFC 4918, 10.4)"),
    Rule("accept-encoding", Verb.MAP, "the desktop client can only take identity"),
    Rule("available-dictionary", Verb.DROP, DICTIONARY),
    Rule("dictionary-id", Verb.DROP, DICTIONARY),
)

_REQUEST_VERBS = {rule.name.encode(): rule.verb for rule in REQUEST_RULES}
_DROPPED_FAMILIES = tuple(
    rule.name[:-1].encode() for rule in REQUEST_RULES if rule.name.endswith("*")
)
# Names that CGI-like servers (WSGI, PHP, Rack) can't tell from the ones above: HTTP_X_USER_ID.
_LOOKALIKE = re.compile(rb"[^a-z0-9-]")
_GUARDED = frozenset(
    name for name, verb in _REQUEST_VERBS.items() if verb in (Verb.DROP, Verb.SET)
) | {b"cookie", b"origin", b"referer"}


class UrlUnmapper(Protocol):
    """The inverse of the URL mapper: an absolute URL at the mount -> at the upstream."""

    def unmap(self, url: str) -> str:
        """The upstream's URL; a URL that is not below the mount is returned unchanged."""


class Identity(NamedTuple):
    """The gate's statements about one request to the upstream; values are header-safe ASCII."""

    user_id: str
    token_id: str
    client: str  # the client's address, "" if unknown
    request_id: str
    traceparent: str = ""  # the gate's own span; empty: the client's passes as it came


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """Everything constant that the request table needs."""

    upstream: Origin
    authorization: bytes | None = None
    is_public: bool = False
    """Whether the upstream gets the public view."""

    @classmethod
    def build(
        cls, upstream: Origin, user: str | None, password: str | None, *, is_public: bool = False
    ) -> RequestPolicy:
        """``user`` and ``password`` are the upstream's basic auth, if it has any (RFC 7617)."""
        if not user:
            return cls(upstream, is_public=is_public)
        pair = base64.b64encode(f"{user}:{password or ''}".encode())
        return cls(upstream, b"Basic " + pair, is_public)


_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))


def overriding_methods(raw: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Headers whose method some frameworks use instead of the request's, in any spelling."""
    return [
        value.decode("latin-1").strip().upper()
        for name, value in raw
        if b"method" in (low := name.lower()) and _LOOKALIKE.sub(b"-", low) in _OVERRIDES
    ]


def request_headers(
    raw: Iterable[tuple[bytes, bytes]],
    policy: RequestPolicy,
    mount: Mount,
    identity: Identity,
    unmapper: UrlUnmapper,
    *,
    is_bodiless: bool,
    token: str,
) -> Pairs:
    """The headers that go to the upstream, without those of the body's framing.

    ``token`` is the access token of the request, which a Referer may hold.
    ``is_bodiless`` says that the request brings no content: the desktop client labels such
    requests as ``application/octet-stream`` all the same, and that label is dropped.
    """
    pairs = raw if isinstance(raw, (list, tuple)) else list(raw)
    named = named_by_connection(pairs)
    seen = mount.public if policy.is_public else policy.upstream
    out: Pairs = [(b"Host", seen.authority.encode())]
    for name, value in pairs:
        low = name.lower()
        verb = _REQUEST_VERBS.get(low)
        if verb is None:
            if low in named or low.startswith(_DROPPED_FAMILIES):
                continue
            if _LOOKALIKE.search(low):
                plain = _LOOKALIKE.sub(b"-", low)
                if plain in _GUARDED or plain.startswith(_DROPPED_FAMILIES):
                    continue
                if plain == b"authorization" and policy.authorization is not None:
                    continue
            if low == b"authorization" and policy.authorization is not None:
                continue
            if low == b"traceparent" and identity.traceparent:
                continue
            if is_bodiless and low == b"content-type" and value == b"application/octet-stream":
                continue
            out.append((name, value))
        elif verb is Verb.MAP:
            mapped = _REQUEST_MAPS[low](value, policy, mount, unmapper)
            if low in (b"referer", b"hx-current-url") and b"token=" in mapped:
                mapped = _without_token(mapped, token)
            if mapped:
                out.append((name, mapped))
    out += _set_by_gate(policy, mount, identity)
    return out


def _set_by_gate(policy: RequestPolicy, mount: Mount, identity: Identity) -> Pairs:
    client = identity.client
    node = f'"[{client}]"' if ":" in client else client or "unknown"  # RFC 7239, 6
    forwarded = f"for={node}"
    out = [
        (b"X-User-Id", identity.user_id.encode()),
        (b"X-Token-Id", identity.token_id.encode()),
        (b"X-Forwarded-For", client.encode()),
        (b"X-Request-ID", identity.request_id.encode()),
    ]
    if policy.is_public:
        public = mount.public
        host = f'"{public.authority}"' if ":" in public.authority else public.authority
        forwarded += f";host={host};proto={public.scheme}"
        out.append((b"X-Forwarded-Proto", public.scheme.encode()))
        out.append((b"X-Forwarded-Host", public.authority.encode()))
        if mount.prefix:
            out.append((b"X-Forwarded-Prefix", mount.prefix.encode()))
    out.append((b"Forwarded", forwarded.encode()))
    if mount.kind is MountKind.CLIENT:
        out.append((b"Accept-Encoding", b"identity"))  # it drops Content-Encoding
    if policy.authorization is not None:
        out.append((b"Authorization", policy.authorization))
    if identity.traceparent:
        out.append((b"traceparent", identity.traceparent.encode()))
    return out


def _map_page(value: bytes, policy: RequestPolicy, _mount: Mount, back: UrlUnmapper) -> bytes:
    return value if policy.is_public else _unmapped(value, back)


def _unmapped(value: bytes, back: UrlUnmapper) -> bytes:
    text = value.decode("utf-8", "surrogateescape")
    return back.unmap(text).encode("utf-8", "surrogateescape")


def _map_target(value: bytes, policy: RequestPolicy, mount: Mount, back: UrlUnmapper) -> bytes:
    """Another resource of the upstream: at the host of ``Host``, with a path like the target's."""
    unmapped = _unmapped(value, back)
    own = f"{policy.upstream}/".encode()
    if policy.is_public and unmapped.startswith(own):
        return f"{mount.public}/".encode() + unmapped[len(own) :]
    return unmapped


def _without_token(referer: bytes, token: str) -> bytes:
    path, mark, query = referer.decode("utf-8", "surrogateescape").partition("?")
    target = Target(path, query if mark else None)
    return without_token(target, token.__eq__).raw.encode("utf-8", "surrogateescape")


def _map_cookie(value: bytes, _policy: RequestPolicy, _mount: Mount, _back: UrlUnmapper) -> bytes:
    return unmap_cookie(value.decode("latin-1")).encode("latin-1")


def _map_conditions(value: bytes, policy: RequestPolicy, mount: Mount, back: UrlUnmapper) -> bytes:
    """The resources of tagged lists; state tokens are URLs of other schemes, which stay."""
    return _CODED_URL.sub(lambda url: b"<%b>" % _map_target(url[1], policy, mount, back), value)


_CODED_URL = re.compile(rb"<([^<>]*)>")


def _map_origin(value: bytes, policy: RequestPolicy, mount: Mount, _back: UrlUnmapper) -> bytes:
    if value == str(mount.public).encode() and not policy.is_public:
        return str(policy.upstream).encode()
    return value


def _map_codings(value: bytes, _policy: RequestPolicy, mount: Mount, _back: UrlUnmapper) -> bytes:
    # This client drops Content-Encoding; _set_by_gate says identity for it.
    return b"" if mount.kind is MountKind.CLIENT else value


_REQUEST_MAPS: dict[bytes, Callable[[bytes, RequestPolicy, Mount, UrlUnmapper], bytes]] = {
    b"cookie": _map_cookie,
    b"origin": _map_origin,
    b"referer": _map_page,
    b"hx-current-url": _map_page,
    b"destination": _map_target,
    b"if": _map_conditions,
    b"accept-encoding": _map_codings,
}


def request_head(method: str, target: Target, pairs: Pairs) -> bytes:
    """A request's head as bytes: the target exactly as it was checked."""
    line = f"{method} {target.raw} HTTP/1.1".encode()
    return b"\r\n".join([line, *(b"%b: %b" % pair for pair in pairs)]) + b"\r\n\r\n"
