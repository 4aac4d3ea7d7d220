"""The one URL mapper: an address as the upstream writes it becomes the browser's, and back.

Reading follows the WHATWG URL Standard, https://url.spec.whatwg.org/ (section numbers below), not
RFC 3986, because browsers do: tabs and newlines vanish, backslashes are slashes, ``http:foo`` is
relative. Writing changes as little as possible: what is right already is returned as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from zenzefi.origin import DEFAULT_PORTS, Mount, Origin
from zenzefi.rewriting.hosts import read_origin

_C0_OR_SPACE = "".join(map(chr, range(0x21)))
_TAB_OR_NEWLINE = str.maketrans("", "", "\t\n\r")

# One search decides whether an address needs the careful way: white space or control characters,
# backslashes, or what may be a dot-dot segment in any spelling.
_ODD = re.compile(r"[\x00-\x20\\]|\.\.|%2[eE]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_SLASHES = re.compile(r"[/\\]+")
_AUTHORITY = re.compile(r"[^/\\?#]*")
_PATH = re.compile(r"[^?#]*")
_DOUBLE_DOT = re.compile(r"(?:\.|%2[eE]){2}")
_SINGLE_DOT = re.compile(r"\.|%2[eE]")
# A segment that may be a dot segment, or a backslash: without one, segments stay as they are.
_DOTTED = re.compile(r"(?:\A|/)(?:\.|%2[eE])|\\")

LONGEST_BASE = 8192
"""Characters of a resolved address: the gate reads no longer request line, so a longer base serves
no reference, and each reference under it would cost its length."""


class _Base(NamedTuple):
    """What a document's address says about the references in it."""

    url: str
    own: bool
    scheme: str
    """As the upstream spells it; empty where references can't be relative (``data:``, opaque)."""
    seen: str
    """The scheme under which the browser sees the document."""
    authority: str
    folder: tuple[str, ...]
    """The path's segments without the last, dot segments resolved, mount taken off."""
    path: str
    query: str


class UrlMapper:
    """Maps addresses between the upstream's view and the browser's, for one mount.

    ``aliases`` are further origins under which the upstream names itself. ``http`` and ``ws``,
    ``https`` and ``wss`` are one origin here: a WebSocket of the upstream passes the gate too.
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
        "_same_scheme",
        "mount",
        "upstream",
    )

    def __init__(self, upstream: Origin, mount: Mount, aliases: Sequence[Origin] = ()) -> None:
        self.upstream = upstream
        self.mount = mount
        self._own = frozenset((upstream, *aliases))
        self._public = mount.public
        self._prefix = mount.prefix
        self._same_scheme = upstream.scheme == mount.public.scheme
        self._inside = re.compile(
            re.escape(mount.prefix) + r"(?:(?=[?#])|[/\\]|\Z)" if mount.prefix else r"(?!)"
        )
        # The prefix, put on any number of times: read at once, for each time would copy the rest.
        again, over = re.escape(mount.prefix[1:]), r"(?=[/\\?#]|\Z)"
        self._repeated = re.compile(
            rf"(?>/{again}{over}(?:[/\\]{again}{over})*)" if mount.prefix else r"(?!)"
        )
        # The usual spelling of an absolute address of the upstream's, mapped without parsing.
        self._direct = f"{upstream}/"
        # The usual spelling of somebody else's: an absolute address with a plain host.
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
        """Whether an absolute address in the upstream's view is the upstream's."""
        url = self.unmap(url)
        found = _SCHEME.match(url)
        if found is None or found[1].lower() not in ("http", "https"):
            return False
        text = url[found.end() :].translate(_TAB_OR_NEWLINE)
        matched = _AUTHORITY.match(text, self._end_of_slashes(text))
        authority = matched[0] if matched else ""
        return read_origin(found[1].lower(), authority.rpartition("@")[2]) in self._own

    # --- upstream's view -> browser's view -------------------------------------------------------

    def map(self, url: str, document_url: str) -> str:
        """The address that a browser must see where the upstream wrote ``url``.

        ``document_url`` is the upstream's absolute address of the document (or its base). Returns
        the very input when nothing changes. Never raises: what can't be parsed is left alone.
        Mapping an address that is mapped already changes nothing, and a doubled prefix collapses.
        An address without a path gets the mount's slash, so that it can serve as a base.
        """
        base = self._base
        if base is None or base.url != document_url:
            base = self._base = self._read_base(document_url)
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

    def map_absolute(self, url: str) -> str:
        """Map ``url`` only if it is absolute (``https://host...``) and the upstream's.

        For strings in data and scripts, where a relative address means nothing by itself and where
        ``https://host`` is often a beginning to which a path is added: a missing path stays so.
        """
        scheme = _SCHEME.match(url)
        if scheme is None or scheme[1].lower() not in DEFAULT_PORTS:
            return url
        rest = url[scheme.end() :]
        if rest[:1] not in ("/", "\\") or rest[1:2] not in ("/", "\\"):
            return url
        text = rest.translate(_TAB_OR_NEWLINE)
        return self._absolute(url, scheme[1], text, slash=False)

    def _careful(self, url: str, base: _Base) -> str:
        """Section 4.4, the states up to the authority, for every spelling."""
        text = url.strip(_C0_OR_SPACE).translate(_TAB_OR_NEWLINE)
        found = _SCHEME.match(text)
        named = ""
        if found is not None:
            named = found[1].lower()
            if named not in DEFAULT_PORTS:
                return url
            text = text[found.end() :]
            if named != base.scheme or text.startswith("//"):
                mapped = self._absolute(url, found[1], text, slash=True)
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
        # From here on the address is relative. A scheme that only looked absolute ("http:foo") must
        # go where the browser sees the document over another one.
        lost = found is not None and base.seen != named
        if slashes == 1:
            mapped = self._rooted(text, url, base)
            return "/" + text[1:] if lost and mapped is url else mapped
        mapped = self._relative(text, url, base)
        if lost and mapped is url:
            if not text:  # "http:" is the document, an empty address often nothing at all
                return f"{self.mount.root[:-1]}{base.path}{base.query}"
            return f"./{text}" if _SCHEME.match(text) or text[:1] <= " " else text
        return mapped

    @staticmethod
    def _end_of_slashes(text: str) -> int:
        found = _SLASHES.match(text)
        return found.end() if found else 0

    def _absolute(self, url: str, scheme: str, text: str, *, slash: bool) -> str:
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
        path = self._tail(tail, slash=slash)
        mapped = f"{out}://{userinfo}{self._public.authority}{self._prefix}{path}"
        return url if mapped == url else mapped

    def _scheme_relative(self, url: str, rest: str, base: _Base, named: str) -> str:
        host = self._authority(base.scheme, rest)
        if host is None:
            return url
        userinfo, tail = host
        public = self._public
        start = "" if base.seen == public.scheme and not named else f"{public.scheme}:"
        path = self._tail(tail, slash=True)
        mapped = f"{start}//{userinfo}{public.authority}{self._prefix}{path}"
        return url if mapped == url else mapped

    def _authority(self, scheme: str, rest: str) -> tuple[str, str] | None:
        """``(userinfo with @, path and the rest)`` if it is the upstream's authority, else None."""
        found = _AUTHORITY.match(rest)
        authority = found[0] if found else ""
        userinfo, at, hostport = authority.rpartition("@")
        origin = read_origin(scheme, hostport)
        if origin is None or origin not in self._own:
            return None
        return userinfo + at, rest[len(authority) :]

    def _tail(self, tail: str, *, slash: bool) -> str:
        """Path, query and fragment of an absolute address, made safe to stand behind the prefix."""
        if tail[:1] == "\\":
            tail = "/" + tail[1:]
        if tail[:1] != "/":
            return "/" + tail if slash and self._prefix else tail
        if not self._prefix:
            return tail
        return self._undouble(self._contained(tail))

    def _contained(self, tail: str) -> str:
        """``tail`` with its dot segments resolved if they would climb out of the prefix."""
        if _ODD.search(tail) is None:
            return tail
        found = _PATH.match(tail)
        path = found[0] if found else ""
        if not _climbs(path[1:], 0):
            return tail
        return "/" + "/".join(_resolve(path[1:], ())) + tail[len(path) :]

    def _undouble(self, tail: str) -> str:
        """``tail`` without the prefix, should the upstream have put it there itself.

        Linear: dot segments are resolved once at most, for then none is left. That they might have
        climbed out earlier, with some of the prefixes still in front, makes no difference: whatever
        climbs above the root leaves nothing of what was before it.
        """
        while (found := self._repeated.match(tail)) is not None:
            rest = tail[found.end() :]
            if rest[:1] in ("", "?", "#"):
                return "/" + rest
            tail = self._contained("/" + rest[1:])
        return tail

    def _rooted(self, text: str, url: str, base: _Base) -> str:
        """A reference that starts with one slash."""
        if not base.own or not self._prefix:
            return url
        tail = self._contained(text)
        if tail is text and (found := self._inside.match(text)) is not None:
            rest = text[len(self._prefix) :]
            if _ODD.search(rest) is None or not _climbs(_path_of(rest)[1:], 0):
                if found.end() == len(self._prefix) or self._inside.match("/" + rest[1:]) is None:
                    return url
            else:
                path = _path_of(text)
                tail = "/" + "/".join(_resolve(path[1:], ())) + text[len(path) :]
        if tail[:1] == "\\":
            tail = "/" + tail[1:]
        return self._prefix + self._undouble(tail)

    def _relative(self, text: str, url: str, base: _Base) -> str:
        """A reference without a slash at its start: only one that climbs too high changes."""
        if not self._prefix or not base.own or _ODD.search(text) is None:
            return url
        path = _path_of(text)
        if not _climbs(path, len(base.folder)):
            return url
        return self._prefix + self._undouble(
            "/" + "/".join(_resolve(path, base.folder)) + text[len(path) :]
        )

    # --- bases -----------------------------------------------------------------------------------

    def _read_base(self, document_url: str) -> _Base:
        url = self.unmap(document_url)
        found = _SCHEME.match(url)
        scheme = found[1].lower() if found else ""
        if found is None or scheme not in ("http", "https"):
            return _Base(document_url, False, "", scheme, "", (), "", "")
        rest = url[found.end() :].translate(_TAB_OR_NEWLINE)
        rest = rest[self._end_of_slashes(rest) :]
        matched = _AUTHORITY.match(rest)
        authority = matched[0] if matched else ""
        own = read_origin(scheme, authority.rpartition("@")[2]) in self._own
        tail = rest[len(authority) :].partition("#")[0]
        if own and self._prefix:
            tail = self._tail(tail, slash=True)
        path = _path_of(tail)
        segments = _resolve(path[1:], ())
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
        """``url`` made absolute in the upstream's view, or None if it can't be parsed.

        None as well for one longer than :data:`LONGEST_BASE`: nested bases would else grow without
        end.
        The host is not serialised anew and the path not percent-encoded: the result is meant as a
        ``document_url`` (``<base href>``), not for comparing.
        """
        if len(url) > LONGEST_BASE:
            return None
        base = self._base
        if base is None or base.url != document_url:
            base = self._base = self._read_base(document_url)
        resolved = self._resolved(url, base)
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
            matched = _AUTHORITY.match(rest)
            authority = matched[0] if matched else ""
            if read_origin(scheme, authority.rpartition("@")[2]) is None:
                return None
            tail = rest[len(authority) :]
            path = _path_of(tail)
            absolute = "/" + "/".join(_resolve(path[1:], ()))
            return self.unmap(f"{scheme}://{authority}{absolute}{tail[len(path) :]}")
        root = f"{scheme}://{base.authority}"
        path = _path_of(text)
        if slashes == 1:
            resolved = "/" + "/".join(_resolve(path[1:], ())) + text[len(path) :]
            return root + (self._undouble(resolved) if base.own else resolved)
        if path:
            if _DOTTED.search(path) is None:
                return root + base.path[: base.path.rfind("/") + 1] + text
            return root + "/" + "/".join(_resolve(path, base.folder)) + text[len(path) :]
        return root + base.path + (text if text[:1] == "?" else base.query + text)

    # --- browser's view -> upstream's view -------------------------------------------------------

    def unmap(self, url: str) -> str:
        """The upstream's address of what the browser calls ``url``; else ``url`` itself.

        Takes absolute URLs (``Referer``, ``Destination``), bare origins (``Origin``) and, for
        ``Destination``, absolute paths. The gate's bare origin stands for the upstream's, because
        an ``Origin`` (and a ``Referer`` cut down to it) carries no path.
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
        matched = _AUTHORITY.match(rest)
        authority = matched[0] if matched else ""
        userinfo, at, hostport = authority.rpartition("@")
        if read_origin(scheme, hostport) != self._public:
            return url
        tail = rest[len(authority) :]
        if self._prefix and tail not in ("", "/"):
            if self._inside.match(tail) is None:
                return url
            tail = self._undouble(tail)
            if not tail:
                tail = "/"
        out = self.upstream.scheme
        if scheme in ("ws", "wss"):
            out = _socket(out)
        return f"{out}://{userinfo}{at}{self.upstream.authority}{tail}"


# --- paths (section 4.4) ------------------------------------------------------------------------


def _socket(scheme: str) -> str:
    return "ws" if scheme == "http" else "wss"


def _path_of(text: str) -> str:
    found = _PATH.match(text)
    return found[0] if found else ""


def _climbs(path: str, depth: int) -> bool:
    """Whether the dot segments of ``path`` lead above its root, ``depth`` folders up."""
    for segment in path.replace("\\", "/").split("/"):
        if _DOUBLE_DOT.fullmatch(segment):
            depth -= 1
            if depth < 0:
                return True
        elif not _SINGLE_DOT.fullmatch(segment):
            depth += 1
    return False


def _resolve(path: str, folder: Sequence[str]) -> list[str]:
    """Segments of ``path`` below ``folder`` without dot segments (section 4.4, path state)."""
    out = list(folder)
    segments = path.replace("\\", "/").split("/")
    last = len(segments) - 1
    for i, segment in enumerate(segments):
        if _DOUBLE_DOT.fullmatch(segment):
            if out:
                out.pop()
            if i == last:
                out.append("")
        elif _SINGLE_DOT.fullmatch(segment):
            if i == last:
                out.append("")
        else:
            out.append(segment)
    return out
