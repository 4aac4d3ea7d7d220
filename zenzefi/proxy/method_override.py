"""Methods that an application may use instead of the request's: ``_method``.

Some frameworks (Rails, Laravel, Symfony, Express with method-override) let a POST stand for another
method that a parameter names, since HTML forms know GET and POST only. A scope that restricts
methods must cover that one, too. The parameter is looked for where those frameworks look: in the
query, and in contents of the types that they read as parameters (forms and JSON).

Contents are scanned piece by piece on their way, with bounded memory and in linear time. Content
that could hide the parameter is refused: an unusual charset or boundary, a content coding, a
parameter of unbounded length. The comparison prefers false positives: names are compared without
regard to case, and as PHP reads them (``.method``, ``+_method``, ``_method[]``).

Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import unquote_to_bytes

from zenzefi.tokens.errors import ScopeRefused

_MAX_VALUE = 128  # bytes of a value; no method is as long
_MAX_PENDING = 2048  # bytes of a form's field that are kept until it is complete
_MAX_PART_HEAD = 8 * 1024  # bytes; a part of a multipart content
_MAX_METHODS = 16  # different ones in one content


def _ambiguous(what: str) -> ScopeRefused:
    return ScopeRefused(f"{what}, and this access token covers only some methods here.")


# --- names and values


def _is_method(name: bytes) -> bool:
    """Whether frameworks read this decoded name as ``_method``.

    PHP drops leading blanks, cuts at brackets and NUL, and turns blanks and dots into underscores.
    """
    name = re.split(rb"[\[\]\0]", name.lstrip(b" \t\r\n\v\f\0"), maxsplit=1)[0]
    return name.rstrip().replace(b".", b"_").replace(b" ", b"_").lower() == b"_method"


def _method(value: bytes) -> str:
    """The method that a decoded value names; empty when it names none."""
    return value.strip(b" \t\r\n\v\f\0").decode("latin-1").upper()


def _spelt(text: str) -> bytes:
    """An expression for all spellings of a name in a form: either case, percent-encoded or not."""
    found = b""
    for letter in text:
        spellings = {letter, letter.upper()} | ({"."} if letter == "_" else set())
        each = [re.escape(one).encode() + b"|%%%02x" % ord(one) for one in sorted(spellings)]
        found += b"(?:" + b"|".join(each) + b")"
    return found


_BLANK = rb"(?:[+ \t\r\n\v\f\0]|%20|%0[09a-d])"
_FIELD = re.compile(
    rb"(?i)[&;]" + _BLANK + rb"*" + _spelt("_method") + rb"(?:(?:[\[\]]|%5b|%5d|%00|" + _BLANK
    # RFC 1866, 8.2.1, and HTML's application/x-www-form-urlencoded parser
    + rb")[^&;=]*)?(?:=([^&;]*))?(?=[&;])"
)  # fmt: skip
_LEADING = re.compile(rb"(?i)([&;])" + _BLANK + rb"+")


def _form_value(raw: bytes | None) -> str:
    return _method(unquote_to_bytes((raw or b"").replace(b"+", b" ")))


def query_methods(query: str | None) -> list[str]:
    """Methods named by a raw query, in capitals: all of them, in any spelling."""
    if not query or ("m" not in query.lower() and "%" not in query):
        return []
    raw = b"&" + query.encode("utf-8", "surrogateescape") + b"&"
    found = (_form_value(match[1]) for match in _FIELD.finditer(raw))
    return [method for method in found if method]


# --- contents


class MethodScanner(Protocol):
    """Finds the methods that a content names. Raises ``ScopeRefused`` for what could hide one."""

    def feed(self, data: bytes) -> list[str]:
        """Those that are complete with this piece."""

    def finish(self) -> list[str]:
        """Those that are complete with the end."""


class FormScanner:
    """``application/x-www-form-urlencoded``."""

    def __init__(self) -> None:
        self._pending = b"&"  # from the last separator on; empty: within a field of no interest

    def feed(self, data: bytes) -> list[str]:
        """See :class:`MethodScanner`."""
        data = self._pending + data
        last = max(data.rfind(b"&"), data.rfind(b";"))
        if last < 0:
            self._pending = b""
            return []
        found = [_form_value(match[1]) for match in _FIELD.finditer(data, 0, last + 1)]
        self._pending = self._kept(data[last:])
        return [method for method in found if method]

    @staticmethod
    def _kept(field: bytes) -> bytes:
        """The beginning of a field as far as it is needed to judge the rest."""
        field = _LEADING.sub(rb"\1", field)
        if len(field) <= _MAX_PENDING:
            return field
        if _FIELD.match(field + b"&"):
            raise _ambiguous("A parameter _method is too long")
        return b""

    def finish(self) -> list[str]:
        """See :class:`MethodScanner`."""
        return self.feed(b"&")


class MultipartScanner:
    """``multipart/form-data`` (RFC 7578): the names in the heads of its parts."""

    _NAME = re.compile(
        rb"(?i)(?<![a-z0-9_-])name(\*[0-9*]*)?[ \t]*=[ \t]*"
        rb"(\"[^\"\\\r\n]*(?:\\[^\r\n][^\"\\\r\n]*)*\"?|'[^'\r\n]*'?|[^;\s]*)"
    )
    _END_OF_HEAD = re.compile(rb"\r?\n\r?\n|\r\r")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._data = b""
        self._in_head = False
        self._in_value = False

    def feed(self, data: bytes) -> list[str]:
        """See :class:`MethodScanner`."""
        self._data += data
        found: list[str] = []
        while self._step(found):
            pass
        return found

    def _step(self, found: list[str]) -> bool:
        """Whether there may be more to find in what is here."""
        at = self._data.find(self._delimiter)
        if self._in_head:
            end = self._END_OF_HEAD.search(self._data)
            if end is None or 0 <= at < end.start():
                end = None
            cut = end.start() if end is not None else at if at >= 0 else len(self._data)
            if cut > _MAX_PART_HEAD:
                raise _ambiguous("The head of a part is too long (RFC 7578)")
            if end is None and at < 0:
                return False
            self._in_head = False
            self._in_value = self._names_method(self._data[:cut])
            self._data = self._data[end.end() if end is not None else at :]
            return True
        if self._in_value:
            value = self._data if at < 0 else self._data[:at]
            if len(value) > _MAX_VALUE:
                raise _ambiguous("A parameter _method is too long")
            if at < 0:
                return False
            if method := _method(value):
                found.append(method)
            self._in_value = False
        if at < 0:
            self._data = self._data[-(len(self._delimiter) - 1) :]
            return False
        self._data = self._data[at + len(self._delimiter) :]
        self._in_head = True
        return True

    def _names_method(self, head: bytes) -> bool:
        for extended, raw in self._NAME.findall(re.sub(rb"\r?\n[ \t]+", b" ", head)):
            if extended:
                # RFC 7578, 4.2, forbids it, and servers differ in how they read it.
                raise _ambiguous("The name of a part is in an extended notation (RFC 7578, 4.2)")
            name = re.sub(rb"\\(.)", rb"\1", raw.strip(b"\"'"), flags=re.DOTALL)
            if _is_method(name) or _is_method(unquote_to_bytes(name)):
                return True
        return False

    def finish(self) -> list[str]:
        """See :class:`MethodScanner`: some servers take a part without a delimiter behind it."""
        if not self._in_value and not self._in_head:
            return []
        found = self.feed(b"\r\n\r\n" if self._in_head else b"")
        return found + self.feed(self._delimiter)


class JsonScanner:
    """JSON: members named ``_method``, on any level."""

    _LETTERS = b"".join(
        rb"(?:%b|%b|\\u00%02x|\\u00%02x)"
        % (letter.encode(), letter.upper().encode(), ord(letter), ord(letter.upper()))
        for letter in "_method"
    )
    _BLANKS = re.compile(rb"[ \t\r\n]+")
    _KEY = re.compile(rb'(?i)"' + _LETTERS + rb'" ?: ?')
    _VALUE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
    _SCALAR = re.compile(rb"(?:null|true|false|-?[0-9.eE+-]+)(?=[ ,}\]])")
    _KEPT = 64  # bytes; more than any spelling of the key

    def __init__(self) -> None:
        self._data = b""
        self._is_first = True

    def feed(self, data: bytes) -> list[str]:
        """See :class:`MethodScanner`."""
        if self._is_first and data:
            self._is_first = False
            if b"\0" in data[:4] or data[:2] in (b"\xfe\xff", b"\xff\xfe"):
                raise _ambiguous("The content is not UTF-8 (RFC 8259, 8.1)")
        # Blanks between tokens have no bound; those in strings do not matter here.
        data = self._BLANKS.sub(b" ", self._data + data)
        found: list[str] = []
        start = 0
        while (key := self._KEY.search(data, start)) is not None:
            value = self._VALUE.match(data, key.end()) or self._SCALAR.match(data, key.end())
            if value is None:
                rest = data[key.end() :]
                if rest[:1] in (b"[", b"{") or len(rest) > _MAX_VALUE:
                    raise _ambiguous("A member _method is not a short string")
                self._data = data[key.start() :]
                return found
            if value[0].startswith(b'"') and (method := _method(_json_string(value[0]))):
                found.append(method)
            start = value.end()
        self._data = data[max(start, len(data) - self._KEPT) :]
        return found

    def finish(self) -> list[str]:
        """See :class:`MethodScanner`: a JSON text that is cut off names nothing."""
        return []


def _json_string(raw: bytes) -> bytes:
    try:
        return str(json.loads(raw)).encode("utf-8", "replace")
    except ValueError:
        raise _ambiguous("A member _method is not valid JSON (RFC 8259, 7)") from None


_BOUNDARY = re.compile(  # RFC 2046, 5.1.1, without the space
    r"""(?i);[ \t]*boundary="""
    r"""(?:"([0-9A-Za-z'()+_,./:=?-]{1,70})"|([0-9A-Za-z'+_.-]{1,70}))[ \t]*(?=;|$)"""
)
_CHARSET = re.compile(r"""(?i)charset\s*=\s*["']?([^"';\s]*)""")
_PLAIN_CHARSETS = re.compile(
    r"utf-?8|(?:us-)?ascii|iso-8859-\d+|latin-?1|(?:windows|cp)-?125\d|koi8-[ru]|gb\w*|big5"
    r"|shift[_-]jis|euc-\w+"
)


def scanner_for(types: Sequence[str], codings: Sequence[str]) -> MethodScanner | None:
    """What finds the methods in a content; ``None`` for one that names none.

    ``types`` and ``codings`` are the values of all ``Content-Type`` and ``Content-Encoding`` lines.
    A content without a type is read as a form, as Rack does. Raises ``ScopeRefused`` for what
    is ambiguous.
    """
    if len(types) > 1:
        raise _ambiguous("The type of the content is given twice (RFC 9110, 8.3)")
    label = types[0].lower() if types else "application/x-www-form-urlencoded"
    kinds = [kind for kind in ("urlencoded", "multipart", "json") if kind in label]
    if not kinds:
        return None
    if len(kinds) > 1:
        raise _ambiguous("The type of the content is ambiguous (RFC 9110, 8.3)")
    if any(coding.strip().lower() not in ("", "identity") for coding in codings):
        raise _ambiguous("The content is in a coding (RFC 9110, 8.4)")
    charsets = _CHARSET.findall(label)
    if any(not _PLAIN_CHARSETS.fullmatch(charset) for charset in charsets):
        raise _ambiguous("The charset of the content is unusual")
    if kinds == ["urlencoded"]:
        return FormScanner()
    if kinds == ["json"]:
        return JsonScanner()
    found = _BOUNDARY.findall(types[0])
    if len(found) != 1 or label.count("boundary") != 1:
        raise _ambiguous("The boundary is ambiguous (RFC 2046, 5.1.1)")
    return MultipartScanner("".join(found[0]).encode("ascii"))


class ContentInspection:
    """Judges the methods in one content, piece by piece."""

    __slots__ = ("_judge", "_judged", "_scanner")

    def __init__(self, scanner: MethodScanner, judge: Callable[[str], None]) -> None:
        self._scanner = scanner
        self._judge = judge
        self._judged: set[str] = set()

    def check(self, piece: bytes, *, is_last: bool) -> None:
        """The next piece of the content. Raises what ``judge`` raises for a method.

        ``is_last``: it completes the content. Do not send a piece before it was checked: an
        application acts on complete requests only, and a refused content is never completed.
        """
        found = self._scanner.feed(piece) if piece else []
        if is_last:
            found += self._scanner.finish()
        for method in found:
            if method not in self._judged:
                if len(self._judged) >= _MAX_METHODS:
                    raise _ambiguous("The content names too many methods")
                self._judge(method)
                self._judged.add(method)
