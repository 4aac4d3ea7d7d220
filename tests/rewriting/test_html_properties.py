"""Properties of the HTML scanner on generated documents, with html5lib as the oracle."""

from __future__ import annotations

import re
import warnings
from typing import Any

import html5lib
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.html_rewriting import HEAD, PAGE, PREFIX, ROOT, UPSTREAM, rewrite_html
from zenzefi.origin import Origin
from zenzefi.rewriting.css import rewrite_css
from zenzefi.rewriting.html import HtmlScanner
from zenzefi.rewriting.html.table import ATTRIBUTES, AddressSyntax
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset
from zenzefi.rewriting.scanner import rewrite_whole
from zenzefi.rewriting.urls import UrlMapper

pieces = st.sampled_from(
    [
        *"<>\"'=/ !-?&;ax\n\x00é",
        "<a href=",
        "<a href='/x'>",
        '<a href="/x&amp;y">',
        " href=/y ",
        " src='/z' ",
        " style='b:url(/s)' ",
        " style=\"b:url('/s')\" ",
        " srcset='/a 1x, /b' ",
        "<img ",
        "<link rel=x ",
        "</a>",
        "<p>",
        "</p>",
        "<br/>",
        "<!--",
        "-->",
        "--!>",
        "<!doctype html>",
        "<script>",
        "</script>",
        "</script ",
        "<style>",
        "</style>",
        "<title>",
        "</title>",
        "<textarea>",
        "</textarea>",
        "<xmp>",
        "</xmp>",
        "<noscript>",
        "</noscript>",
        "<template>",
        "</template>",
        "<svg>",
        "</svg>",
        "<svg/>",
        "<math>",
        "</math>",
        "<mi>",
        "</mi>",
        "<desc>",
        "</desc>",
        "<foreignObject>",
        "</foreignObject>",
        "<![CDATA[",
        "]]>",
        "<path d='/x'/>",
        "<image href=/i />",
        "<use xlink:href='/u'/>",
        "<div class=b>",
        "</div>",
        "<table>",
        "<td background=/t>",
        "<form action=/f>",
        "<html>",
        "<head>",
        "<body background=/b>",
        "<meta http-equiv=refresh content='1;url=/r'>",
        "url(/c)",
        "@import '/d';",
        "http://app.test/e",
        "&#47;",
        "&sol;",
        "&quot;",
    ]
)
documents = st.lists(pieces, max_size=22).map("".join)


@settings(max_examples=700, deadline=None)
@given(documents, st.integers(1, 9), st.sampled_from([b"", HEAD]))
def test_chunk_boundaries_make_no_difference(html: Any, size: int, head: Any) -> None:
    assert rewrite_html(html, size, head=head) == rewrite_html(html, head=head)


@settings(max_examples=500, deadline=None)
@given(documents, st.sampled_from([b"", HEAD]))
def test_rewriting_is_idempotent(html: Any, head: Any) -> None:
    once = rewrite_html(html, head=head)
    assert rewrite_html(once, head=head) == once


@settings(max_examples=400, deadline=None)
@given(documents)
def test_a_document_without_upstream_addresses_is_byte_identical(html: Any) -> None:
    mapper = UrlMapper(Origin("http", "elsewhere.test", 80), ROOT)
    assert rewrite_whole(HtmlScanner(mapper, ROOT, "http://elsewhere.test/"), html.encode()) == (
        html.encode()
    )


def parse(html: str | bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return html5lib.parse(html, treebuilder="etree")


def expected_value(tag: Any, name: str, value: Any, mapper: Any, svg: Any) -> Any:
    def map_url(url: Any) -> Any:
        return mapper.map(url, PAGE)

    if tag == "meta" and name == "content":
        return map_refresh(value, map_url)
    if not svg and (name == "xlink:href" or (name == "href" and tag not in ("a", "area", "link"))):
        return value
    kind, elements = ATTRIBUTES.get(name.encode("utf-8", "replace"), (None, None))
    if kind is None or (elements is not None and tag.lower().encode() not in elements):
        return value
    if kind is AddressSyntax.URL:
        return map_url(value)
    if kind is AddressSyntax.SET:
        return map_srcset(value, map_url)
    if kind is AddressSyntax.CSS:
        return rewrite_css(value.encode(), map_url).decode()
    return value


def flatten(root: Any, mapper: Any = None) -> Any:
    """Elements with attributes and texts, in order; addresses mapped if there is a mapper."""
    out: list[tuple[Any, ...]] = []
    for element in root.iter():
        if not isinstance(element.tag, str):
            out.append(("comment", element.text))
            continue
        tag = element.tag.split("}")[-1]
        attributes = {}
        for key, value in element.attrib.items():
            name = "xlink:href" if key.endswith("xlink}href") else str(key)
            if mapper is not None:
                svg = element.tag.startswith("{http://www.w3.org/2000/svg}")
                value = expected_value(tag, name, value, mapper, svg)
            attributes[name] = value
        text = element.text or ""
        if mapper is not None and tag == "style":
            text = rewrite_css(text.encode(), lambda url: mapper.map(url, PAGE)).decode()
        out.append((element.tag, attributes, text, element.tail or ""))
    return out


# Where html5lib's tree builder departs from the standard or reads bytes differently for reasons
# outside the tokenizer's reach (tokens that the tree builder throws away before a raw text element
# is entered), there is nothing to compare.
# (The standard lets </p> end foreign content; html5lib is older than that. Whether CDATA counts
# inside of an integration point depends on HTML elements that are not followed.)
UNCOMPARED = re.compile(
    r"<(?:noscript|template|math|mi|xmp|table|frameset|select)|\x00|<svg(?s:.*)</p|^//"
    r"|<(?:desc|title|foreignObject)(?s:.*)(?:<!\[CDATA|<svg)"
    r"|<svg(?s:.*)<style(?s:.*)(?:<!\[CDATA|&)",  # read up to the first markup, as it is spelled
    re.I,
)


@settings(max_examples=700, deadline=None)
@given(documents.filter(lambda html: UNCOMPARED.search(html) is None))
@example("<svg><a href=/x><p><![CDATA[x]]><title><a href=/y>")
@example("<svg><desc></svg><title><a href='/x'></title><a href='/y'>")
def test_the_oracle_sees_the_same_tree_but_for_mapped_addresses(html: Any) -> None:
    html = html.replace("\x00", "")
    mapper = UrlMapper(UPSTREAM, PREFIX)
    assert flatten(parse(rewrite_html(html))) == flatten(parse(html), mapper)
