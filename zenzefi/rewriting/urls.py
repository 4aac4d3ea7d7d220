"""The URL mapper: translates URLs between the upstream's view and the browser's view.

Parsing follows the WHATWG URL Standard, https://url.spec.whatwg.org/ (section numbers below), not
RFC 3986, because browsers do: tabs and newlines are removed, backslashes count as slashes and
``http:foo`` is relative. Output differs from the input as little as possible: a URL that is already
right is returned unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from zenzefi.origin import DEFAULT_PORTS, Mount, Origin
from zenzefi.rewriting.hosts import read_origin
from zenzefi.rewriting.url_paths import authority_of, climbs, path_of, resolve_dots

_C0_OR_SPACE = "".join(map(chr, range(0x21)))
_TAB_OR_NEWLINE = str.maketrans("", "", "\t\n\r")

# One search decides whether a URL needs full parsing: white space or control characters,
# backslashes, or a possible dot-dot segment in any spelling.
_ODD = re.compile(r"[\x00-\x20\\]|\.\.|%2[eE]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_SLASHES = re.compile(r"[/\\]+")
# A segment that may be a dot segment, or a backslash: without one, segments stay as they are.
_DOTTED = re.compile(r"(?:\A|/)(?:\.|%2[eE])|\\")

LONGEST_BASE = 8192
"""The longest resolved URL, in characters. The gate accepts no longer request line, so no reference
under a longer base could be fetched, and mapping each of them would cost the length of the base."""


class _Base(NamedTuple):
    """The parts of a document's URL that its references depend on."""

    url: str
    own: bool
    scheme: str
    """In the upstream's view; empty if references can't be relative (``data:``)."""
    seen: str
    """The document's scheme in the browser's view."""
    authority: str
    folder: tuple[str, ...]
    """The path's segments without the last one, dot segments resolved, the mount removed."""
    path: str
    query: str


class UrlMapper:
    """Maps URLs between the upstream's view and the browser's view, for one mount.

    ``aliases`` are further origins that the upstream uses for itself. ``http`` and ``ws``, and
    ``https`` and ``wss``, count as one origin: the upstream's WebSockets pass through the gate too.
    """

    __slots__ = (
        "_base",
        "_direct",
        "_foreign",
        "_inside",
        "_own",
        "_prefix",
        "_public",
        "_repeated",
        "mount",
        "upstream",
    )

    def __init__(self, upstream: Origin, mount: Mount, aliases: Sequence[Origin] = ()) -> None:
        self.upstream = upstream
        self.mount = mount
        self._own = frozenset((upstream, *aliases))
        self._public = mount.public
        self._prefix = mount.prefix
        self._inside = re.compile(
            re.escape(mount.prefix) + r"(?:(?=[?#])|[/\\]|\Z)" if mount.prefix else r"(?!)"
        )
        # The prefix, repeated any number of times: matched at once, because removing one at a time
        # would copy the rest of the path each time.
        again, over = re.escape(mount.prefix[1:]), r"(?=[/\\?#]|\Z)"
        self._repeated = re.compile(
            rf"(?>/{again}{over}(?:[/\\]{again}{over})*)" if mount.prefix else r"(?!)"
        )
        # The usual spelling of an absolute URL of the upstream: mapped without parsing.
        self._direct = f"{upstream}/"
        # The usual spelling of a foreign URL: absolute with a plain host. Not parsed either.
        hosts = "|".join(re.escape(origin.host) for origin in self._own)
        self._foreign = re.compile(
            rf"(?:https?:)?//(?!(?:{hosts})(?:[:/?#]|\Z))"
            r"(?:[a-z0-9_\-]+\.)*[a-z_][a-z0-9_\-]*(?::[0-9]*)?(?:[/?#]|\Z)"
        )
        self._base: _Base | None = None

    @property
    def origins(self) -> frozenset[Origin]:
        """The upstream's origin and its aliases."""
        return self._own

    def is_own(self, url: str) -> bool:
        """Whether an absolute URL, in the upstream's view, belongs to the upstream."""
        url = self.unmap(url)
        found = _SCHEME.match(url)
        if found is None or found[1].lower() not in ("http", "https"):
            return False
        text = url[found.end() :].translate(_TAB_OR_NEWLINE)
        authority = authority_of(text[self._end_of_slashes(text) :])
        return read_origin(found[1].lower(), authority.rpartition("@")[2]) in self._own

    # --- upstream's view -> browser's view -------------------------------------------------------

    def map(self, url: str, document_url: str) -> str:
        """The URL that replaces ``url`` in the browser's view.

        ``document_url`` is the absolute URL of the document, or of its base, in the upstream's
        view. Returns the same object if nothing changes. Never raises: a URL that can't be parsed
        is returned unchanged. Mapping is idempotent: a mapped URL stays the same, and a repeated
        prefix is reduced to one. A URL without a path gets the mount's slash, so that it can serve
        as a base.
        """
        base = self._base_of(document_url)
        if _ODD.search(url) is None:
            first = url[:1]
            if first == "/":
                if url[1:2] != "/":
                    if not base.own or not self._prefix:
                        return url
                    if not url.startswith(self._prefix):
                        return self._prefix + url
                    return self._rooted(url, url, base)
                if self._foreign.match(url) is not None:
                    return url
            elif first == "#" or first == "?" or not first:
                return url
            elif url.startswith(self._direct):
                return self.mount.root[:-1] + self._undouble(url[len(self._direct) - 1 :])
            elif self._foreign.match(url) is not None:
                return url
            else:
                scheme = _SCHEME.match(url)
                if scheme is None or scheme[1].lower() not in DEFAULT_PORTS:
                    return url
        return self._careful(url, base)

    def levels(self, document_url: str) -> int | None:
        """How often ``../`` may begin a URL that :meth:`map` leaves; ``None``: any number."""
        base = self._base_of(document_url)
        return len(base.folder) if self._prefix and base.own else None

    def _careful(self, url: str, base: _Base) -> str:
        """Map any spelling (section 4.4, the states up to the authority)."""
        text = url.strip(_C0_OR_SPACE).translate(_TAB_OR_NEWLINE)
        found, named = _SCHEME.match(text), ""
        if found is not None:
            named = found[1].lower()
            if named not in DEFAULT_PORTS:
                return url
            text = text[found.end() :]
            if named != base.scheme or text.startswith("//"):
                mapped = self._absolute(url, found[1], text)
                if mapped is url and named == base.seen and not text.startswith("//"):
                    # "https:host/" is absolute in a document seen over http, relative over https.
                    return f"{found[1]}://{text[self._end_of_slashes(text) :]}"
                return mapped
        if not base.scheme:
            return url
        slashes = self._end_of_slashes(text)
        if slashes >= 2:
            return self._scheme_relative(url, text[slashes:], base, named)
        if found is not None and not base.own:
            return url
        # From here on the URL is relative. A scheme without an authority ("http:foo") has to go if
        # the document has another scheme in the browser's view.
        lost = found is not None and base.seen != named
        if slashes == 1:
            mapped = self._rooted(text, url, base)
            return "/" + text[1:] if lost and mapped is url else mapped
        mapped = self._relative(text, url, base)
        if lost and mapped is url:
            if not text:  # "http:" is the document; an empty URL would often mean nothing
                return f"{self.mount.root[:-1]}{base.path}{base.query}"
            return f"./{text}" if _SCHEME.match(text) or text[:1] <= " " else text
        return mapped

    @staticmethod
    def _end_of_slashes(text: str) -> int:
        found = _SLASHES.match(text)
        return found.end() if found else 0

    def _absolute(self, url: str, scheme: str, text: str) -> str:
        """``text`` is what follows ``scheme:``; any number of slashes is one authority."""
        start = self._end_of_slashes(text)
        host = self._authority(scheme.lower(), text[start:])
        if host is None:
            return url
        userinfo, tail = host
        public = self._public.scheme
        out = public if scheme.lower() in ("http", "https") else _socket(public)
        if scheme.isupper():
            out = out.upper()
        path = self._tail(tail)
        mapped = f"{out}://{userinfo}{self._public.authority}{self._prefix}{path}"
        return url if mapped == url else mapped

    def _scheme_relative(self, url: str, rest: str, base: _Base, named: str) -> str:
        host = self._authority(base.scheme, rest)
        if host is None:
            return url
        userinfo, tail = host
        public = self._public
        start = "" if base.seen == public.scheme and not named else f"{public.scheme}:"
        path = self._tail(tail)
        mapped = f"{start}//{userinfo}{public.authority}{self._prefix}{path}"
        return url if mapped == url else mapped

    def _authority(self, scheme: str, rest: str) -> tuple[str, str] | None:
        """``(userinfo with @, path and the rest)`` if it is the upstream's authority, else None."""
        authority = authority_of(rest)
        userinfo, at, hostport = authority.rpartition("@")
        origin = read_origin(scheme, hostport)
        if origin is None or origin not in self._own:
            return None
        return userinfo + at, rest[len(authority) :]

    def _tail(self, tail: str) -> str:
        """Path, query and fragment of an absolute URL, made safe to follow the prefix."""
        if tail[:1] == "\\":
            tail = "/" + tail[1:]
        if tail[:1] != "/":
            return "/" + tail if self._prefix else tail
        if not self._prefix:
            return tail
        return self._undouble(self._contained(tail))

    def _contained(self, tail: str) -> str:
        """``tail``, with its dot segments resolved if they would lead out of the prefix."""
        if _ODD.search(tail) is None:
            return tail
        path = path_of(tail)
        if not climbs(path[1:], 0):
            return tail
        return "/" + "/".join(resolve_dots(path[1:], ())) + tail[len(path) :]

    def _undouble(self, tail: str) -> str:
        """``tail`` without the prefix, if the upstream has already added it.

        Takes linear time: dot segments are resolved at most once, because afterwards none are left.
        The number of prefixes still in front at that moment makes no difference: segments that
        lead above the root remove everything before them.
        """
        while (found := self._repeated.match(tail)) is not None:
            rest = tail[found.end() :]
            if rest[:1] in ("", "?", "#"):
                return "/" + rest
            tail = self._contained("/" + rest[1:])
        return tail

    def _rooted(self, text: str, url: str, base: _Base) -> str:
        """Map a reference that starts with one slash."""
        if not base.own or not self._prefix:
            return url
        tail = self._contained(text)
        if tail is text and (found := self._inside.match(text)) is not None:
            rest = text[len(self._prefix) :]
            if _ODD.search(rest) is None or not climbs(path_of(rest)[1:], 0):
                if found.end() == len(self._prefix) or self._inside.match("/" + rest[1:]) is None:
                    return url
            else:
                path = path_of(text)
                tail = "/" + "/".join(resolve_dots(path[1:], ())) + text[len(path) :]
        if tail[:1] == "\\":
            tail = "/" + tail[1:]
        return self._prefix + self._undouble(tail)

    def _relative(self, text: str, url: str, base: _Base) -> str:
        """Map a reference without a leading slash: only one that leads above the root changes."""
        if not self._prefix or not base.own or _ODD.search(text) is None:
            return url
        path = path_of(text)
        if not climbs(path, len(base.folder)):
            return url
        return self._prefix + self._undouble(
            "/" + "/".join(resolve_dots(path, base.folder)) + text[len(path) :]
        )

    # --- bases -----------------------------------------------------------------------------------

    def _base_of(self, document_url: str) -> _Base:
        base = self._base
        if base is None or base.url != document_url:
            base = self._base = self._read_base(document_url)
        return base

    def _read_base(self, document_url: str) -> _Base:
        url = self.unmap(document_url)
        found = _SCHEME.match(url)
        scheme = found[1].lower() if found else ""
        if found is None or scheme not in ("http", "https"):
            return _Base(document_url, False, "", scheme, "", (), "", "")
        rest = url[found.end() :].translate(_TAB_OR_NEWLINE)
        rest = rest[self._end_of_slashes(rest) :]
        authority = authority_of(rest)
        own = read_origin(scheme, authority.rpartition("@")[2]) in self._own
        tail = rest[len(authority) :].partition("#")[0]
        if own and self._prefix:
            tail = self._tail(tail)
        path = path_of(tail)
        segments = resolve_dots(path[1:], ())
        return _Base(
            document_url,
            own,
            scheme,
            self._public.scheme if own else scheme,
            authority,
            tuple(segments[:-1]),
            "/" + "/".join(segments),
            tail[len(path) :],
        )

    def resolve(self, url: str, document_url: str) -> str | None:
        """``url`` made absolute in the upstream's view, or ``None`` if it can't be parsed.

        Also ``None`` if it is longer than :data:`LONGEST_BASE`: otherwise nested bases would grow
        without limit. The host is not normalised and the path is not percent-encoded: the result
        is meant as a ``document_url`` (``<base href>``), not for comparison.
        """
        if len(url) > LONGEST_BASE:
            return None
        resolved = self._resolved(url, self._base_of(document_url))
        return resolved if resolved is None or len(resolved) <= LONGEST_BASE else None

    def _resolved(self, url: str, base: _Base) -> str | None:
        text = url.strip(_C0_OR_SPACE).translate(_TAB_OR_NEWLINE)
        found = _SCHEME.match(text)
        scheme = base.scheme
        if found is not None:
            scheme = found[1].lower()
            if scheme not in DEFAULT_PORTS:
                return text
            text = text[found.end() :]
        if not scheme:
            return None
        slashes = self._end_of_slashes(text)
        if (found is not None and (scheme != base.scheme or text.startswith("//"))) or slashes >= 2:
            rest = text[slashes:]
            authority = authority_of(rest)
            if read_origin(scheme, authority.rpartition("@")[2]) is None:
                return None
            tail = rest[len(authority) :]
            path = path_of(tail)
            absolute = "/" + "/".join(resolve_dots(path[1:], ()))
            return self.unmap(f"{scheme}://{authority}{absolute}{tail[len(path) :]}")
        root = f"{scheme}://{base.authority}"
        path = path_of(text)
        if slashes == 1:
            resolved = "/" + "/".join(resolve_dots(path[1:], ())) + text[len(path) :]
            return root + (self._undouble(resolved) if base.own else resolved)
        if path:
            if _DOTTED.search(path) is None:
                return root + base.path[: base.path.rfind("/") + 1] + text
            return root + "/" + "/".join(resolve_dots(path, base.folder)) + text[len(path) :]
        return root + base.path + (text if text[:1] == "?" else base.query + text)

    # --- browser's view -> upstream's view -------------------------------------------------------

    def unmap(self, url: str) -> str:
        """``url``, a URL in the browser's view, in the upstream's view; foreign URLs unchanged.

        Accepts absolute URLs (``Referer``, ``Destination``), bare origins (``Origin``) and, for
        ``Destination``, absolute paths. The gate's bare origin is mapped to the upstream's, because
        an ``Origin`` (and a ``Referer`` reduced to it) has no path.
        """
        if url[:1] == "/" and url[1:2] != "/":
            return self._undouble(url) if self._prefix else url
        found = _SCHEME.match(url)
        if found is None:
            return url
        scheme = found[1].lower()
        if scheme not in DEFAULT_PORTS or not url.startswith("//", found.end()):
            return url
        rest = url[found.end() + 2 :]
        authority = authority_of(rest)
        userinfo, at, hostport = authority.rpartition("@")
        if read_origin(scheme, hostport) != self._public:
            return url
        tail = rest[len(authority) :]
        if self._prefix and tail not in ("", "/"):
            if self._inside.match(tail) is None:
                return url
            tail = self._undouble(tail)
            tail = tail or "/"
        out = self.upstream.scheme
        if scheme in ("ws", "wss"):
            out = _socket(out)
        return f"{out}://{userinfo}{at}{self.upstream.authority}{tail}"


def _socket(scheme: str) -> str:
    return "ws" if scheme == "http" else "wss"
