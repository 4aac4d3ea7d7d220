"""Keys of rewritten bodies, for ETags and the cache: all inputs except the upstream's bytes."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from collections.abc import Hashable, Iterable, Sequence

from multidict import CIMultiDictProxy

from zenzefi.origin import TOKEN_HEADER, Mount, Origin
from zenzefi.rewriting.plugins.client import ANYTHING, CLIENT_READ, HEADER_READ, ClientFacts
from zenzefi.rewriting.plugins.heads import ExchangeHead
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
    names: set[str] = set()
    for entry in entries:
        names.update(entry.plugin._varies(mount, destination))
        if not entry.bundled:
            names.update(_headers_read(entry))
    return tuple(sorted({name.lower() for name in names}))


def names_varied(
    entries: Iterable[LoadedPlugin], mount: Mount, destination: str | None
) -> set[str]:
    """The names for ``Vary`` of a response that these plugins rewrite."""
    names: set[str] = set()
    for entry in entries:
        names.update(entry.plugin._varies(mount, destination))
        if entry.bundled:
            continue
        names.update(name.title() for name in _headers_read(entry))
        # The head of a body leaves before the body is read. Until one was finished, it may be made
        # for one client alone.
        is_unknown = not (entry.reads.is_known or entry.plugin.varies)
        if is_unknown or any(name.startswith(CLIENT_READ) for name in entry.reads.names):
            names.update(_CREDENTIALS)
        if ANYTHING in entry.reads.names:
            names.add("*")
    return names


_CREDENTIALS = ("Cookie", TOKEN_HEADER)
"""The request headers that tell who is asking."""


def _headers_read(entry: LoadedPlugin) -> set[str]:
    names = {n[len(HEADER_READ) :] for n in entry.reads.names if n.startswith(HEADER_READ)}
    return names | {"sec-fetch-dest"} if entry.plugin.matches.destinations else names


def reads_of(entries: Iterable[LoadedPlugin]) -> frozenset[str]:
    """The facts that the bodies of the operator's plugins have read so far."""
    return frozenset(name for entry in entries if not entry.bundled for name in entry.reads.names)


def facts_read(entries: Iterable[LoadedPlugin], client: ClientFacts) -> tuple[object, ...]:
    """The facts about the client on which the plugins' results depend."""
    names = {n.removeprefix(CLIENT_READ) for n in reads_of(entries) if n.startswith(CLIENT_READ)}
    return tuple(getattr(client, name) for name in sorted(names))


def is_open(entries: Iterable[LoadedPlugin]) -> bool:
    """Whether a body of these plugins may depend on something that no key contains.

    Until a plugin has finished its first body, it is not known what it reads, unless it says so.
    """
    for entry in entries:  # a generator would cost a call for each of the gate's own plugins
        if entry.bundled:
            continue
        reads = entry.reads
        if ANYTHING in reads.names or not (reads.is_known or entry.plugin.varies):
            return True
    return False


def tag_key(
    exchange: ExchangeHead, fingerprint: str, varies: Sequence[str], facts: tuple[object, ...] = ()
) -> str:
    """Eight hex digits for a derived ETag.

    They change with the plugins, the mount, the user, the other ``facts`` about the client, and the
    request headers in ``varies``: a browser may send the tag of a response to a different request
    (RFC 9111, 4.3.1), and a 304 would make that response current. With ``*`` the result depends on
    more than headers: no tag matches again.
    """
    if "*" in varies:
        return secrets.token_hex(4)
    asked = _values(exchange.request_headers, varies), facts
    return _tag(fingerprint, exchange.mount, exchange.mapper.origins, exchange.user, asked)


@functools.lru_cache(maxsize=1024)
def _tag(
    fingerprint: str, mount: Mount, origins: frozenset[Origin], user: str, asked: Hashable
) -> str:
    base = [__version__, fingerprint, mount.root, mount.kind.value, sorted(map(str, origins))]
    return _digest((*base, user, asked))[:8]


def depends_on(
    exchange: ExchangeHead, fingerprint: str, entries: Sequence[LoadedPlugin], coding: str
) -> Hashable | None:
    """All inputs of a result except the body; ``None`` if they are not known.

    The bundled plugins read only the request headers that they declare. Of other plugins the
    headers and facts count that they have read before; a result that has read more is not kept.
    Every header of the response counts for them. Values go through a digest, as headers contain
    secrets.
    """
    varies = varied_by(entries, exchange.mount, exchange.destination)
    if "*" in varies:
        return None
    sent, received = exchange.request_headers, exchange.response_headers
    asked: Hashable
    if False not in [entry.bundled for entry in entries]:
        asked = _values(sent, varies), _values(received, _READ)
    else:
        kept = [pair for pair in received.items() if pair[0].lower() not in _PASSING]
        if is_open(entries):
            return None
        said = _values(sent, varies)
        asked = _digest((said, facts_read(entries, exchange.client), kept, exchange.user))
    names = tuple([entry.name for entry in entries])
    made = fingerprint, exchange.mount, exchange.mapper.origins, names, varies, coding
    return made, exchange.url, exchange.destination, asked


def _values(headers: CIMultiDictProxy[str], names: Sequence[str]) -> _Values:
    return tuple([tuple(headers.getall(name, ())) for name in names])


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def cacheable_length(exchange: ExchangeHead) -> int | None:
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
