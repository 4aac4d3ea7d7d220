"""Keys of rewritten bodies, for ETags and the cache: all inputs except the upstream's bytes."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from collections.abc import Hashable, Iterable, Sequence

from multidict import CIMultiDictProxy

from zenzefi.origin import Mount, Origin
from zenzefi.rewriting.plugins.exchange import Exchange
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.version import __version__

_LENGTH = re.compile(r"[0-9]{1,18}")
_Values = tuple[tuple[str, ...], ...]
_READ = ("Content-Type", "X-Content-Type-Options", "Content-Encoding")
"""The response's headers that decide how a body is read."""
# They differ between responses and do not describe the body.
_PASSING = frozenset(("age", "date"))


def varied_by(
    entries: Iterable[LoadedPlugin], mount: Mount, destination: str | None
) -> tuple[str, ...]:
    """The request headers on which the plugins' results depend, in lower case and sorted."""
    names = {n for entry in entries for n in entry.plugin._varies(mount, destination)}
    return tuple(sorted({name.lower() for name in names}))


def tag_key(exchange: Exchange, fingerprint: str, varies: Sequence[str]) -> str:
    """Eight hex digits for a derived ETag.

    They change with the plugins, the mount, the user, and the request headers in ``varies``: a
    browser may send the tag of a response to a different request (RFC 9111, 4.3.1), and a 304 would
    make that response current. With ``*`` the result depends on more than headers: no tag matches
    again.
    """
    if "*" in varies:
        return secrets.token_hex(4)
    asked = _values(exchange.request_headers, varies)
    return _tag(fingerprint, exchange.mount, exchange.mapper.origins, exchange.user, asked)


@functools.lru_cache(maxsize=1024)
def _tag(
    fingerprint: str, mount: Mount, origins: frozenset[Origin], user: str, asked: _Values
) -> str:
    base = [__version__, fingerprint, mount.root, mount.kind.value, sorted(map(str, origins))]
    return _digest((*base, user, asked))[:8]


def depends_on(
    exchange: Exchange, fingerprint: str, entries: Sequence[LoadedPlugin], coding: str
) -> Hashable | None:
    """All inputs of a result except the body; ``None`` if they are not known.

    The bundled plugins read only the request headers that they declare. Other plugins are not
    checked, so for them every header counts, as a digest: headers contain secrets.
    """
    varies = varied_by(entries, exchange.mount, exchange.destination)
    if "*" in varies:
        return None
    sent, received = exchange.request_headers, exchange.response_headers
    asked: Hashable
    if all(entry.bundled for entry in entries):
        asked = _values(sent, varies), _values(received, _READ)
    else:
        kept = [pair for pair in received.items() if pair[0].lower() not in _PASSING]
        asked = _digest((list(sent.items()), kept, exchange.user))
    names = tuple([entry.name for entry in entries])
    made = fingerprint, exchange.mount, exchange.mapper.origins, names, varies, coding
    return made, exchange.url, exchange.destination, asked


def _values(headers: CIMultiDictProxy[str], names: Sequence[str]) -> _Values:
    return tuple([tuple(headers.getall(name, ())) for name in names])


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def cacheable_length(exchange: Exchange) -> int | None:
    """The length of a body that a shared cache may store (RFC 9111, 3), ``None`` for any other.

    It needs no validator: the digest of its bytes decides whether a result is used.
    """
    headers = exchange.response_headers
    control = ", ".join(headers.getall("Cache-Control", ())).lower()
    vary = {part.strip().lower() for v in headers.getall("Vary", ()) for part in v.split(",")}
    lengths = headers.getall("Content-Length", ())
    if (
        exchange.method != "GET"
        or exchange.status != 200
        or "Set-Cookie" in headers
        or any(word in control for word in ("private", "no-store"))
        or ("Authorization" in exchange.request_headers and "public" not in control)
        or not vary <= {"", "accept-encoding", "origin", "sec-fetch-dest"}
        or len(lengths) != 1
        or _LENGTH.fullmatch(lengths[0]) is None
    ):
        return None
    return int(lengths[0])
