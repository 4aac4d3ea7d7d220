"""Patterns of the HTML tokenizer (HTML section 13.2.5) and character references, as bytes.

No pattern can backtrack: they use atomic groups, and alternatives that differ in their first byte.
(They do not use possessive quantifiers, which are broken before CPython 3.11.5.)
"""

from __future__ import annotations

import functools
import html.entities
import re
from collections.abc import Iterable, Iterator, Sequence

from zenzefi.rewriting.html.table import ATTRIBUTES, RAW_TEXT

_WS = rb"\t\n\f\r "

# An attribute: a name that may start with "=" and has no white space, slash, > or = after that,
# then an optional value. An open quote reaches to the end of the data: the tag is unfinished.
_VALUE = rb'(?>"[^"]*(?:"|\Z)|\'[^\']*(?:\'|\Z)|[^%(w)s>"\'][^%(w)s>]*)?' % {b"w": _WS}
_IS_VALUE = rb"(?>[%(w)s]*=[%(w)s]*%(v)s)?" % {b"w": _WS, b"v": _VALUE}
_ATTRIBUTE = rb"[^%(w)s/>][^%(w)s/>=]*%(v)s" % {b"w": _WS, b"v": _IS_VALUE}
_REST_OF_TAG = rb"(?>(?>[%s/]+|%s)*)>" % (_WS, _ATTRIBUTE)

# The usual spelling of attributes: one space, double quotes. Tried first, for speed only.
_USUAL = rb"(?>(?: [a-zA-Z\-]+=\"[^\"]*\")*)"
START_TAG = re.compile(rb"<((?>[a-zA-Z][^%s/>]*))%s%s" % (_WS, _USUAL, _REST_OF_TAG))
END_TAG = re.compile(rb"</((?>[a-zA-Z][^%s/>]*))%s" % (_WS, _REST_OF_TAG))
ATTRIBUTE = re.compile(
    rb"[%(w)s/]*([^%(w)s/>][^%(w)s/>=]*)"
    rb"(?:[%(w)s]*=[%(w)s]*(?:\"([^\"]*)\"|'([^']*)'|([^%(w)s>\"'][^%(w)s>]*))?)?" % {b"w": _WS}
)
"""Groups: name, double-quoted, single-quoted and unquoted value. Only for ``match``: a search
would try every slash again."""

OPEN_QUOTE = re.compile(
    rb"</?(?>[a-zA-Z][^%(w)s/>]*)(?>(?>[%(w)s/]+"
    rb"|[^%(w)s/>](?>[^%(w)s/>=]*)"
    rb"(?>[%(w)s]*=[%(w)s]*(?>\"[^\"]*\"|'[^']*'|[^%(w)s>\"'][^%(w)s>]*)|(?![%(w)s]*=[%(w)s]*[\"'])))*)"
    rb"(?:[^%(w)s/>](?>[^%(w)s/>=]*)[%(w)s]*=[%(w)s]*([\"']))?" % {b"w": _WS}
)
"""The beginning of a tag; the group is the quote that the end of the data leaves open."""

COMMENT = re.compile(rb"<!--(?>-?>|(?>[^-]+|-(?!-!?>))*--!?>)")
COMMENT_END = re.compile(rb"--!?>")
WHITE_SPACE = re.compile(rb"[%s]*" % _WS)


def any_case(word: bytes) -> bytes:
    """A pattern for ``word`` in any case, with sets (quicker in ``re`` than IGNORECASE)."""
    return b"".join(
        b"[%c%c]" % (c, c ^ 0x20) if bytes((c,)).isalpha() else re.escape(bytes((c,))) for c in word
    )


@functools.cache
def raw_text_end(name: bytes) -> re.Pattern[bytes]:
    """The start of the end tag that closes a raw text element."""
    return re.compile(rb"</%s(?=[%s/>])" % (any_case(name), _WS))


# --- runs ---------------------------------------------------------------------------------------

_ALWAYS = (*sorted(RAW_TEXT), b"script", b"plaintext", b"base", b"meta", b"svg", b"math")
# SVG's drawing elements: they do not affect the tree builder.
_DRAWING = (
    b"path",
    b"g",
    b"rect",
    b"circle",
    b"ellipse",
    b"line",
    b"polyline",
    b"polygon",
    b"defs",
    b"stop",
    b"clippath",
    b"mask",
    b"symbol",
    b"tspan",
    b"text",
    b"use",
)


def _choice(words: Iterable[bytes]) -> bytes:
    return b"|".join(map(any_case, words))


Runs = tuple[re.Pattern[bytes], re.Pattern[bytes]]


def _boring_url(hosts: tuple[bytes, ...], quote: bytes, root: bool) -> bytes:
    """URLs that no mapper changes, recognised by their spelling alone."""
    plain = rb"[^%s&\\.%%\x00-\x20]*" % quote
    rooted = rb"/(?![/\\])%s|" % plain if root else b""
    return (
        rb"(?>#[^%(q)s]*"
        rb"|https?://(?!(?:%(h)s)[:/?#%(q)s])(?>[a-z0-9\-]+\.)+[a-z][a-z\-]*(?=[/?#%(q)s])[^%(q)s]*"
        rb"|(?:%(r)s(?![hHwW][tTsS])[A-Za-z0-9_?]%(p)s)(?>\.(?!\.)%(p)s)*"
        rb"|)%(q)s"
    ) % {b"q": quote, b"h": b"|".join(map(re.escape, hosts)), b"p": plain, b"r": rooted}


_COMMENT = rb"!--(?>-?>|(?>[^-]+|-(?!-!?>))*--!?>)"
_TEXT = rb"(?=[^a-zA-Z/!?])"  # a "<" that does not open markup


# The usual spelling of attributes without a URL: lower case, after one space. Tried before all
# others, for speed only. No attribute with a URL begins like those of the first line.
_QUICK_VALUE = rb"(?>\"[^\"]*\"|'[^']*'|[^%s\"'>=`]+)" % _WS
_QUICK_ATTRIBUTE = (
    rb"(?:[egjknoqrtuvwyz][a-zA-Z\-]*"
    rb"|a(?:lt|lign|ria-[a-z]+|sync|uto[a-z]+)|b(?:order|gcolor)"
    rb"|c(?:lass|ontent|harset|ol(?:s|span|or)|hecked|ontrols|rossorigin|ell[a-z]+|[xy])"
    rb"|d(?:ata-[a-z0-9\-]+|atetime|ir|isabled|efer|raggable|ecoding|ownload)?|f(?:or|ill[a-z\-]*)"
    rb"|h(?:eight|idden|reflang)|i(?:d|tem[a-z]+|nputmode)|l(?:ang|abel|ist|oading)"
    rb"|m(?:edia|ethod|ultiple|in|ax(?:length)?)|p(?:laceholder|roperty|attern|oints|reload)"
    rb"|s(?:cope|elected|izes?|lot|pan|pellcheck|tep|troke[a-z\-]*)|x[12]?|xmlns)(?:=%s|(?=[ />]))"
) % _QUICK_VALUE


def _quick_name(special: Iterable[bytes]) -> bytes:
    """A pattern for names in lower case that do not begin like a name in ``special``."""
    special = [*special]
    first = sorted({name[:1] for name in special})
    free = bytes(c for c in b"abcdefghijklmnopqrstuvwxyz" if bytes((c,)) not in first)
    groups = [
        rb"%s(?!%s)" % (c, b"|".join(re.escape(name[1:]) for name in special if name[:1] == c))
        for c in first
        if c not in special
    ]
    return rb"(?:%s)[a-z0-9\-]*" % b"|".join((*([b"[%s]" % free] if free else []), *groups))


def _runs(
    boring: bytes,
    quick: bytes,
    starts: Sequence[bytes],
    ends: Sequence[bytes],
    bearing: bytes = rb"(?!)",
    usual: bytes = b"",
) -> Runs:
    """A run in HTML and one in foreign content.

    ``boring`` matches the content of a tag after its name that a run may consume, ``quick`` does so
    for attributes in their usual spelling. Elements in ``bearing`` mostly have a URL: a run
    consumes them in their usual spelling only, because a longer search is rarely successful.
    ``usual`` is a tag with which the run may end.
    """
    special = (*_ALWAYS, *starts)
    not_end = rb"(?!(?:%s)[%s/>])" % (_choice(ends), _WS) if ends else b""
    html_run = (
        rb"(?>[^<]*<(?>"
        rb"/%(e)s[a-zA-Z0-9]+>"
        rb"|%(k)s(?: (?:%(q)s))* ?/?>"
        rb"|(?!(?:%(s)s)[%(w)s/>]|(?:%(n)s)[%(w)s/])(?>[a-zA-Z][^%(w)s/>]*)%(b)s"
        rb"|/%(e)s[a-zA-Z][^>\"'=]*>"
        rb"|%(t)s|%(c)s))*[^<]*%(u)s"
    ) % {
        b"e": not_end,
        b"k": _quick_name(special),
        b"q": quick,
        b"s": _choice(special),
        b"n": bearing,
        b"w": _WS,
        b"b": boring,
        b"t": _TEXT,
        b"c": _COMMENT,
        b"u": usual,
    }
    foreign_run = (
        rb"(?>[^<]*<(?>"
        rb"(?:%(d)s)(?: (?:%(q)s))* ?/?>"
        rb"|(?:%(s)s)(?=[%(w)s/>])%(b)s|/(?:%(e)s)[%(w)s]*>"
        rb"|%(t)s|%(c)s))*[^<]*"
    ) % {
        b"d": b"|".join(name for name in _DRAWING if name not in starts) or rb"(?!)",
        b"q": quick,
        b"s": _choice(name for name in _DRAWING if name not in starts) or rb"(?!)",
        b"w": _WS,
        b"b": boring,
        b"e": _choice(name for name in _DRAWING if name not in ends) or rb"(?!)",
        b"t": _TEXT,
        b"c": _COMMENT,
    }
    return re.compile(html_run), re.compile(foreign_run)


_INTERESTING = rb"(?:%s|[dD][aA][tT][aA](?=[%s=/>]))" % (
    _choice(name for name in (*sorted(ATTRIBUTES), b"integrity") if name != b"data"),
    _WS,
)
ADDRESS = re.compile(
    rb"(?>(?: %(q)s)*)(?>(?>[%(w)s/]+|(?!%(i)s)%(a)s)*)"
    rb"([^%(w)s/>][^%(w)s/>=]*)"
    rb"(?:[%(w)s]*=[%(w)s]*(?:\"([^\"]*)\"|'([^']*)'|([^%(w)s>\"'][^%(w)s>]*))?)?"
    % {b"w": _WS, b"q": _QUICK_ATTRIBUTE, b"i": _INTERESTING, b"a": _ATTRIBUTE}
)
"""From a position between attributes, the next one that may matter; groups as in ``ATTRIBUTE``."""


# Elements whose purpose is one URL, with that URL in its usual attribute.
_BEARING = rb"a|area|link|form|img|input|source|audio|video|embed|track"
_USUAL_ADDRESS = (
    rb"(?:<(?:(?:a|area|link)(?>(?: %(q)s)*) href|form(?>(?: %(q)s)*) action"
    rb"|(?:img|input|source|audio|video|embed|track)(?>(?: %(q)s)*) src)"
    rb"=(?:\"([^\"]*)\"|'([^']*)'|([^%(w)s\"'>=`]+))(?>(?: %(q)s)*) ?/?>)?"
    % {b"q": _QUICK_ATTRIBUTE, b"w": _WS}
)


@functools.lru_cache(maxsize=64)
def address_runs(hosts: tuple[bytes, ...], root: bool, relocated: bool) -> Runs:
    """Runs that stop where a URL may change.

    A run may end with a whole tag in the usual spelling, with one URL and nothing else that
    matters; a group contains the URL: double-quoted, single-quoted, or unquoted.

    ``hosts`` are the upstream's. With ``root``, rooted URLs stay. With ``relocated``, the scheme
    differs between the views, so fewer URLs can be decided by their spelling.
    """
    urls = [quote + _boring_url(hosts, quote, root and not relocated) for quote in (b'"', b"'")]
    css = [
        rb"%(q)s(?>[^%(q)s(&\\]+|\((?<![lLtTcC]\())*%(q)s" % {b"q": quote} for quote in (b'"', b"'")
    ]
    boring = (
        rb"(?>[%(w)s/]+"
        rb"|(?!%(n)s)%(a)s"
        rb"|(?:[hH][rR][eE][fF]|[sS][rR][cC]|[aA][cC][tT][iI][oO][nN])=(?>%(u)s)"
        rb"|[sS][tT][yY][lL][eE]=(?>%(c)s))*>"
    ) % {
        b"w": _WS,
        b"n": _INTERESTING,
        b"a": _ATTRIBUTE,
        b"u": b"|".join(urls),
        b"c": b"|".join(css),
    }
    quick = rb"%s|(?:href|src|action)=%s|style=%s" % (_QUICK_ATTRIBUTE, urls[0], css[0])
    return _runs(boring, quick, (), (), _BEARING, _USUAL_ADDRESS)


@functools.lru_cache(maxsize=64)
def tag_runs(starts: tuple[bytes, ...], ends: tuple[bytes, ...]) -> Runs:
    """Runs that stop at the tags of these names."""
    return _runs(_REST_OF_TAG, rb"[a-z\-]+=\"[^\"]*\"", starts, ends)


EVERY_TAG: Runs = (re.compile(rb"[^<]*"), re.compile(rb"[^<]*"))
"""Runs that stop at every tag and comment."""


# --- character references (section 13.2.5.72 and following, in attribute values) -----------------

_REFERENCE = re.compile(r"&(?:#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?|([A-Za-z][A-Za-z0-9]*;?))")
_LONGEST_BARE = max(len(n) for n in html.entities.html5 if not n.endswith(";"))


def decode(value: bytes) -> str:
    """An attribute's value with character references resolved; non-ASCII bytes as surrogates."""
    text = value.decode("ascii", "surrogateescape")
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return _REFERENCE.sub(_resolve, text) if "&" in text else text


def _resolve(found: re.Match[str]) -> str:
    named = found[3]
    if named is None:
        digits = (found[1] or found[2]).lstrip("0")
        if len(digits) > 7:  # beyond U+10FFFF; and int() rejects thousands of digits
            return "\ufffd"
        code = int(digits or "0", 16 if found[1] else 10)
        if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            return "\ufffd"
        if 0x80 <= code <= 0x9F:
            return (
                bytes((code,)).decode("cp1252", "replace") if code not in _NO_CP1252 else chr(code)
            )
        return chr(code)
    if named in html.entities.html5 and named.endswith(";"):
        return html.entities.html5[named]
    for length in range(min(len(named), _LONGEST_BARE), 1, -1):
        known = html.entities.html5.get(named[:length])
        if known is not None:
            after = named[length : length + 1] or found.string[found.end() : found.end() + 1]
            # "&copy=1" in an attribute is not a reference but a query parameter.
            if after == "=" or (after.isascii() and after.isalnum()):
                return found[0]
            return known + named[length:]
    return found[0]


_NO_CP1252 = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_SPECIAL = {
    b'"': re.compile('[&"]|[^\x00-\x7f\udc80-\udcff]'),
    b"'": re.compile("[&']|[^\x00-\x7f\udc80-\udcff]"),
    b"": re.compile("[&\"'<>=`\t\n\f\r ]|[^\x00-\x7f\udc80-\udcff]"),
}


def encode(text: str, quote: bytes) -> bytes:
    """``text`` as the value of an attribute in these quotes (empty: unquoted)."""
    return _SPECIAL[quote].sub(_refer, text).encode("ascii", "surrogateescape")


def _refer(found: re.Match[str]) -> str:
    c = found[0]
    return "&amp;" if c == "&" else "&quot;" if c == '"' else f"&#{ord(c)};"


@functools.lru_cache(maxsize=256)
def _beginning(text: str, quote: bytes) -> bytes:
    return encode(text, quote)  # mostly the mount's prefix


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, re.Match[bytes]]]:
    """Name in lower case, number of the value's group (1: no value) and match of each attribute.

    ``start`` is the end of the tag's name, ``end`` the position of its ``>``.
    """
    while (found := ATTRIBUTE.match(data, start, end)) is not None:
        start = found.end()
        yield found[1].lower(), found.lastindex or 1, found


def splice(raw: bytes, decoded: str, new: str, quote: bytes) -> bytes:
    """``new`` instead of ``raw``; the unchanged end keeps the spelling of ``raw``."""
    at = raw.find(b"&")
    if at < 0:
        if new.endswith(decoded):
            return _beginning(new[: len(new) - len(decoded)], quote) + raw
        return encode(new, quote)
    tail = decoded[at:]
    # Text before the first "&" has no references; if the rest is unchanged, its bytes stay.
    if new.endswith(tail):
        return encode(new[: len(new) - len(tail)], quote) + raw[at:]
    return encode(new, quote)
