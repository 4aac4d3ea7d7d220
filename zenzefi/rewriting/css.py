"""URLs in style sheets, rewritten as a stream (CSS Syntax 3, CSS Values 4, CSS Images 4).

``url()`` in every spelling, ``src()`` and the strings of ``@import`` and ``image-set()`` are
rewritten, and so are attribute selectors that name one; comments, other strings and
``@namespace``, whose URL is only a name, are not.

Theory of operation: one pattern (``_RUN``) matches everything without a URL; Python runs at an
opening bracket or ``@`` that may matter. The state between windows is ``_inside`` (an unfinished
comment, string or URL that passes unchanged), ``_depth`` (open brackets since ``image-set(``) and
``_expect`` (a URL string may follow). An unfinished token with a URL stays unsettled, up to
:data:`CARRY_LIMIT` bytes; an unfinished token without one passes at once. Edits do not depend on
where windows are cut, no pattern backtracks, and invalid input never raises.

Text stays bytes, so every ASCII-compatible encoding passes unchanged: in the URLs for the mapper,
non-ASCII bytes are lone surrogates (``surrogateescape``). Characters from CSS escapes are real
characters and are written as escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from zenzefi.rewriting.css_escapes import IN_STRING, IN_TOKEN, splice_css, unescape
from zenzefi.rewriting.css_selectors import mapped_selector
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.scanner import rewrite_whole

_NAME = rb"[-\w\x80-\xff]"
_COMMENT = rb"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/"
_DOUBLE = rb'"[^"\\\n\r\f]*(?:\\(?>\r\n|[\s\S])[^"\\\n\r\f]*)*'
_SINGLE = rb"'[^'\\\n\r\f]*(?:\\(?>\r\n|[\s\S])[^'\\\n\r\f]*)*"
_STRING = rb'(?:%s(?:"|(?=[\n\r\f]))|%s(?:\'|(?=[\n\r\f])))' % (_DOUBLE, _SINGLE)
_ESCAPE = rb"\\(?:[0-9a-fA-F]{1,6}(?:\r\n|[ \t\n\r\f])?|[^\n\r\f0-9a-fA-F])"
# A name with an escaped punctuation mark, other than the hyphen of image-set, has no URLs.
_FOREIGN_NAME = rb"\\[^-0-9A-Za-z\n\r\f](?>%s+|%s)*(?=[^-\w\x80-\xff\\])" % (_NAME, _ESCAPE)

# Text without URLs. Lookaheads require the next byte, so that a token cut by the end of a chunk is
# not taken for another one.
_RUN = re.compile(
    rb"(?>[\x00-!#-&)-.0-?A-Z\]-\xff]+"  # [^"'/\\@([], spelled in the way that re runs faster
    rb"|\((?<![uU][rR][lL]\()(?<![sS][rR][cC]\()(?<!-[sS][eE][tT]\()"
    rb"|/(?=[^*])|%s|%s|@(?=[^iInN\\])|%s\(?)*" % (_COMMENT, _STRING, _FOREIGN_NAME)
)
# The same inside image-set(), where strings and brackets matter.
_RUN_IN_SET = re.compile(
    rb"(?>[^\"'/\\@()]+|/(?=[^*])|%s|@(?=[^iInN\\])|%s)*" % (_COMMENT, _FOREIGN_NAME)
)
_REST = {
    b"*": re.compile(rb"[^*]*\*+(?:[^/*][^*]*\*+)*/"),
    b"(": re.compile(rb"(?>[^)\\]+|\\[\s\S])*\)"),
}
_STRING_REST = {
    quote: re.compile(
        rb"[^%(q)s\\\n\r\f]*(?:\\(?:\r\n|\r(?=[^\n])|[^\r])[^%(q)s\\\n\r\f]*)*" % {b"q": quote}
    )
    for quote in (b'"', b"'")
}
_WHOLE_STRING = re.compile(_STRING)
_OPEN_STRING = re.compile(rb"%s|%s" % (_DOUBLE, _SINGLE))
_IDENT = re.compile(rb"(?>%s|%s)+" % (_NAME, _ESCAPE))
_TAIL = re.compile(rb"@?%s*\Z" % _NAME)
_TAIL_LIMIT = 80
_NOT_A_NAME_BEFORE = rb"(?<![-\w\x80-\xff\\@#])(?<!\\[^\n\r\f])"
_FUNCTION = re.compile(_NOT_A_NAME_BEFORE + rb"(?i:url|src|(-webkit-)?image-set)\Z")
_SPACE = re.compile(rb"[ \t\n\r\f]*")
_WHOLE_COMMENT = re.compile(_COMMENT)
_URL_TOKEN = re.compile(
    rb"((?>[^\"'()\\ \t\n\r\f\x01-\x08\x0b\x0e-\x1f\x7f]+|%s)*)[ \t\n\r\f]*(?:\)|(\Z))" % _ESCAPE
)
_BAD_URL = re.compile(rb"(?>[^)\\]+|\\[\s\S]?)*(\)|\Z)")

_LONGEST_ESCAPED = 1 << 16  # longer URLs with escapes are not genuine, and slow to parse

CARRY_LIMIT = 1 << 18
"""Bytes after which an unfinished token passes unchanged."""


class CssScanner:
    """Maps the URLs of one style sheet.

    ``map_url`` gets a URL without escapes and returns the URL to write, or the same object if
    nothing changes.
    """

    def __init__(self, map_url: Callable[[str], str]) -> None:
        self._map = map_url
        self._inside = b""  # a quote, "*" or "(": what the last window ended in
        self._depth = 0  # brackets open since image-set(
        self._expect = ""  # where a URL may follow: "import", "src", "namespace", "prefix"
        self._mute = False  # the next address is a namespace's name

    # --- the loop --------------------------------------------------------------------------------

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """``(settled, edits)`` (:class:`zenzefi.rewriting.scanner.Scanner`).

        Unclosed tokens at the end of the style sheet count as complete (CSS Syntax 3, section 5).
        """
        data = window
        edits: list[Edit] = []
        pos = self._skip_inside(data, 0, final) if self._inside else 0
        size = len(data)
        hold = size
        while pos < size and not self._inside:
            if self._expect:
                after = self._expected(data, pos, edits, final)
                if after < 0:
                    hold = pos
                    break
            else:
                pos = (_RUN_IN_SET if self._depth else _RUN).match(data, pos).end()  # type: ignore[union-attr]  # both patterns match the empty string
                if pos == size:
                    break
                after = self._special(data, pos, edits, final)
                if after < 0:
                    hold = self._tail(data, pos)  # the name before a bracket belongs to it
                    break
            pos = after
        if final:
            return size, edits
        if self._inside:
            return pos, edits
        return self._tail(data, size) if hold == size else hold, edits

    @staticmethod
    def _tail(data: bytes, end: int) -> int:
        """The start of the name that ``end`` cuts off."""
        found = _TAIL.search(data, max(0, end - _TAIL_LIMIT), end)
        return found.start() if found else end

    def _skip_inside(self, data: bytes, pos: int, final: bool) -> int:
        """Skip the rest of a comment, string or URL that passes unchanged.

        Returns its end (``_inside`` is then empty), or the position up to which it is settled.
        """
        size = len(data)
        if self._inside in _REST:
            found = _REST[self._inside].match(data, pos)
            if found is None:
                return size if final else max(pos, size - 1)
            self._inside = b""
            return found.end()
        end = _STRING_REST[self._inside].match(data, pos).end()  # type: ignore[union-attr]  # matches the empty string
        if end == size or data[end : end + 1] == b"\\":
            return size if final else end
        if data[end : end + 1] == self._inside:
            end += 1
        self._inside = b""
        return end

    def _let_go(self, inside: bytes, data: bytes, pos: int) -> int:
        """Enter a token that needs no rewriting, or is too long to be rewritten."""
        self._inside = inside
        if inside != b"*":
            self._mute = False
        return self._skip_inside(data, pos, False)

    def _special(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Read the token after the run. Returns the position after it, -1 if bytes are missing."""
        c = data[pos : pos + 1]
        if c == b"(":
            found = _FUNCTION.search(data, max(0, pos - 20), pos)
            if found is None:
                self._depth += bool(self._depth)
                return pos + 1
            return self._called(found[0].lower(), data, pos, edits, final)
        if c == b")":
            self._depth -= 1
            return pos + 1
        if c == b"[":
            return self._selector(data, pos, edits, final)
        if c in (b'"', b"'"):
            return self._string(data, pos, edits, final)
        if c == b"/":
            if data.startswith(b"/*", pos):
                return len(data) if final else self._let_go(b"*", data, pos + 2)
            return pos + 1 if final else -1
        return self._name(data, pos, edits, final)

    def _selector(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        found = mapped_selector(data, pos, self._map, final)
        if found is None:
            return -1
        if found[1]:
            edits.append(Edit(pos, found[0], found[1]))
        return found[0]

    def _string(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """A string in image-set(), or one that the chunk cuts."""
        found = _WHOLE_STRING.match(data, pos)
        if self._depth != 1:
            if found is not None:
                return found.end()
            return len(data) if final else self._let_go(data[pos : pos + 1], data, pos + 1)
        return self._address_string(data, pos, edits, final)

    def _name(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """An ``@`` or a name with an escape in it."""
        at = data[pos : pos + 1] == b"@"
        start = pos + 1 if at else pos
        found = _IDENT.match(data, start)
        if found is None:
            if start + 1 >= len(data) and not final:
                return -1
            return start + 1 if not at else start
        end = found.end()
        if _cut(data, end) and not final:
            return -1 if end - start < _TAIL_LIMIT else end  # no name with URLs is that long
        if not at:
            start = self._tail(data, pos)
            at = data[start : start + 1] == b"@"
            start += at
            before = data[start - 1 : start] if start else b""
            if before == b"#":
                return end
        name = unescape(data[start:end]).lower()
        if at:
            if name in ("import", "namespace"):
                self._expect = name
            return end
        if data[end : end + 1] != b"(":
            return end
        if name in ("url", "src", "image-set", "-webkit-image-set"):
            return self._called(name.encode(), data, end, edits, final)
        self._depth += bool(self._depth)
        return end + 1

    def _expected(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Read after ``@import``, ``@namespace`` or ``src(``: white space, comments, a string."""
        pos = _SPACE.match(data, pos).end()  # type: ignore[union-attr]  # matches the empty string
        c = data[pos : pos + 1]
        if not c:
            return pos
        if c == b"/":
            found = _WHOLE_COMMENT.match(data, pos)
            if found is not None:
                return found.end()
            if pos + 1 == len(data) and not final:
                return -1
            if data.startswith(b"/*", pos):
                return len(data) if final else self._let_go(b"*", data, pos + 2)
        expect, self._expect = self._expect, ""
        if expect in ("namespace", "prefix"):
            return self._namespace(data, pos, edits, final, expect)
        if c not in (b'"', b"'"):
            return pos  # the run stops at url()
        after = self._address_string(data, pos, edits, final)
        if after < 0:
            self._expect = expect
        return after

    def _namespace(self, data: bytes, pos: int, edits: list[Edit], final: bool, expect: str) -> int:
        """Skip the prefix of ``@namespace`` and its URL, which is only a name."""
        if data[pos : pos + 1] in (b'"', b"'"):
            found = _WHOLE_STRING.match(data, pos)
            if found is not None:
                return found.end()
            return len(data) if final else self._let_go(data[pos : pos + 1], data, pos + 1)
        found = _IDENT.match(data, pos)
        if found is None:
            if data[pos : pos + 1] == b"\\" and pos + 1 == len(data) and not final:
                self._expect = expect
                return -1
            return pos
        end = found.end()
        if _cut(data, end) and not final:
            if end - pos < _TAIL_LIMIT:
                self._expect = expect
                return -1
            return end
        if data[end : end + 1] != b"(":
            self._expect = "prefix" if expect == "namespace" else ""
            return end if expect == "namespace" else pos
        if unescape(found[0]).lower() not in ("url", "src"):
            return pos
        self._mute = True
        after = self._called(unescape(found[0]).lower().encode(), data, end, edits, final)
        if after < 0:
            self._expect, self._mute = expect, False
        return after

    def _called(self, name: bytes, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Read the opening bracket, at ``pos``, of a function with URLs."""
        if name == b"url":
            return self._function(data, pos, edits, final)
        if name == b"src":
            self._expect = "src"
            self._depth += bool(self._depth)
        else:
            self._depth += 1
        return pos + 1

    def _function(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """``url(``, its bracket at ``pos``."""
        at = _SPACE.match(data, pos + 1).end()  # type: ignore[union-attr]  # matches the empty string
        if at == len(data):
            if final:
                return at
            return self._let_go(b"(", data, at) if at - pos > CARRY_LIMIT else -1
        if data[at : at + 1] in (b'"', b"'"):
            after = self._address_string(data, at, edits, final)
            if after >= 0:
                self._depth += bool(self._depth)
            return after
        token = _URL_TOKEN.match(data, at)
        if token is None:
            end = _BAD_URL.match(data, at)
            if end is not None and (end[1] or final):
                self._mute = False
                return end.end()
        if (token is None or token[2] is not None) and not final:
            if len(data) - at > CARRY_LIMIT or data[at : at + 5].lower() == b"data:":
                return self._let_go(b"(", data, at)
            return -1
        if token is None:
            return len(data)
        raw = token[1]
        self._address(raw, at, IN_TOKEN, edits)
        return token.end()

    def _address_string(self, data: bytes, pos: int, edits: list[Edit], final: bool) -> int:
        """Map the string at ``pos``, which is a URL."""
        found = _WHOLE_STRING.match(data, pos)
        if found is None:
            if not final:
                if len(data) - pos > CARRY_LIMIT or data[pos + 1 : pos + 6].lower() == b"data:":
                    return self._let_go(data[pos : pos + 1], data, pos + 1)
                return -1
            found = _OPEN_STRING.match(data, pos)
            end = found.end() if found else len(data)
            raw = data[pos + 1 : end]
            if raw.endswith(b"\\") and len(raw) - len(raw.rstrip(b"\\")) % 2:
                raw = raw[:-1]
        elif found[0][-1:] != data[pos : pos + 1] or len(found[0]) == 1:
            self._mute = False
            return found.end()  # a bad string, ended by a newline, is not a URL
        else:
            end = found.end()
            raw = data[pos + 1 : end - 1]
        self._address(raw, pos + 1, IN_STRING, edits)
        return end

    def _address(self, raw: bytes, at: int, special: re.Pattern[str], edits: list[Edit]) -> None:
        if self._mute:
            self._mute = False
            return
        if len(raw) > _LONGEST_ESCAPED and b"\\" in raw:
            return
        url = unescape(raw)
        mapped = self._map(url)
        if mapped is not url and mapped != url:
            edits.append(Edit(at, at + len(raw), splice_css(raw, url, mapped, special)))


def rewrite_css(data: bytes, map_url: Callable[[str], str]) -> bytes:
    """A whole style sheet or declaration list (the value of a ``style`` attribute)."""
    return rewrite_whole(CssScanner(map_url), data)


def _cut(data: bytes, end: int) -> bool:
    """Whether a name that ends here may continue in the next chunk."""
    return end == len(data) or (end == len(data) - 1 and data[end] == 0x5C)
