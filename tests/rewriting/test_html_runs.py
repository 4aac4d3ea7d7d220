"""A run consumes only what the mapper leaves, although it decides by the spelling alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rewriting import pages
from tests.kit.scanner_feed import ScannerFeed
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.html import HtmlOptions, HtmlScanner
from zenzefi.rewriting.html.references import decode, encode
from zenzefi.rewriting.scanner import rewrite_whole
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "app.test", 80)
MOUNTS = {
    "prefix": Mount(MountKind.PREFIX, Origin("http", "gate.test", 8000), "/m"),
    "prefix over https": Mount(MountKind.PREFIX, Origin("https", "gate.test", 443), "/m"),
    "own origin": Mount(MountKind.ORIGIN, Origin("http", "seen.test", 80)),
    "client root": Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000)),
}
FOLDERS = ["", "a/", "a/b/", "a/b/c/", "a/b/c/d/e/"]
PIECES = (
    *("../", "./", "..", ".", "/", "//", "\\", "?", "#", ":", "@", "x", "y.html", "%2e", "%20"),
    *("http:", "https://", "ws:", "ht", "app.test", "cdn.test", ":80", "m", "&", " ", "\t", "é"),
)
spellings = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)
tags = st.sampled_from(
    [
        ("<a class=b href=", " id=x>", "</a>"),
        ("<link rel=icon href=", "/>", ""),
        ("<img alt='' src=", " width=1>", ""),
        ("<script defer src=", ">", "</script>"),
        ("<form action=", ">", "</form>"),
        ("<iframe src=", ">", "</iframe>"),
        ("<svg viewBox='0 0 1 1'><use href=", "/>", "</svg>"),
    ]
)


def scanner(mount: Mount, url: str, head: bytes = b"") -> HtmlScanner:
    return HtmlScanner(UrlMapper(UPSTREAM, mount), mount, url, HtmlOptions(head=head, shown=True))


def in_pieces(made: HtmlScanner, data: bytes, size: int) -> bytes:
    feed = ScannerFeed(made)
    out = [feed.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(out) + feed.finish()


@given(spellings, tags, st.sampled_from([b'"', b"'"]), st.sampled_from(FOLDERS))
@pytest.mark.parametrize("mount", MOUNTS)
def test_an_address_in_a_tag_becomes_what_the_mapper_says(
    mount: str, url: str, tag: tuple[str, str, str], quote: bytes, folder: str
) -> None:
    page = f"http://app.test/{folder}page.html"
    before, behind, end = (part.encode() for part in tag)
    raw = encode(url, quote)
    new = UrlMapper(UPSTREAM, MOUNTS[mount]).map(decode(raw), page)
    html = before + quote + raw + quote + behind + end
    made = rewrite_whole(scanner(MOUNTS[mount], page), html)
    value = made[len(before) + 1 : len(made) - len(behind) - len(end) - 1]
    assert decode(value) == new
    assert made.startswith(before + quote)
    assert made.endswith(quote + behind + end)


def test_the_base_element_changes_how_far_up_an_address_may_lead() -> None:
    prefix = MOUNTS["prefix"]
    link = b'<a href="../../x">'
    page = "http://app.test/a/b/page.html"
    assert rewrite_whole(scanner(prefix, page), link) == link
    shallow = rewrite_whole(scanner(prefix, page), b'<base href="/m/a/">' + link)
    assert shallow.endswith(b'<a href="/m/x">')
    deep = rewrite_whole(scanner(prefix, "http://app.test/x"), b'<base href="/a/b/">' + link)
    assert deep.endswith(link)
    foreign = rewrite_whole(scanner(prefix, page), b'<base href="http://cdn.test/">' + link)
    assert foreign.endswith(link)


def test_a_repeated_address_is_mapped_by_the_base_that_holds_there() -> None:
    link = b'<a href="/x">'
    made = rewrite_whole(
        scanner(MOUNTS["prefix"], "http://app.test/"),
        link * 2 + b'<base href="http://cdn.test/">' + link,
    )
    assert made == b'<a href="/m/x">' * 2 + b'<base href="http://cdn.test/">' + link


@pytest.mark.parametrize(
    "html",
    [
        b'<meta http-equiv="refresh" content="0; url=/x">',
        b'<meta name="a" HTTP-EQUIV="refresh" content="0; url=/x">',
        b'<svg viewBox="0 0 1 1"><path d="M0"/><a href="/x">x</a></svg>',
        b'<svg><title>a</title><image href="/x"/></svg>',
        b'<svg><path/><p></svg><img src="/x">',
        b'<svg><!-- </svg> <a href="/c"> --><use href="/x"/></svg>',
        b'<title>a</b></title><img src="/x">',
        b'<script integrity="sha256-x" src="/x"></script>',
        b'<script data-a="b"></script><img src="/x">',
    ],
)
def test_a_run_does_not_consume_a_url_that_changes(html: bytes) -> None:
    made = rewrite_whole(scanner(MOUNTS["prefix"], "http://app.test/"), html)
    assert b"/m/x" in made
    assert made.replace(b"/m/x", b"/x").replace(b"  ", b" ") == html.replace(
        b' integrity="sha256-x"', b""
    )


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("kind", pages.KINDS)
def test_a_documentation_page_comes_out_the_same_however_it_is_cut(kind: str, mount: str) -> None:
    data = pages.KINDS[kind](8000)
    page = "http://app.test/guide/light.html"
    whole = rewrite_whole(scanner(MOUNTS[mount], page, b"<script src=r></script>"), data)
    for size in (1, 63, 1000):
        made = scanner(MOUNTS[mount], page, b"<script src=r></script>")
        assert in_pieces(made, data, size) == whole
    if MOUNTS[mount].is_root:
        assert whole.replace(b"<script src=r></script>", b"", 1) == data
