"""Response headers: one readable table, and the functions that apply it.

Pure. Hop-by-hop fields and those that ``Connection`` names never pass (RFC 9110, 7.6.1).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

from zenzefi.http_syntax import TOKEN_BYTES
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.cookies import map_set_cookie
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

_CACHES = "an instruction to shared caches, which check no token"

# Headers whose value depends on the mount (Location, Link, CSP, Alt-Svc and so on) have their rows
# in zenzefi.rewriting.headers.TABLE, which is applied after this one.
RESPONSE_RULES = (
    Rule("connection", Verb.DROP, HOP),
    Rule("keep-alive", Verb.DROP, HOP),
    Rule("proxy-connection", Verb.DROP, HOP),
    Rule(
        "proxy-authenticate", Verb.DROP, "from a forward proxy; the browser must not respond to it"
    ),
    Rule("te", Verb.DROP, HOP),
    Rule("trailer", Verb.DROP, TRAILERS),
    Rule("upgrade", Verb.DROP, HOP),
    Rule("transfer-encoding", Verb.SET, FRAMING),
    Rule("content-length", Verb.SET, FRAMING),
    Rule("x-request-id", Verb.SET, "the gate sends its own"),
    Rule("set-cookie", Verb.MAP, "kept at the gate's host, below the mount"),
    Rule("use-as-dictionary", Verb.DROP, DICTIONARY),
    Rule("content-type", Verb.MAP, "the desktop client cuts the charset after a space"),
    Rule("cache-control", Verb.MAP, "caches between the gate and the browser check no token"),
    Rule("surrogate-control", Verb.DROP, _CACHES),
    Rule("cdn-cache-control", Verb.DROP, _CACHES),
    Rule("x-accel-expires", Verb.DROP, _CACHES),
    Rule("x-accel-redirect", Verb.DROP, "would make an nginx in front of the gate serve its files"),
    Rule("x-accel-buffering", Verb.DROP, "an order to a proxy in front of the upstream, not ours"),
    Rule("x-sendfile", Verb.DROP, "would make a server in front of the gate serve its files"),
)

_RESPONSE_VERBS = {rule.name.encode(): rule.verb for rule in RESPONSE_RULES}
_FORBIDDEN_VALUE = re.compile(rb"[\x00\r\n]")


def response_headers(raw: Iterable[tuple[bytes, bytes]], upstream: Origin, mount: Mount) -> Pairs:
    """The headers that go to the browser, without those of the body's framing.

    Raises ``ValueError`` for a value that would split the response (CR, LF or NUL in it), and for
    a name that is not a token: the parser accepts ``Content-Length : 5`` as a name with a space.
    URL-valued headers (Location, Link, CSP and so on) are the rewriting engine's.
    """
    pairs = raw if isinstance(raw, (list, tuple)) else list(raw)
    named = named_by_connection(pairs)
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
            if mapped is not None:
                out.append((name, mapped))
    return out


# RFC 9111, 5.2: directives, whose arguments may be quoted and then hold commas.
_DIRECTIVE = re.compile(rb"""(?:[^",]|"(?:[^"\\]|\\.)*"?)+""")
_FOR_ALL = (b"public", b"s-maxage")
_FOR_ONE = (b"private", b"no-store", b"no-cache")
PRIVATE = (b"Cache-Control", b"private")
"""``Cache-Control`` of a response that had none."""


@functools.lru_cache(maxsize=256)
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
    has_directives = False
    for name, value in pairs:
        if len(name) == 13 and name.lower() == b"cache-control":
            has_directives = True
            out.append((name, private_cache_control(value)))
        else:
            out.append((name, value))
    if not has_directives:
        out.append(PRIVATE)
    return out


def _map_set_cookie(value: bytes, upstream: Origin, mount: Mount) -> bytes | None:
    mapped = map_set_cookie(value.decode("latin-1"), upstream, mount)
    return mapped.encode("latin-1") if mapped else None


_SPACED_CHARSET = re.compile(rb";[ \t]+(?=charset=)", re.I)


def _map_content_type(value: bytes, _upstream: Origin, mount: Mount) -> bytes:
    """Without the space in ``; charset=``, which that client searches for to remove it."""
    return _SPACED_CHARSET.sub(b";", value) if mount.kind is MountKind.CLIENT else value


_RESPONSE_MAPS: dict[bytes, Callable[[bytes, Origin, Mount], bytes | None]] = {
    b"set-cookie": _map_set_cookie,
    b"content-type": _map_content_type,
    b"cache-control": lambda value, _upstream, _mount: value,  # later: for_one_browser
}
