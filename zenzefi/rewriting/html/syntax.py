"""Patterns of the HTML tokenizer (HTML section 13.2.5), as bytes.

No pattern can backtrack: they use atomic groups, and alternatives that differ in their first byte.
(They do not use possessive quantifiers, which are broken before CPython 3.11.5.)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence

from zenzefi.rewriting.html.table import ATTRIBUTES, INERT, PRESENTATION, RAW_TEXT

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


# --- marks in special content ---------------------------------------------------------------------

LONG_TAG = re.compile(rb">|=[\t\n\f\r ]*([\"'])")
FONT = re.compile(rb"[\t\n\f\r /](?:[cC][oO][lL][oO][rR]|[fF][aA][cC][eE]|[sS][iI][zZ][eE])[^\w-]")
HTML_ANNOTATION = re.compile(rb"(?i)encoding\s*=\s*[\"']?(?:text/html|application/xhtml\+xml)\b")

_WS_OR_END = rb"(?=[\t\n\f\r />])"
UNESCAPED = re.compile(rb"<(?:!--|(/)%s%s)" % (any_case(b"script"), _WS_OR_END))
ESCAPED = re.compile(rb"-->|<(/?)%s%s" % (any_case(b"script"), _WS_OR_END))


# --- runs ---------------------------------------------------------------------------------------

_ALWAYS = (
    *sorted(RAW_TEXT),
    *(b"script", b"plaintext", b"base", b"meta", b"svg", b"math"),
    *sorted(INERT),
)
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


def _boring_url(hosts: tuple[bytes, ...], quote: bytes, root: bool, levels: int) -> bytes:
    """URLs that no mapper changes, recognised by their spelling alone."""
    # A path without character references, percent-encoded dots and double dots.
    plain = rb"(?>[^%s&.%%?#\x00-\x20]|%%(?!2[eE]))*" % quote
    rooted = rb"/(?![/\\])|" if root else b""
    up = rb"(?:\.\./){1,%d}|" % levels if levels else b""
    return (
        rb"(?>[?#][^%(q)s]*"
        rb"|(?:https?:)?//(?!(?:%(h)s)[:/?#%(q)s])(?>[a-z0-9\-]+\.)+[a-z][a-z\-]*"
        rb"(?>:[0-9]+)?(?=[/?#%(q)s])[^%(q)s]*"
        rb"|(?:%(r)s%(u)s(?:\./)?(?![hH][tT][tT][pP]|[wW][sS])[^%(q)s&./\\%%?#\x00-\x20])"
        rb"%(p)s(?>\.(?!\.)%(p)s)*(?:[?#][^%(q)s]*)?"
        rb"|)%(q)s"
    ) % {
        b"q": quote,
        b"h": b"|".join(map(re.escape, hosts)),
        b"p": plain,
        b"r": rooted,
        b"u": up,
    }


_COMMENT = rb"!--(?>-?>|(?>[^-]+|-(?!-!?>))*--!?>)"
_TEXT = rb"(?=[^a-zA-Z/!?])"  # a "<" that does not open markup


# The usual spelling of attributes without a URL: lower case, after one space. Tried before all
# others, for speed only. No attribute with a URL begins like those of the first line.
_QUICK_VALUE = rb"(?>\"[^\"]*\"|'[^']*'|[^%s\"'>=`]+)" % _WS
_NO_PAINT = (
    rb"(?!=(?:\"[^\"]*?[uU][rR][lL]\((?!'?#)|'[^']*?[uU][rR][lL]\((?!\"?#)"
    rb"|[^%s\"'>]*?[uU][rR][lL]\((?!#)))"
) % _WS
_QUICK_ATTRIBUTE = (
    rb"(?!rel=(?:\"[^\">]*|'[^'>]*|)[mM][aA][nN][iI][fF][eE][sS][tT])"
    rb"(?:[egjknoqrtuvwyz][a-zA-Z\-]*"
    rb"|class|id|data-[a-z0-9_\-]+"
    rb"|a(?:cc[a-z\-]+|l[a-z]+|ria-[a-z]+|s|sync|uto[a-z]+)|b(?:order|gcolor)"
    rb"|c(?:ontent|harset|o(?:ls|lspan|lor|ords)|hecked|ontrols|rossorigin|ell[a-z]+|[xy])"
    rb"|d(?:atetime|ir|isabled|efer|raggable|ecoding|ownload)?|f(?:or|etch[a-z]+|ill%(p)s[a-z\-]*)"
    rb"|h(?:eight|idden|reflang)|i(?:tem[a-z]+|nputmode|smap)"
    rb"|l(?:ang|abel|ist|oading)|m(?:edia|ethod|ultiple|uted|in|ax(?:length)?)"
    rb"|p(?:laceholder|roperty|attern|oints|re[a-z]+)"
    rb"|s(?:cope|elected|hape|izes?|lot|pan|pellcheck|tep|troke%(p)s[a-z\-]*)|x[12]?"
    rb"|xmlns(?::[a-z]+)?)(?:=%(v)s|(?=[ />]))"
) % {b"v": _QUICK_VALUE, b"p": _NO_PAINT}


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


def _html_run(
    boring: bytes,
    quick: bytes,
    starts: Sequence[bytes],
    ends: Sequence[bytes],
    bearing: bytes = rb"(?!)",
    complete: bytes = rb"(?!)",
    usual: bytes = b"",
) -> re.Pattern[bytes]:
    """A run in HTML.

    ``boring`` matches the content of a tag after its name that a run may consume, ``quick`` does so
    for attributes in their usual spelling. Elements in ``bearing`` mostly have a URL: a run
    consumes them in their usual spelling only, because a longer search is rarely successful.
    ``complete`` matches elements that a run consumes with their content. ``usual`` is a tag with
    which the run may end.
    """
    special = (*_ALWAYS, *starts)
    return re.compile(
        (
            rb"(?>[^<]*<(?>"
            rb"/%(e)s[a-zA-Z0-9]+>"
            rb"|%(k)s(?: (?:%(q)s))* ?/?>"
            rb"|%(f)s"
            rb"|(?!(?:%(s)s)[%(w)s/>]|(?:%(n)s)[%(w)s/])(?>[a-zA-Z][^%(w)s/>]*)%(b)s"
            rb"|/%(e)s[a-zA-Z][^>\"'=]*>"
            rb"|%(t)s|%(c)s))*[^<]*%(u)s"
        )
        % {
            b"e": rb"(?!(?:%s)[%s/>])" % (_choice(ends), _WS) if ends else b"",
            b"k": _quick_name(special),
            b"q": quick,
            b"f": complete,
            b"s": _choice(special),
            b"n": bearing,
            b"w": _WS,
            b"b": boring,
            b"t": _TEXT,
            b"c": _COMMENT,
            b"u": usual,
        }
    )


def _foreign_run(
    boring: bytes, quick: bytes, starts: Sequence[bytes], ends: Sequence[bytes]
) -> re.Pattern[bytes]:
    """A run in foreign content; ``boring`` and ``quick`` as in HTML."""
    return re.compile(
        (
            rb"(?>[^<]*<(?>"
            rb"(?:%(d)s)(?: (?:%(q)s))* ?/?>"
            rb"|(?:%(s)s)(?=[%(w)s/>])%(b)s|/(?:%(e)s)[%(w)s]*>"
            rb"|%(t)s|%(c)s))*[^<]*"
        )
        % {
            b"d": b"|".join(name for name in _DRAWING if name not in starts) or rb"(?!)",
            b"q": quick,
            b"s": _choice(name for name in _DRAWING if name not in starts) or rb"(?!)",
            b"w": _WS,
            b"b": boring,
            b"e": _choice(name for name in _DRAWING if name not in ends) or rb"(?!)",
            b"t": _TEXT,
            b"c": _COMMENT,
        }
    )


# A presentation attribute with a url() that is not only a fragment.
_PAINT = (
    rb"(?:%(n)s)(?>[%(w)s]*=[%(w)s]*)(?:\"[^\"]*?[uU][rR][lL]\((?!'?#)"
    rb"|'[^']*?[uU][rR][lL]\((?!\"?#)|[^%(w)s\"'>]*?[uU][rR][lL]\((?!#))"
) % {b"n": _choice(PRESENTATION), b"w": _WS}
# The relation of a web manifest, among others or alone.
_MANIFEST = rb"[rR][eE][lL][%s]*=[^>=]*?[mM][aA][nN][iI][fF][eE][sS][tT]" % _WS
_INTERESTING = rb"(?:%s|[dD][aA][tT][aA](?=[%s=/>])|%s|%s)" % (
    _choice(name for name in (*sorted(ATTRIBUTES), b"integrity") if name != b"data"),
    _WS,
    _PAINT,
    _MANIFEST,
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
    rb"(?:<(?:(a|area|link)|(form)|img|input|source|audio|video|embed|track)(?>(?: %(q)s)*)"
    rb" (?(1)href|(?(2)action|src))"
    rb"=(?:\"(/(?!/)(?>[^\"&.%%\\\x00-\x20]+|\.(?!\.))*)\""
    rb"|\"([^\"]*)\"|'([^']*)'|([^%(w)s\"'>=`]+))(?>(?: %(q)s)*) ?/?>)?"
    % {b"q": _QUICK_ATTRIBUTE, b"w": _WS}
)
ROOTED = 3
"""The group of a rooted URL with which a run ends: mapping it puts the prefix in front."""
ADDRESS_GROUPS = {ROOTED: b'"', 4: b'"', 5: b"'", 6: b""}
"""The groups of the URL with which a run ends, and the quotes around it."""

# Elements without markup in them, or with drawings only, in their usual spelling.
_COMPLETE = (
    rb"meta(?: (?![hH][tT][tT][pP]-)[a-zA-Z_:\-]+=\"[^\"]*\")* ?/?>"
    rb"|title(?: (?:%(q)s))*>[^<]*</title>"
    rb"|script(?: (?:%(q)s))*></script>"
    rb"|svg(?: (?:%(q)s))* ?(?:/>|>(?>[^<]*<(?>"
    rb"(?:%(d)s)(?: (?:%(q)s))* ?/?>|/(?:%(d)s)>|title>[^<]*</title>|%(c)s))*[^<]*</svg>)"
)

MOST_LEVELS = 3
"""Most repetitions of ``../`` that a run consumes."""


def _spellings(
    hosts: tuple[bytes, ...], root: bool, relocated: bool, levels: int
) -> tuple[bytes, bytes]:
    """Patterns of the content of a tag that a run consumes: in any and in the usual spelling."""
    urls = [
        quote + _boring_url(hosts, quote, root and not relocated, levels) for quote in (b'"', b"'")
    ]
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
    return boring, quick


@functools.lru_cache(maxsize=64)
def address_run(
    hosts: tuple[bytes, ...], root: bool, relocated: bool, levels: int, *, inert: bool = False
) -> re.Pattern[bytes]:
    """The run in HTML that stops where a URL may change.

    It may end with a complete tag that has one URL, in its usual spelling, and nothing else that
    matters; one of :data:`ADDRESS_GROUPS` is the URL.

    ``hosts`` are the upstream's; ``root`` says that rooted URLs stay, ``relocated`` that the
    scheme differs between the views (then fewer URLs are decided by their spelling);
    ``levels`` is how often ``../`` may begin a URL that stays. With ``inert`` the run stops at the
    end tags of inert elements too.
    """
    boring, quick = _spellings(hosts, root, relocated, levels)
    complete = _COMPLETE % {b"q": quick, b"d": b"|".join(_DRAWING), b"c": _COMMENT}
    ends = sorted(INERT) if inert else ()
    return _html_run(boring, quick, (), ends, _BEARING, complete, _USUAL_ADDRESS)


@functools.lru_cache(maxsize=64)
def foreign_address_run(hosts: tuple[bytes, ...], root: bool, relocated: bool) -> re.Pattern[bytes]:
    """The same in foreign content, without such a tag at its end."""
    return _foreign_run(*_spellings(hosts, root, relocated, 0), (), ())


@functools.lru_cache(maxsize=64)
def tag_runs(starts: tuple[bytes, ...], ends: tuple[bytes, ...]) -> Runs:
    """Runs that stop at the tags with these names, in HTML and in foreign content."""
    quick = rb"[a-z\-]+=\"[^\"]*\""
    return (
        _html_run(_REST_OF_TAG, quick, starts, ends),
        _foreign_run(_REST_OF_TAG, quick, starts, ends),
    )


EVERY_TAG: Runs = (re.compile(rb"[^<]*"), re.compile(rb"[^<]*"))
"""Runs that stop at every tag and comment."""


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, re.Match[bytes]]]:
    """Name in lower case, number of the value's group (1: no value) and match of each attribute.

    ``start`` is the end of the tag's name, ``end`` the position of its ``>``.
    """
    while (found := ATTRIBUTE.match(data, start, end)) is not None:
        start = found.end()
        yield found[1].lower(), found.lastindex or 1, found
