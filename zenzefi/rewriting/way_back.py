"""The way back: addresses in what a page sends, from the browser's view to the upstream's.

A page stores addresses that it read: an editor's HTML, ``location.href`` in the first message of a
WebSocket. They carry the mount, and the upstream would store it. The text is not parsed: addresses
are found in every spelling of :mod:`zenzefi.rewriting.literals` (JSON, percent-encoding, character
references), and leave in the same spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from zenzefi.origin import DEFAULT_PORTS, Mount, Origin
from zenzefi.rewriting.literals import COLONS, SLASHES


def _is_backslash(slash: bytes) -> bool:
    """Pages write none in addresses that they read, and one may begin an escape."""
    return slash.strip(b"\\") == b"" or slash.endswith((b"5c", b"bsol;"))


_SOCKETS = {"http": b"ws", "https": b"wss"}
_COLON, _SLASH = (
    b"(?:" + b"|".join(map(re.escape, spellings)) + b")"
    for spellings in (COLONS, [slash for slash in SLASHES if not _is_backslash(slash)])
)
# An escape may end in a word character: "\n", "\u0022", "%22". Those of a slash or a colon do
# not count, because a longer path or a host would end there.
_ESCAPE = (
    rb"(?<=\\[nrtbf])|(?<=\\u00[014-7][\da-f])|(?<=\\u002[\da-e])|(?<=\\u003[b-f])"
    rb"|(?<=%[014-7][\da-f])(?<!%40)|(?<=%2[\da-e])|(?<=%3[b-f])"
)
_BEFORE = rb"(?:(?<![\w.~/\\:@%-])|" + _ESCAPE + b")"
_AFTER = rb"(?![\w~-]|\.\w)"


# A bare origin, as ``location.origin`` is, with or without a slash.
_END = rb"(?=(?:%b)?(?:[\s\"'`<&,]|\\[\"']|\\u002[267]|%%2[26c]|\Z))" % _SLASH

_HELD = 4096
"""Bytes: longer than any address that is looked for, in every spelling."""
_AHEAD = 1024
"""Bytes: longer than what the expression reads behind an address, or a repeated prefix."""
_BEHIND = 16
"""Bytes: longer than what it reads before one."""


class WayBack:
    """Maps the addresses in texts to the upstream's view, for one upstream and mount.

    Mapped are addresses with the browser's origin, and under a prefix also rooted ones. A repeated
    prefix counts as one. All others stay, and so does the rest of the text.
    """

    def __init__(self, upstream: Origin, mount: Mount) -> None:
        public = mount.public
        schemes = public.scheme.encode(), _SOCKETS[public.scheme]
        is_default = DEFAULT_PORTS[public.scheme] == public.port
        origin = (
            rb"(?:(?<![\w.-])|" + _ESCAPE + b")(?P<scheme>" + b"|".join(schemes) + b")"
            rb"(?P<colon>" + _COLON + rb")(?P<slashes>" + _SLASH + _SLASH + b")"
            + re.escape(public.host.encode())
            + b"(?:" + _COLON + b"%d)" % public.port + (b"?" if is_default else b"")
            + rb"(?![\w~-]|\.\w|" + _COLON + rb"\d)"
        )  # fmt: skip
        if mount.prefix:
            first, *rest = [re.escape(part.encode()) for part in mount.prefix.split("/")[1:]]
            path = _SLASH + first + b"".join(_SLASH + part for part in rest) + _AFTER
            again = b"(?:" + path + b")*(?P<next>" + _SLASH + b")?"
            # The first slash of a rooted address shows how it is spelled.
            rooted = _BEFORE + b"(?=(?P<slash>" + _SLASH + b"))" + path + again
            absolute = (
                origin + b"(?:" + path + again.replace(b"next", b"behind") + b"|" + _END + b")"
            )
            pattern = absolute + b"|" + rooted
        else:
            pattern = origin
        self._pattern = re.compile(pattern, re.I)
        # Every address has the host in it, or all parts of the prefix: a search for one of these
        # and a look at what is before it is much faster than the expression at every place.
        part = max(mount.prefix.split("/"), key=len).encode()
        keys = [re.escape(key) for key in (public.host.encode(), part) if key]
        self._keys = re.compile(b"|".join(keys), re.I)
        firsts = {spelling[:1] for spelling in SLASHES} | {scheme[:1] for scheme in schemes}
        self._starts = re.compile(b"[" + b"".join(map(re.escape, sorted(firsts))) + b"]", re.I)
        self._schemes = dict(
            zip(schemes, (upstream.scheme.encode(), _SOCKETS[upstream.scheme]), strict=True)
        )
        self._authority = upstream.authority.encode()
        self._has_prefix = bool(mount.prefix)

    def unmap(self, data: bytes) -> bytes:
        """``data`` with its addresses in the upstream's view; takes linear time."""
        return self.settled(data, 0, is_last=True)[0]

    def unmap_text(self, text: str) -> str:
        """The same for text."""
        return self.unmap(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def settled(self, text: bytes, start: int, *, is_last: bool) -> tuple[bytes, int]:
        """The part of ``text`` after ``start`` whose mapping later bytes can't change, mapped; and
        where it ends."""
        end = len(text) if is_last else max(start, len(text) - _HELD)
        out, at = [], start
        for found in self._matches(text, start):
            if found.start() >= end:
                break
            if not is_last and found.end() > len(text) - _AHEAD:
                end = found.start()
                break
            out += [text[at : found.start()], self._replacement(found)]
            at = found.end()
        end = max(at, end)
        return b"".join((*out, text[at:end])), end

    def _matches(self, text: bytes, at: int) -> Iterator[re.Match[bytes]]:
        """The addresses from ``at`` on, in order."""
        while key := self._keys.search(text, at):
            first = max(at, key.start() - _HELD)
            at = key.end()
            for place in self._starts.finditer(text, first, at):
                if found := self._pattern.match(text, place.start()):
                    yield found
                    at = found.end()
                    break

    def _replacement(self, found: re.Match[bytes]) -> bytes:
        if found["scheme"] is None:
            return found["next"] or found["slash"]
        colon = found["colon"]
        authority = self._authority.replace(b":", colon)
        scheme = self._schemes[found["scheme"].lower()]
        behind = (found["behind"] or b"") if self._has_prefix else b""
        return scheme + colon + found["slashes"] + authority + behind


class WayBackStream:
    """:meth:`WayBack.unmap` for a text that arrives in pieces, with the same result.

    At most 8 KiB are held back, and more only for a chain of repeated prefixes.
    """

    def __init__(self, back: WayBack) -> None:
        self._back = back
        self._text = b""  # what was passed on, as far as an expression looks behind; the rest
        self._passed = 0
        self._enough = 2 * _HELD

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """The text that is settled after ``data``."""
        text = self._text = self._text + data
        if not is_last and len(text) - self._passed < self._enough:
            return b""
        out, settled = self._back.settled(text, self._passed, is_last=is_last)
        # A search without a result is not repeated before there is twice as much.
        self._enough = 2 * _HELD if settled > self._passed else 2 * self._enough
        kept = max(0, settled - _BEHIND)
        self._text, self._passed = text[kept:], settled - kept
        return out


@lru_cache(maxsize=64)
def way_back(upstream: Origin, mount: Mount) -> WayBack:
    """The mapping for an upstream and a mount."""
    return WayBack(upstream, mount)
