"""Finding the upstream's own origin in text that is not parsed: scripts, JSON, playlists.

Web content spells one origin in many ways: ``https://host``, ``https:\\/\\/host``,
``https%3A%2F%2Fhost``, ``//host``, ``wss://host``, ``\\u002F\\u002Fhost``, ``\\x2f\\x2fhost``. The
host itself is nearly always plain, so it is searched for first, in C, and the spelling around it is
parsed from there. Text without the host costs two passes at the speed of :meth:`bytes.find`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import idna

from zenzefi.origin import DEFAULT_PORTS, Mount, Origin
from zenzefi.rewriting.edits import Edit

_BEHIND = 64
_REACH = 192
"""Most bytes of a mention's scheme, slashes and user, in any spelling."""

_ALLOWED = bytes(
    byte
    for byte in range(256)
    if byte >= 0x80 or chr(byte).isalnum() or chr(byte) in "_-.~:/\\%&#;{}[]@"
)
"""The bytes of which mentions consist, in every spelling."""

_SOCKETS = {"http": "ws", "https": "wss"}

# Inside a string of a script the quotes of JSON are escaped, inside an attribute they may be
# character references.
_QUOTE = re.compile(rb"(?:(?<!\\)\\?[\"'`]|&(?:quot|apos|#3[49]);)\Z")

# Every spelling of "/" and of ":", the longer ones first.
SLASHES = (
    rb"\\u002f",
    rb"\u002f",
    rb"\u005c",
    rb"\u{2f}",
    rb"&#x2f;",
    rb"&bsol;",
    rb"&#47;",
    rb"&sol;",
    rb"\x2f",
    rb"\x5c",
    rb"%2f",
    rb"%5c",
    rb"\\\/",
    rb"\\/",
    rb"\/",
    b"\\\\",
    b"/",
    b"\\",
)
COLONS = (
    rb"\\u003a",
    rb"\u003a",
    rb"\u{3a}",
    rb"&#x3a;",
    rb"&colon;",
    rb"&#58;",
    rb"\x3a",
    rb"%3a",
    b":",
)


def _any(spellings: Iterable[bytes]) -> bytes:
    return b"(?:" + b"|".join(map(re.escape, spellings)) + b")"


def _beginnings(spellings: Iterable[bytes]) -> list[bytes]:
    """Every proper, non-empty beginning of the spellings, longest first."""
    found = {word[:length] for word in spellings for length in range(1, len(word))}
    return sorted(found, key=lambda word: (-len(word), word))


class Spelled(NamedTuple):
    """One mention of the origin; ``start`` to ``end`` is the origin itself."""

    start: int
    end: int
    scheme: bytes
    colon: bytes
    slashes: tuple[bytes, ...]
    """Two slashes, or three in some spellings."""
    user: bytes
    is_origin: bool = False
    """Whether it is a whole string in quotes: an origin to compare with, and no prefix of paths."""


class OriginFinder:
    """Finds and replaces the upstream's origins in one body, streaming.

    Only *absolute* mentions count: two slashes before the host, a matching scheme if there is one,
    and no text after it that would make it a different host or port. The replacement is the mount's
    root in the same spelling: same case of the scheme, same slashes. A whole string in quotes that
    is the origin becomes the mount's origin without its path, as ``location.origin`` is: scripts
    compare it, and the runtime maps the URLs that they build from it.
    """

    def __init__(self, origins: Iterable[Origin], mount: Mount) -> None:
        self._mount = mount
        self._targets = [t for origin in sorted(origins, key=str) for t in _targets(origin)]
        self._behind = b""
        self._reach = _REACH + max(len(target.host) for target in self._targets)

    def edits(
        self, window: bytes, final: bool, accept: Callable[[bytes], bool] | None = None
    ) -> tuple[int, list[Edit]]:
        """``(settled, edits)`` of the next window, as a scanner returns them.

        ``accept`` gets up to 64 bytes before a mention and returns whether it is replaced.
        """
        settled = len(window) if final else len(window) - self.unfinished(window)
        found = []
        for spelled in self.find(window):
            if spelled.start >= settled:
                break
            if accept is None or accept(self._in_front(window, spelled.start)):
                found.append(self.edit(spelled))
                settled = max(settled, spelled.end)
        if settled:
            self._behind = self._in_front(window, settled)
        return settled, found

    def _in_front(self, window: bytes, at: int) -> bytes:
        if at >= _BEHIND:
            return window[at - _BEHIND : at]
        return (self._behind + window[:at])[-_BEHIND:]

    def find(self, window: bytes) -> Iterator[Spelled]:
        """The mentions in a window, in order."""
        lower: bytes | None = None
        places: list[tuple[int, _Target]] = []
        for target in self._targets:
            text = window
            if target.folds:
                lower = text = window.lower() if lower is None else lower
            at = text.find(target.host)
            while at >= 0:
                places.append((at, target))
                at = text.find(target.host, at + 1)
        places.sort(key=lambda place: place[0])
        last = 0
        for at, target in places:
            low = max(last, at - _REACH)
            before = window[low:at] if low else self._behind + window[:at]
            spelled = target.read(window, at, before)
            if spelled is not None and spelled.start >= last:
                last = spelled.end
                yield spelled

    def edit(self, spelled: Spelled) -> Edit:
        """The mount's root in the spelling of a mention."""
        slash = spelled.slashes[0]
        scheme = b""
        public = self._mount.public
        if spelled.scheme:
            name = _SOCKETS[public.scheme] if spelled.scheme[:1] in b"wW" else public.scheme
            written = (name.upper() if spelled.scheme.isupper() else name).encode()
            same = spelled.scheme.lower() == written.lower()
            scheme = (spelled.scheme if same else written) + spelled.colon
        authority = public.authority.encode()
        colon = spelled.colon or (b"%3A" if slash[:1] == b"%" else b":")
        if slash[:1] == b"%" and colon[:1] == b"%":
            authority = authority.replace(b":", colon)
        prefix = b""
        if not spelled.is_origin:
            prefix = self._mount.prefix.encode().replace(b"/", _forward(slash))
        new = scheme + b"".join(spelled.slashes) + spelled.user + authority + prefix
        return Edit(spelled.start, spelled.end, new)

    def unfinished(self, window: bytes) -> int:
        """Bytes at the end that may be the beginning of a mention, or of the text after one."""
        longest = 0
        tail = window[-self._reach :]
        # No mention contains a blank or a quote: only the text after the last one counts, and one
        # byte before it, which shows where a scheme begins.
        word = len(tail) - len(tail.rstrip(_ALLOWED))
        tail = tail[-word - 1 :] if word else b""
        for target in self._targets:
            match = target.partial.search(tail) if tail else None
            if match is not None:
                longest = max(longest, len(tail) - match.start())
        return longest


class OriginScanner:
    """A scanner of an inline script: byte-identical, unless it contains the upstream's origin."""

    def __init__(self, origins: Iterable[Origin], mount: Mount) -> None:
        self._finder = OriginFinder(origins, mount)

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """See :class:`zenzefi.rewriting.scanner.Scanner`."""
        return self._finder.edits(window, final)


def _forward(slash: bytes) -> bytes:
    """The forward slash in the same spelling.

    Backslashes become slashes; after an escaped backslash (JSON inside a script's string) a plain
    slash has the same meaning. ``\\/`` stays: a regular expression needs it.
    """
    plain = {b"\\": b"/", b"\\\\": b"/", b"\\\\/": b"/", b"\\\\\\/": b"/", b"&bsol;": b"&sol;"}
    return plain.get(slash, slash.replace(b"5c", b"2f").replace(b"5C", b"2F"))


@lru_cache(maxsize=64)
def _targets(origin: Origin) -> tuple[_Target, ...]:
    """The host, and the Unicode form of an internationalised one."""
    hosts = [origin.host.encode("ascii")]
    if "xn--" in origin.host:
        with contextlib.suppress(UnicodeError):
            hosts.append(idna.decode(origin.host).encode("utf-8"))
    return tuple(_Target(origin, host) for host in hosts)


class _Target:
    """One origin: the literal to search for, and the patterns of a mention around it."""

    def __init__(self, origin: Origin, host: bytes) -> None:
        self.host = host
        self.folds = re.search(rb"[a-z]", self.host) is not None
        socket = _SOCKETS[origin.scheme]
        schemes = (origin.scheme.encode(), socket.encode())
        slash, colon = _any(SLASHES), _any(COLONS)
        self._before = re.compile(
            rb"(?:(?<![\w+.-])(?P<scheme>%b)(?P<colon>%b)|(?<![:\w]))"
            rb"(?P<first>%b)(?P<second>%b)(?P<third>(?:%b)?)(?P<user>(?:[\w.:~-]*@)?)\Z"
            % (_any(schemes), colon, slash, slash, slash),
            re.I,
        )
        port = str(origin.port).encode()
        default = DEFAULT_PORTS[origin.scheme] == origin.port
        written = colon + port
        self._after = re.compile(
            (rb"(?:%b)?" if default else rb"%b") % written + rb"(?![\w~-]|\.\w|%b\d)" % colon,
            re.I,
        )
        # An unfinished mention at the end of a window. Nested options, one per part.
        half_colon = b"|".join(map(re.escape, _beginnings(COLONS)))
        spoils = rb"(?:\.|%b|%b)" % (colon, half_colon)
        port_part = rb"%b(?:%b%b?|%b)" % (
            colon,
            re.escape(port),
            spoils,
            b"|".join(re.escape(port[:n]) for n in range(len(port) - 1, -1, -1)),
        )
        host_part = rb"(?:%b(?:%b|%b)?|%b)" % (
            re.escape(self.host),
            port_part,
            spoils,
            b"|".join(re.escape(self.host[:n]) for n in range(len(self.host) - 1, 0, -1))
            or b"(?!)",
        )
        user_part = rb"(?:[\w.:~-]{0,128}@?(?:%b)?|%b)" % (host_part, host_part)
        halves = b"|".join(map(re.escape, _beginnings(SLASHES)))
        third = rb"(?:%b(?:%b)?|%b|%b)" % (slash, user_part, user_part, halves)
        second = rb"(?:%b(?:%b)?|%b)" % (slash, third, halves)
        slashes = rb"(?:%b(?:%b)?|%b)" % (slash, second, halves)
        half_scheme = b"|".join(_beginnings(schemes))
        scheme_part = rb"(?:%b(?:(?:%b)(?:%b)?|%b)?|%b)" % (
            _any(schemes),
            colon,
            slashes,
            half_colon,
            half_scheme,
        )
        self.partial = re.compile(rb"(?:(?<![\w+.-])%b|%b)\Z" % (scheme_part, slashes), re.I)

    def read(self, window: bytes, at: int, before: bytes) -> Spelled | None:
        """The mention around the host found at ``at``; ``before`` ends there."""
        after = self._after.match(window, at + len(self.host))
        if after is None:
            return None
        front = self._before.search(before)
        if front is None:
            return None
        return Spelled(
            at - len(before) + front.start(),
            after.end(),
            front["scheme"] or b"",
            front["colon"] or b"",
            (front["first"], front["second"], front["third"]),
            front["user"],
            bool(front["scheme"])
            and not front["user"]
            and _is_in_quotes(before[: front.start()], window, after.end()),
        )


def _is_in_quotes(before: bytes, window: bytes, end: int) -> bool:
    """Whether the text between ``before`` and ``end`` is a whole string."""
    quote = _QUOTE.search(before[-6:])
    return quote is not None and window.startswith(quote[0], end)
