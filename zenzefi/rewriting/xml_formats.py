"""The XML formats with addresses: one table per format, with the section that names each.

A document labelled as plain XML is read as the format that its root element shows
(:func:`rules_by_root`). Namespace names, ``xsi:schemaLocation`` and identifiers (the ``id`` of
Atom, the ``guid`` of RSS) look like addresses but are not mapped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlRules:
    """The attributes and elements with URLs of a kind of document; all names without prefix."""

    attributes: frozenset[str] = frozenset()
    unprefixed: frozenset[str] = frozenset()
    """Attributes with a URL that count only without a namespace prefix."""
    elements: frozenset[str] = frozenset()
    """Elements whose whole text is one URL."""
    lists: frozenset[str] = frozenset()
    """Attributes with a ``srcset``."""
    spaced: frozenset[tuple[str, str]] = frozenset()
    """Elements with an attribute of URLs that are separated by white space."""
    base_element: str = ""
    """Its text is a URL, and the base of the following URLs in its parent (DASH BaseURL)."""
    styles: bool = False
    """``style`` attributes and elements, and ``url()`` in presentation attributes."""
    scripts: bool = False
    """``script`` elements."""
    refresh: bool = False
    """``<meta http-equiv="refresh">`` (XHTML)."""


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


DOCUMENT = XmlRules(
    # XHTML: HTML, "attributes" index. SVG 2, 16.1 (linking); xlink:href by its local name.
    attributes=_names(
        "href src url poster action formaction data cite background longdesc manifest"
    ),
    lists=_names("srcset imagesrcset"),  # HTML, 4.8.4.2.1 and 4.2.4
    styles=True,
    scripts=True,
    refresh=True,
)
"""XHTML and SVG documents."""

FEED = XmlRules(
    attributes=_names(
        "href src"  # Atom, RFC 4287, 4.1.3.2 and 4.2.7.1
        " url"  # RSS 2.0, enclosure and source; Media RSS 1.5.1, content and thumbnail
        " poster xmlUrl htmlUrl"  # HTML in items; OPML 2.0, outline
    ),
    elements=_names(
        "link url comments docs"  # RSS 2.0, channel, image and item
        " icon logo uri"  # RFC 4287, 4.2.5, 4.2.8 and 3.2.2
        " loc content_loc thumbnail_loc player_loc"  # sitemaps.org 0.9; video extension
        " commentRss"  # the Well-Formed Web's comment API
    ),
    styles=True,
)
"""Feeds and site maps."""

DASH = XmlRules(
    attributes=_names(
        "href"  # ISO/IEC 23009-1:2022, 5.5.3 (xlink:href)
        " media initialization index bitstreamSwitching"  # 5.3.9.4.2 and 5.3.9.3.2
        " sourceURL"  # 5.3.9.2.2 (URLType: Initialization, RepresentationIndex)
        " moreInformationURL"  # 5.7.2 (ProgramInformation)
        " proxyServerURL"  # ETSI TS 103 998, 6.3 (ContentSteering)
        " reportingUrl"  # ETSI TS 103 285, 10.12.3.3 (dvb:reportingUrl)
        " licenseUrl"  # DASH-IF content protection, 7.6.2.4
        " src url"  # documents in events (5.10.2)
    ),
    spaced=frozenset((("UTCTiming", "value"),)),  # 5.8.4.11: a list of servers
    elements=_names(
        "Location PatchLocation"  # 5.3.1.2 and 5.15.2
        " ContentSteering"  # ETSI TS 103 998, 6.2
        " Laurl laurl Authzurl CertUrl Certurl"  # DASH-IF content protection, 7.6.2
    ),
    base_element="BaseURL",  # 5.6.4: siblings are alternatives
)
"""DASH manifests."""

WEBDAV = XmlRules(
    # RFC 4918, 14.7: in responses, lock roots (14.12), and the properties of 15.10 and of
    # CalDAV and CardDAV. Locks' names (14.14) are URLs of other schemes.
    elements=_names("href"),
)
"""WebDAV bodies: multistatus, properties, errors."""

OPENSEARCH = XmlRules(
    attributes=_names("template"),  # OpenSearch 1.1, draft 6, "The Url element"
    elements=_names("Image SearchForm"),  # "The Image element"; MozSearch
)
"""OpenSearch descriptions."""

DESCRIPTION = XmlRules(
    attributes=_names(
        "location"  # WSDL 1.1, 2.1.1 and 3.7 (import, soap:address); 2.0, 7.1
        " href src url"
    ),
    unprefixed=_names("schemaLocation"),  # XML Schema 1.1, 4.2.3 (include) and 4.2.6 (import)
)
"""Descriptions of services and schemas: WSDL, WADL, XML Schema."""

RESOURCES = XmlRules(
    attributes=_names("href template"),  # XRD 1.0, 2.7 (Link); RFC 6415, 3.1.1
)
"""Extensible resource descriptors (host metadata)."""

ANY = XmlRules(
    attributes=FEED.attributes | _names("location"),
    elements=FEED.elements | _names("BaseURL Location PatchLocation"),
    styles=True,
)
"""Any other XML, with the addresses of the well-known formats."""

BY_ROOT = {
    "html": DOCUMENT,
    "svg": DOCUMENT,
    "rss": FEED,
    "feed": FEED,
    "entry": FEED,
    "RDF": FEED,
    "opml": FEED,
    "urlset": FEED,
    "sitemapindex": FEED,
    "MPD": DASH,
    "Patch": DASH,
    "OpenSearchDescription": OPENSEARCH,
    "SearchPlugin": OPENSEARCH,
    "XRD": RESOURCES,
    "definitions": DESCRIPTION,
    "description": DESCRIPTION,
    "schema": DESCRIPTION,
    "application": DESCRIPTION,
}


def xml_format(name: Literal["document", "feed", "dash"]) -> XmlRules:
    """The table of a format: XHTML and SVG documents, feeds and site maps, or DASH manifests."""
    return {"document": DOCUMENT, "feed": FEED, "dash": DASH}[name]


LONGEST_PROLOG = 8 * 1024
"""Bytes before the root element that are searched for it."""
_ROOT = re.compile(rb"<(?:[A-Za-z_][^\s<>/=\"':]*:)?([A-Za-z_][^\s<>/=\"':]*)((?>[^<>]*)>)?")
_OF_DAV = re.compile(rb"xmlns(?::[^\s=]+)?\s*=\s*(?:\"DAV:\"|'DAV:')")
_COMMENT = re.compile(rb"<!--(?s:.*?)-->")


def rules_by_root(beginning: bytes, final: bool) -> XmlRules | None:
    """The rules for a document that begins so; ``None`` while more bytes are needed."""
    final = final or len(beginning) >= LONGEST_PROLOG
    root = _ROOT.search(_COMMENT.sub(b"", beginning[: 2 * LONGEST_PROLOG]))
    if root is None or root[2] is None:
        return ANY if final else None
    if _OF_DAV.search(root[2]):
        return WEBDAV
    return BY_ROOT.get(root[1].decode("utf-8", "replace"), ANY)
