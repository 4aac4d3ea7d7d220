"""Keys of rewritten bodies, for ETags and the cache: all inputs except the upstream's bytes."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence

from zenzefi.origin import Mount
from zenzefi.rewriting.plugins.exchange import Exchange
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.version import __version__

_LENGTH = re.compile(r"[0-9]{1,18}")
# They differ between responses and do not describe the body.
_PASSING = frozenset(("age", "date"))


def varied_by(
    entries: Iterable[LoadedPlugin], mount: Mount, destination: str | None
) -> tuple[str, ...]:
    """The request headers on which the plugins' results depend, in lower case and sorted."""
    names = {n for entry in entries for n in entry.plugin._varies(mount, destination)}
    return tuple(sorted({name.lower() for name in names}))


def _base(exchange: Exchange, fingerprint: str) -> list[object]:
    origins = sorted(map(str, exchange.mapper.origins))
    return [__version__, fingerprint, exchange.mount.root, exchange.mount.kind.value, origins]


def tag_key(exchange: Exchange, fingerprint: str, varies: Sequence[str]) -> str:
    """Eight hex digits for a derived ETag.

    They change with the plugins, the mount, the user, and the request headers in ``varies``: a
    browser may send the tag of a response to a different request (RFC 9111, 4.3.1), and a 304 would
    make that response current. With ``*`` the result depends on more than headers: no tag matches
    again.
    """
    if "*" in varies:
        return secrets.token_hex(4)
    asked = [exchange.request_headers.getall(name, []) for name in varies]
    return _digest([*_base(exchange, fingerprint), exchange.user, asked])[:8]


def depends_on(
    exchange: Exchange, fingerprint: str, entries: Sequence[LoadedPlugin], coding: str
) -> str | None:
    """A digest of all inputs of a result except the body; ``None`` if they are not known.

    The bundled plugins read only the request headers that they declare. Other plugins are not
    checked, so for them every header counts.
    """
    varies = varied_by(entries, exchange.mount, exchange.destination)
    if "*" in varies:
        return None
    parts = _base(exchange, fingerprint)
    parts += [exchange.url, exchange.destination, coding]
    parts += [[entry.name for entry in entries], varies]
    sent, received = exchange.request_headers, exchange.response_headers
    if all(entry.bundled for entry in entries):
        parts.append([sent.getall(name, []) for name in varies])
        names = ("Content-Type", "X-Content-Type-Options", "Content-Encoding")
        parts.append([received.getall(name, []) for name in names])
    else:
        parts.append(list(sent.items()))
        parts.append([pair for pair in received.items() if pair[0].lower() not in _PASSING])
        parts.append(exchange.user)
    return _digest(parts)


def _digest(parts: list[object]) -> str:
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
