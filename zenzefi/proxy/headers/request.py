"""Request headers: one readable table, and the function that applies it.

Pure. Hop-by-hop fields and those that ``Connection`` names never pass (RFC 9110, 7.6.1).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

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
    Rule("host", Verb.SET, "the upstream's own"),
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
    Rule("origin", Verb.MAP, "the upstream compares it with itself (Django's CSRF check)"),
    Rule("referer", Verb.MAP, "the upstream knows only its own addresses"),
    Rule("hx-current-url", Verb.MAP, "htmx names the page here, as Referer does"),
    Rule("destination", Verb.MAP, "WebDAV names the target of COPY and MOVE here"),
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


@dataclass(frozen=True, slots=True)
class Identity:
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

    @classmethod
    def build(cls, upstream: Origin, user: str | None, password: str | None) -> RequestPolicy:
        """``user`` and ``password`` are the upstream's basic auth, if it has any (RFC 7617)."""
        if not user:
            return cls(upstream)
        pair = base64.b64encode(f"{user}:{password or ''}".encode())
        return cls(upstream, b"Basic " + pair)


_OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))


def overriding_methods(raw: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Headers whose method some frameworks use instead of the request's, in any spelling."""
    return [
        value.decode("latin-1").strip().upper()
        for name, value in raw
        if _LOOKALIKE.sub(b"-", name.lower()) in _OVERRIDES
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
    out: Pairs = [(b"Host", policy.upstream.authority.encode())]
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
    public = mount.public
    client = identity.client
    node = f'"[{client}]"' if ":" in client else client or "unknown"  # RFC 7239, 6
    host = f'"{public.authority}"' if ":" in public.authority else public.authority
    out = [
        (b"X-User-Id", identity.user_id.encode()),
        (b"X-Token-Id", identity.token_id.encode()),
        (b"X-Forwarded-For", client.encode()),
        (b"X-Forwarded-Proto", public.scheme.encode()),
        (b"X-Forwarded-Host", public.authority.encode()),
        (b"Forwarded", f"for={node};host={host};proto={public.scheme}".encode()),
        (b"X-Request-ID", identity.request_id.encode()),
    ]
    if mount.prefix:
        out.append((b"X-Forwarded-Prefix", mount.prefix.encode()))
    if mount.kind is MountKind.CLIENT:
        out.append((b"Accept-Encoding", b"identity"))  # it drops Content-Encoding
    if policy.authorization is not None:
        out.append((b"Authorization", policy.authorization))
    if identity.traceparent:
        out.append((b"traceparent", identity.traceparent.encode()))
    return out


def _map_url_back(value: bytes, _policy: RequestPolicy, _mount: Mount, back: UrlUnmapper) -> bytes:
    text = value.decode("utf-8", "surrogateescape")
    return back.unmap(text).encode("utf-8", "surrogateescape")


def _without_token(referer: bytes, token: str) -> bytes:
    path, mark, query = referer.decode("utf-8", "surrogateescape").partition("?")
    target = Target(path, query if mark else None)
    return without_token(target, token.__eq__).raw.encode("utf-8", "surrogateescape")


def _map_cookie(value: bytes, _policy: RequestPolicy, _mount: Mount, _back: UrlUnmapper) -> bytes:
    return unmap_cookie(value.decode("latin-1")).encode("latin-1")


def _map_origin(value: bytes, policy: RequestPolicy, mount: Mount, _back: UrlUnmapper) -> bytes:
    if value == str(mount.public).encode():
        return str(policy.upstream).encode()
    return value


def _map_codings(value: bytes, _policy: RequestPolicy, mount: Mount, _back: UrlUnmapper) -> bytes:
    # This client drops Content-Encoding; _set_by_gate says identity for it.
    return b"" if mount.kind is MountKind.CLIENT else value


_REQUEST_MAPS: dict[bytes, Callable[[bytes, RequestPolicy, Mount, UrlUnmapper], bytes]] = {
    b"cookie": _map_cookie,
    b"origin": _map_origin,
    b"referer": _map_url_back,
    b"hx-current-url": _map_url_back,
    b"destination": _map_url_back,
    b"accept-encoding": _map_codings,
}
