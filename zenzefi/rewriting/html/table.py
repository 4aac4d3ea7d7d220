"""The attributes that contain URLs, by element (HTML, 4; SVG 2; their obsolete predecessors).

The patterns that decide at which tags Python runs are built from this table too.
"""

from __future__ import annotations

import enum


class AddressSyntax(enum.Enum):
    """The syntax of URLs in an attribute's value."""

    URL = "one address"
    SET = "image candidates (srcset)"
    LIST = "addresses separated by white space"
    CSS = "a declaration list"
    DOCUMENT = "a document (srcdoc)"


HTML_HREF = frozenset((b"a", b"area", b"link"))
SVG_HREF = frozenset(
    b"a image use script feimage textpath mpath pattern filter lineargradient radialgradient"
    b" animate set animatemotion animatetransform cursor discard tref altglyph glyphref"
    b" font-face-uri color-profile".split()
)
MATHML_HREF = frozenset(
    b"math mi mn mo ms mtext mspace mglyph mrow mfrac msqrt mroot mstyle merror mpadded mphantom"
    b" mfenced menclose msub msup msubsup munder mover munderover mmultiscripts mprescripts none"
    b" mtable mtr mlabeledtr mtd maction semantics annotation annotation-xml".split()
)
"""Every element of MathML may be a link (MathML 3, 2.1.6)."""

ATTRIBUTES: dict[bytes, tuple[AddressSyntax, frozenset[bytes] | None]] = {
    # name: (kind, the elements on which it counts, None for all)
    b"href": (AddressSyntax.URL, HTML_HREF | SVG_HREF | MATHML_HREF),
    b"xlink:href": (AddressSyntax.URL, None),
    b"src": (
        AddressSyntax.URL,
        frozenset(
            b"img image script iframe frame embed input audio video source track bgsound portal"
            b" fencedframe layer".split()
        ),
    ),
    b"srcset": (AddressSyntax.SET, frozenset((b"img", b"image", b"source"))),
    b"imagesrcset": (AddressSyntax.SET, frozenset((b"link",))),
    b"srcdoc": (AddressSyntax.DOCUMENT, frozenset((b"iframe",))),
    b"style": (AddressSyntax.CSS, None),
    b"action": (AddressSyntax.URL, frozenset((b"form",))),
    b"formaction": (AddressSyntax.URL, frozenset((b"button", b"input"))),
    b"poster": (AddressSyntax.URL, frozenset((b"video",))),
    b"data": (AddressSyntax.URL, frozenset((b"object",))),
    b"ping": (AddressSyntax.LIST, frozenset((b"a", b"area"))),
    b"attributionsrc": (AddressSyntax.LIST, frozenset((b"a", b"area", b"img", b"script"))),
    b"background": (
        AddressSyntax.URL,
        frozenset((b"body", b"table", b"tbody", b"thead", b"tfoot", b"tr", b"td", b"th")),
    ),
    b"cite": (AddressSyntax.URL, frozenset((b"blockquote", b"q", b"ins", b"del"))),
    b"longdesc": (AddressSyntax.URL, frozenset((b"img", b"iframe", b"frame"))),
    b"manifest": (AddressSyntax.URL, frozenset((b"html",))),
    b"dynsrc": (AddressSyntax.URL, frozenset((b"img", b"image", b"input"))),
    b"lowsrc": (AddressSyntax.URL, frozenset((b"img", b"image", b"input"))),
}

PRESENTATION = frozenset(
    b"fill stroke filter mask clip-path cursor marker marker-start marker-mid marker-end".split()
)
"""SVG's presentation attributes that may have a ``url()`` (SVG 2, 6.6), and the properties that an
animation may set (SMIL, 19.2 of SVG 1.1)."""
ANIMATIONS = frozenset((b"set", b"animate"))
"""SVG elements that set another attribute of their parent, named by ``attributeName``."""
ANIMATED = frozenset((b"to", b"from", b"by", b"values"))
"""The attributes of an animation that have the values."""
INERT = frozenset((b"template", b"noscript"))
"""Elements whose content is not in the document (or not where scripts run): no base in them
counts (HTML, 4.2.3)."""


def address_syntax(element: bytes, attribute: bytes, *, in_foreign: bool) -> AddressSyntax | None:
    """The syntax of an attribute's URLs on this element, ``None`` if it holds none.

    Names are in lower case; ``in_foreign``: the element is in SVG or MathML.
    """
    in_foreign = in_foreign or element in FOREIGN_ROOTS
    if attribute in PRESENTATION and in_foreign:
        return AddressSyntax.CSS
    entry = ATTRIBUTES.get(attribute)
    if entry is None:
        return None
    kind, elements = entry
    if elements is not None and element not in elements:
        return None
    is_foreign = attribute == b"xlink:href" or (attribute == b"href" and element not in HTML_HREF)
    return None if is_foreign and not in_foreign else kind  # <image href> means nothing in HTML


RAW_TEXT = frozenset((b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes"))
"""Elements whose content has no tags (raw text and RCDATA, section 13.2.6.2). ``script`` and
``plaintext`` have separate states. ``noscript`` is not in the list: its content, which browsers
without scripts show, has to be mapped too."""

# --- foreign content (section 13.2.6.5) ---------------------------------------------------------

FOREIGN_ROOTS = frozenset((b"svg", b"math"))
INTEGRATION_POINTS = {
    b"svg": frozenset((b"foreignobject", b"desc", b"title")),
    b"math": frozenset((b"mi", b"mo", b"mn", b"ms", b"mtext", b"annotation-xml")),
}
"""Inside these, content is HTML again. (``annotation-xml`` only with an HTML encoding.)"""

BREAKOUT = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li"
    b" listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul"
    b" var".split()
)
"""A start tag of these ends foreign content."""
