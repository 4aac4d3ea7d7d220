"""Header policy: one readable table per direction, and the two functions that apply them.

Pure. Headers are pairs of bytes, in order, repeated ones stay repeated; a name that no table
mentions passes as it is. Hop-by-hop fields and those that ``Connection`` names never pass
(RFC 9110 section 7.6.1).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from zenzefi.http.target import Target, without_token
from zenzefi.http_syntax import TOKEN_BYTES
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.cookies import map_set_cookie, unmap_cookie

Pairs = list[tuple[bytes, bytes]]


class Verb(StrEnum):
    """What happens to a header."""

    DROP = "drop"
    SET = "set"  # the gate writes its own; received values are dropped
    MAP = "map"  # the value is translated


class Rule(NamedTuple):
    """One row: the header's name in lower case, what happens to it, and why.

    A name that ends in ``*`` stands for all names with this beginning that have no separate row.
    """

    name: str
    verb: Verb
    reason: str


_HOP = "belongs to one connection (RFC 9110, 7.6.1)"
_FRAMING = "each connection frames the body separately (RFC 9112, 6)"
_IDENTITY = "only the gate identifies the client"
_SIGNED_IN = "a sign-in server in front of an application says so who asks; here is none"
_TRAIL = "only the gate states where the request came from"
_SECRET = "the gate's secret"  # noqa: S105 - a reason, not a secret
_CACHES = "an instruction to shared caches, which check no token"
_ROUTING = "some frameworks route by it, past the path that was checked"

REQUEST_RULES = (
    Rule("connection", Verb.DROP, _HOP),
    Rule("keep-alive", Verb.DROP, _HOP),
    Rule("proxy-connection", Verb.DROP, _HOP),
    Rule("proxy-authorization", Verb.DROP, "meant for a forward proxy, not for the upstream"),
    Rule("te", Verb.DROP, _HOP),
    Rule("trailer", Verb.DROP, "trailers are not passed on (RFC 9110, 6.5.1 allows it)"),
    Rule("upgrade", Verb.DROP, _HOP + "; the WebSocket way sets its own"),
    Rule("http2-settings", Verb.DROP, "only meaningful with Upgrade: h2c"),
    Rule("transfer-encoding", Verb.SET, _FRAMING),
    Rule("content-length", Verb.SET, _FRAMING),
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
    Rule("available-dictionary", Verb.DROP, "dictionary codings can't be rewritten"),
    Rule("dictionary-id", Verb.DROP, "dictionary codings can't be rewritten"),
)

# Headers whose value depends on the mount (Location, Link, CSP, Alt-Svc and so on) have their rows
# in zenzefi.rewriting.headers.TABLE, which is applied after this one.
RESPONSE_RULES = (
    Rule("connection", Verb.DROP, _HOP),
    Rule("keep-alive", Verb.DROP, _HOP),
    Rule("proxy-connection", Verb.DROP, _HOP),
    Rule(
        "proxy-authenticate", Verb.DROP, "from a forward proxy; the browser must not respond to it"
    ),
    Rule("te", Verb.DROP, _HOP),
    Rule("trailer", Verb.DROP, "trailers are not passed on (RFC 9110, 6.5.1 allows it)"),
    Rule("upgrade", Verb.DROP, _HOP),
    Rule("transfer-encoding", Verb.SET, _FRAMING),
    Rule("content-length", Verb.SET, _FRAMING),
    Rule("x-request-id", Verb.SET, "the gate sends its own"),
    Rule("set-cookie", Verb.MAP, "kept at the gate's host, below the mount"),
    Rule("use-as-dictionary", Verb.DROP, "dictionary codings can't be rewritten"),
    Rule("cache-control", Verb.MAP, "caches between the gate and the browser check no token"),
    Rule("surrogate-control", Verb.DROP, _CACHES),
    Rule("cdn-cache-control", Verb.DROP, _CACHES),
    Rule("x-accel-expires", Verb.DROP, _CACHES),
    Rule("x-accel-redirect", Verb.DROP, "would make an nginx in front of the gate serve its files"),
    Rule("x-accel-buffering", Verb.DROP, "an order to a proxy in front of the upstream, not ours"),
    Rule("x-sendfile", Verb.DROP, "would make a server in front of the gate serve its files"),
)

_REQUEST_VERBS = {rule.name.encode(): rule.verb for rule in REQUEST_RULES}
_DROPPED_FAMILIES = tuple(
    rule.name[:-1].encode() for rule in REQUEST_RULES if rule.name.endswith("*")
)
_RESPONSE_VERBS = {rule.name.encode(): rule.verb for rule in RESPONSE_RULES}
# Names that CGI-like servers (WSGI, PHP, Rack) can't tell from the ones above: HTTP_X_USER_ID.
_LOOKALIKE = re.compile(rb"[^a-z0-9-]")
_GUARDED = frozenset(
    name for name, verb in _REQUEST_VERBS.items() if verb in (Verb.DROP, Verb.SET)
) | {b"cookie", b"origin", b"referer"}
_FORBIDDEN_VALUE = re.compile(rb"[\x00\r\n]")


class UrlUnmapper(Protocol):
    """The way back of the URL mapper: an absolute URL at the mount -> at the upstream."""

    def unmap(self, url: str) -> str:
        """The upstream's URL; anything that is not below the mount comes back as it is."""


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


def _named_by_connection(pairs: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    named: set[bytes] = set()
    for name, value in pairs:
        if len(name) == 10 and name.lower() == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return named


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
    named = _named_by_connection(pairs)
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


def response_headers(raw: Iterable[tuple[bytes, bytes]], upstream: Origin, mount: Mount) -> Pairs:
    """The headers that go to the browser, without those of the body's framing.

    Raises ``ValueError`` for a value that would split the response (CR, LF or NUL in it), and for
    a name that is not a token: the parser accepts ``Content-Length : 5`` as a name with a space.
    URL-valued headers (Location, Link, CSP and so on) are the rewriting engine's.
    """
    pairs = raw if isinstance(raw, (list, tuple)) else list(raw)
    named = _named_by_connection(pairs)
    out: Pairs = []
    for name, value in pairs:
        low = name.lower()
        # RFC 9110, 5.5: a recipient of CR, LF or NUL must reject the message or replace them.
        if _FORBIDDEN_VALUE.search(value):
            raise ValueError("a response header holds a control character")
        # RFC 9112, 5.1: the next parser might read it as a length, or not.
        if not TOKEN_BYTES.fullmatch(name):
            raise ValueError("a response header's name is not a token")
        verb = _RESPONSE_VERBS.get(low)
        if verb is None:
            if low not in named:
                out.append((name, value))
        elif verb is Verb.MAP:
            mapped = _RESPONSE_MAPS[low](value, upstream, mount)
            if mapped:
                out.append((name, mapped))
    return out


# RFC 9111, 5.2: directives, whose arguments may be quoted and then hold commas.
_DIRECTIVE = re.compile(rb"""(?:[^",]|"(?:[^"\\]|\\.)*"?)+""")
_FOR_ALL = (b"public", b"s-maxage")
_FOR_ONE = (b"private", b"no-store", b"no-cache")
PRIVATE = (b"Cache-Control", b"private")
"""``Cache-Control`` of a response that had none."""


def private_cache_control(value: bytes) -> bytes:
    """One ``Cache-Control`` value without directives that let shared caches store the response.

    RFC 9111, 3: they may store what is fresh for a while even if it does not say ``public``.
    Browsers keep the response as long as before.
    """
    parts: list[bytes] = _DIRECTIVE.findall(value)
    named = [(part.partition(b"=")[0].strip().lower(), b"=" in part) for part in parts]
    # With an argument these concern some fields only, not the response.
    if any(name in _FOR_ONE and not has_argument for name, has_argument in named):
        return value
    kept = [part for part, (name, _) in zip(parts, named, strict=True) if name not in _FOR_ALL]
    return b",".join([*kept, b" private" if kept else b"private"]).strip()


def for_one_browser(pairs: Pairs) -> Pairs:
    """The same headers, so that no shared cache serves the response to other users.

    The last step of the table: whether the engine may keep a rewritten body is decided by what the
    upstream said.
    """
    out = []
    is_said = False
    for name, value in pairs:
        if len(name) == 13 and name.lower() == b"cache-control":
            is_said = True
            out.append((name, private_cache_control(value)))
        else:
            out.append((name, value))
    if not is_said:
        out.append(PRIVATE)
    return out


def _map_set_cookie(value: bytes, upstream: Origin, mount: Mount) -> bytes:
    return (map_set_cookie(value.decode("latin-1"), upstream, mount) or "").encode("latin-1")


_RESPONSE_MAPS: dict[bytes, Callable[[bytes, Origin, Mount], bytes]] = {
    b"set-cookie": _map_set_cookie,
    b"cache-control": lambda value, _upstream, _mount: value,  # later: for_one_browser
}
