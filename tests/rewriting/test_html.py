"""The HTML scanner by the rules of the HTML Standard, with html5lib as the oracle."""

import re
import warnings
from typing import Any

import html5lib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.kit.scanner_feed import ScannerFeed
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.css import rewrite_css
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import HtmlOptions, HtmlScanner, TokenScanner
from zenzefi.rewriting.html.table import ATTRIBUTES, AddressSyntax
from zenzefi.rewriting.html.tokenizer import TAG_LIMIT
from zenzefi.rewriting.microsyntax import map_refresh, map_srcset
from zenzefi.rewriting.scanner import rewrite_whole
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "app.test", 80)
PREFIX = Mount(MountKind.PREFIX, Origin("http", "gate.test", 8000), "/m")
ROOT = Mount(MountKind.ORIGIN, Origin("http", "seen.test", 80))
PAGE = "http://app.test/dir/page.html"
HEAD = b"<script src=/m/r.js></script>"


def scanner(mount: Any = PREFIX, **options: Any) -> Any:
    return HtmlScanner(UrlMapper(UPSTREAM, mount), mount, PAGE, HtmlOptions(**options))


def rewrite_html(
    html: str | bytes, size: int | None = None, mount: Any = PREFIX, **options: Any
) -> str:
    data = html.encode() if isinstance(html, str) else html
    if size is None:
        return rewrite_whole(scanner(mount, **options), data).decode("utf-8", "surrogateescape")
    feed = ScannerFeed(scanner(mount, **options))
    out = [feed.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return (b"".join(out) + feed.finish()).decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<a href=/x>", "<a href=/m/x>"),
        ("<A HREF = '/x' b>", "<A HREF = '/m/x' b>"),
        ('<a\n\thref="/x"/>', '<a\n\thref="/m/x"/>'),
        ('<a b="c"href="/x">', '<a b="c"href="/m/x">'),
        ("<a/href=/x>", "<a/href=/m/x>"),
        ("<a title='>' href='/x'>", "<a title='>' href='/m/x'>"),
        ('<a =" href=/x>', '<a =" href=/m/x>'),
        ("<a b=c' href='/x'>", "<a b=c' href='/m/x'>"),
        ("<img src=/a><img src='../../../b'>", "<img src=/m/a><img src='/m/b'>"),
        ('<a href="http://app.test/x">', '<a href="http://gate.test:8000/m/x">'),
        ('<a href="//app.test/x">', '<a href="//gate.test:8000/m/x">'),
        ('<a href="&#x2F;x&amp;y&z">', '<a href="/m/x&amp;y&z">'.replace("/m/", "/m&#x2F;")),
        ('<a href="&sol;x">', '<a href="/m&sol;x">'),
        ('<a href="/x?a&copy=1">', '<a href="/m/x?a&copy=1">'),
        ("<a href='/it&#39;s'>", "<a href='/m/it&#39;s'>"),
        ('<a href="\n/x">', '<a href="/m/x">'),
        (
            "<form action=/x><button formaction='/y'>",
            "<form action=/m/x><button formaction='/m/y'>",
        ),
        ("<video poster=/p src=/v>", "<video poster=/m/p src=/m/v>"),
        ("<object data=/o>", "<object data=/m/o>"),
        ("<a ping='/p  x http://app.test/q'>", "<a ping='/m/p  x http://gate.test:8000/m/q'>"),
        ("<td background=/b>", "<td background=/m/b>"),
        ("<blockquote cite=/c>", "<blockquote cite=/m/c>"),
        ("<html manifest=/c>", "<html manifest=/m/c>"),
        (
            "<img srcset='/a 1x, /b,c 2x,/d'>",
            "<img srcset='/m/a 1x, /m/b,c 2x,/m/d'>",
        ),
        ("<link imagesrcset='/a 1w'>", "<link imagesrcset='/m/a 1w'>"),
        ("<p style='background:url(/x)'>", "<p style='background:url(/m/x)'>"),
        (
            '<p style="background:url(&quot;/x&quot;)">',
            '<p style="background:url(&quot;/m/x&quot;)">',
        ),
        ("<style>a{b:url(/x)}</style>", "<style>a{b:url(/m/x)}</style>"),
        ("<STYLE>@import '/x'</Style >", "<STYLE>@import '/m/x'</Style >"),
        (
            "<meta http-equiv=refresh content='0;url=/x'>",
            "<meta http-equiv=refresh content='0;url=/m/x'>",
        ),
        (
            "<meta content='5; URL=\"/x\" y' HTTP-EQUIV=Refresh>",
            "<meta content='5; URL=\"/m/x\" y' HTTP-EQUIV=Refresh>",
        ),
        ("<base href=/b/><a href=../../x>", "<base href=/m/b/><a href=/m/x>"),
        (
            "<base href='http://app.test'><a href=x>",
            "<base href='http://gate.test:8000/m/'><a href=x>",
        ),
        ("<base href=//cdn.test/><a href=/x>", "<base href=//cdn.test/><a href=/x>"),
        (
            "<base href=/a/><base href=//cdn.test/><a href=/x>",
            "<base href=/m/a/><base href=//cdn.test/><a href=/m/x>",
        ),
        (
            "<iframe srcdoc='<a href=&quot;/x&quot;>&amp;amp;'></iframe>",
            "<iframe srcdoc='<a href=\"/m/x\">&amp;amp;'></iframe>",
        ),
        ("<template><a href=/x></template>", "<template><a href=/m/x></template>"),
        ("<noscript><img src=/x></noscript>", "<noscript><img src=/m/x></noscript>"),
        ("<svg><use xlink:href=/x#y /></svg>", "<svg><use xlink:href=/m/x#y /></svg>"),
        (
            "<svg><style>@import '/x';</style><use href=/y /></svg>",
            "<svg><style>@import '/m/x';</style><use href=/m/y /></svg>",
        ),
        (
            "<svg><math><mtext><textarea><use href=/x /></svg>",
            "<svg><math><mtext><textarea><use href=/m/x /></svg>",
        ),
        ("<a href='/x\0'>", "<a href='/m/x\0'>"),
        (
            "<svg><image href=/x /><path d='M'/></svg>",
            "<svg><image href=/m/x /><path d='M'/></svg>",
        ),
        ("<svg><style>a<b></style><a href=/x>", "<svg><style>a<b></style><a href=/m/x>"),
        ("<svg><title><a href=/x></title></svg>", "<svg><title><a href=/m/x></title></svg>"),
        ("<svg><![CDATA[<a href=/y>]]><a href=/x>", "<svg><![CDATA[<a href=/y>]]><a href=/m/x>"),
        ("<svg><p><![CDATA[<a>]]><a href=/x>", "<svg><p><![CDATA[<a>]]><a href=/m/x>"),
        ("<svg></svg><title><a href=/y></title>", "<svg></svg><title><a href=/y></title>"),
        (
            "<svg><foreignObject><style><a href=/y></style></foreignObject></svg>",
            "<svg><foreignObject><style><a href=/y></style></foreignObject></svg>",
        ),
        ("<!--><a href=/x>-->", "<!--><a href=/m/x>-->"),
        ("<!---><a href=/x>-->", "<!---><a href=/m/x>-->"),
        ("<!-- --!><a href=/x>", "<!-- --!><a href=/m/x>"),
        ("</ x><a href=/x>", "</ x><a href=/m/x>"),
        ("</><a href=/x>", "</><a href=/m/x>"),
        ("<?php > <a href=/x>", "<?php > <a href=/m/x>"),
        ("<!doctype html '><a href=/x>", "<!doctype html '><a href=/m/x>"),
        ("a < b <a href=/x>", "a < b <a href=/m/x>"),
        ('"Quoted" <a href=/x>', '"Quoted" <a href=/m/x>'),
        ("[<a href=/x>back</a>]", "[<a href=/m/x>back</a>]"),
        ("{x} <a href=/x>", "{x} <a href=/m/x>"),
        ("<a<b href=/x>", "<a<b href=/x>"),
        ("</p title='>'><a href=/x>", "</p title='>'><a href=/m/x>"),
        (
            "<script>'<a href=/y>'</script><a href=/x>",
            "<script>'<a href=/y>'</script><a href=/m/x>",
        ),
        (
            "<script><!--<script></script><a href=/y></script><a href=/x>",
            "<script><!--<script></script><a href=/y></script><a href=/m/x>",
        ),
        (
            "<script><!--<script>--></script><a href=/x>",
            "<script><!--<script>--></script><a href=/m/x>",
        ),
        (
            "<script><!--><script></script><a href=/x>",
            "<script><!--><script></script><a href=/m/x>",
        ),
        (
            "<textarea><a href=/y></textarea><a href=/x>",
            "<textarea><a href=/y></textarea><a href=/m/x>",
        ),
        (
            "<title></titlex><a href=/y></title\n><a href=/x>",
            "<title></titlex><a href=/y></title\n><a href=/m/x>",
        ),
        (
            '<script type=importmap>{"imports":{"a":"/a.js","/b/":"/c/","d":"e"}}</script>',
            '<script type=importmap>{"imports":{"a":"/m/a.js","/b/":"/m/c/","/m/b/":"/m/c/",'
            '"d":"e"}}</script>',
        ),
        (
            '<script type=speculationrules>{"prefetch":[{"urls":["/a","b"]}]}</script>',
            '<script type=speculationrules>{"prefetch":[{"urls":["/m/a","b"]}]}</script>',
        ),
        ("<link integrity=x href=/s rel=stylesheet>", "<link href=/m/s rel=stylesheet>"),
        (
            "<link integrity=x href=//cdn.test/s rel=stylesheet>",
            "<link integrity=x href=//cdn.test/s rel=stylesheet>",
        ),
    ],
)
def test_addresses_are_mapped_and_nothing_else_changes(html: str, expected: Any) -> None:
    assert rewrite_html(html) == expected
    assert rewrite_html(expected) == expected
    for size in (1, 2, 3, 7):
        assert rewrite_html(html, size) == expected


@pytest.mark.parametrize(
    "html",
    [
        "<!-- <a href=/x> -->",
        "<!-- <a href=/x>",
        "<plaintext><a href=/x></plaintext><a href=/x>",
        "<xmp><a href=/x></xmp>",
        "<iframe><a href=/x></iframe>",
        "<noembed><a href=/x></noembed>",
        "<noframes><a href=/x></noframes>",
        "<a title='<a href=/x>'>",
        "<a data-href=/x hrefx=/x xhref=/x>",
        "<div href=/x src=/x action=/x data=/x>",
        "<my-element src=/x>",
        "<a href='x' href='/y'>",
        "<a href='/x",
        "<a href=/x",
        "<a href=>",
        "<a href>",
        "<a href='#x'><a href='?x'><a href='x/y'><a href=''>",
        "<a href='javascript:x(\"/y\")'><a href=mailto:x@y>",
        "<img src='data:image/png;base64,/x'>",
        "<img srcset='data:,/a 1x'>",
        "<img srcset=','>",
        "<meta name=refresh content='0;url=/x'>",
        "<meta http-equiv=refresh content='x;url=/x'>",
        "<meta http-equiv=refresh content='0'>",
        "<script>location = '/x'</script>",
        "<script src=x>'http://app.test/'</script>",
        "<script type=importmap>{not json: '/x'}</script>",
        "<input value=/x><param value=/x><option value=/x>",
        "<",
        "</",
        "<!",
        "<!-",
        "<a",
        "<a ",
        "&",
        "text only",
        '{"html": "<a href=\\"/x\\">"}',
        '["<a href=/x>"]',
        "callback({'a': '<a href=/x>'})",
        "\ufeff<p>\x00\r\n<P CLASS=a  B>",
    ],
)
def test_what_is_no_address_stays(html: str) -> None:
    assert rewrite_html(html) == html
    for size in (1, 2, 3, 7):
        assert rewrite_html(html, size) == html


def test_in_a_root_mount_only_absolute_addresses_change() -> None:
    html = "<a href=/x><a href='http://app.test/y'><img srcset='/a, //app.test/b 2x'>"
    assert rewrite_html(html, mount=ROOT) == (
        "<a href=/x><a href='http://seen.test/y'><img srcset='/a, //seen.test/b 2x'>"
    )
    kept = "<link integrity=x href=/s rel=stylesheet>"
    assert rewrite_html(kept, mount=ROOT) == kept


def test_integrity_stays_where_the_bytes_are_known_to_stay() -> None:
    html = "<script src=/a.js integrity=x></script><script src=/b.js integrity=y></script>"
    out = rewrite_html(html, keep_integrity=lambda url: url == "http://app.test/a.js")
    assert out == "<script src=/m/a.js integrity=x></script><script src=/m/b.js></script>"


def test_bytes_beyond_ascii_survive_in_any_encoding() -> None:
    data = b"\xff<a title=\xe9 href='/\xe9\xff'>\x81</a>"
    assert rewrite_whole(scanner(), data) == b"\xff<a title=\xe9 href='/m/\xe9\xff'>\x81</a>"


def test_a_character_from_a_reference_is_written_as_one() -> None:
    assert rewrite_whole(scanner(), b"<a href='//app.test/&eacute;\xe9'>") == (
        b"<a href='//gate.test:8000/m/&eacute;\xe9'>"
    )
    assert rewrite_whole(scanner(), b"<img srcset='/&eacute;\xe9 1x'>") == (
        b"<img srcset='/m/&eacute;\xe9 1x'>"
    )


class Upper:
    """Rewrites scripts in a way that shows."""

    def scan(self, window: bytes, final: bool) -> tuple[Any, ...]:
        return len(window), [
            Edit(m.start(), m.end(), m[0].upper()) for m in re.finditer(b"x", window)
        ]


def test_inline_scripts_go_to_who_reads_their_kind() -> None:
    kinds = []

    def scripts(kind: Any) -> Any:
        kinds.append(kind)
        return Upper() if kind != "text/template" else None

    html = (
        "<script>ax</script><script type=' Module'>bx</script>"
        "<script type=text/template>cx</script><script src=y>dx</script><p>x"
    )
    expected = (
        "<script>aX</script><script type=' Module'>bX</script>"
        "<script type=text/template>cx</script><script src=y>dx</script><p>x"
    )
    for size in (None, 1, 5):
        kinds.clear()
        assert rewrite_html(html, size, scripts=scripts) == expected
        assert kinds == ["", "module", "text/template"]


def test_a_policy_in_a_meta_element_goes_to_its_mapper() -> None:
    html = '<meta http-equiv="Content-Security-Policy" content="default-src \'self\'">'
    assert rewrite_html(html, csp=lambda policy: policy + "; x") == html.replace(
        "'self'", "'self'; x"
    )


# --- the head ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<!doctype html><html><head>", "<title>x</title></head><body></body></html>"),
        ("<!DOCTYPE html>\n<!-- c -->\n<html lang=en>\n<head a=b>", "\n<meta charset=utf-8>"),
        ("\ufeff  ", "<p>x"),
        ("<!doctype html>", "<p>x"),
        ("<!doctype html>", "<title>x</title>"),
        ("<html>", "<body>x"),
        ("<html>\n", "</head>x"),
        ("<?xml version='1.0'?>\n<!---->", "<p>"),
        ("</p>", "<p>"),
        ("", "text <b>bold</b>"),
        ("<!doctype html>", "text"),
        ("<!doctype html>", "< x"),
        ("<!doctype html><head>", "<svg></svg>"),
    ],
)
def test_the_snippet_goes_where_the_head_begins_and_only_once(before: str, after: str) -> None:
    expected = before + HEAD.decode() + after
    for size in (None, 1, 2, 7):
        assert rewrite_html(before + after, size, head=HEAD) == expected
        assert rewrite_html(expected, size, head=HEAD) == expected


@pytest.mark.parametrize(
    "html",
    [
        "",
        " \n",
        "plain text",
        "<!doctype html>",
        "<!-- c -->",
        '{"a": 1}',
        "alert('<p>')",
        "// <p>",
    ],
)
def test_what_is_no_document_gets_no_snippet(html: str) -> None:
    for size in (None, 1, 7):
        assert rewrite_html(html, size, head=HEAD) == html


def test_a_document_in_an_attribute_gets_the_snippet_too() -> None:
    out = rewrite_html("<p><iframe srcdoc='<p>x'></iframe>", head=HEAD)
    assert out == f"{HEAD.decode()}<p><iframe srcdoc='{HEAD.decode()}<p>x'></iframe>"


# --- streams ----------------------------------------------------------------------------------


def test_output_comes_with_the_first_chunk() -> None:
    feed = ScannerFeed(scanner(head=HEAD))
    assert feed.feed(b"<!doctype html><a href=/x>y</a><a hre") == (
        b"<!doctype html>" + HEAD + b"<a href=/m/x>y</a>"
    )


ADVERSARIAL = {
    "open tag": (b"<a ", b"x "),
    "open quote": (b"<a href='", b"/x"),
    "open quote of brackets": (b'<a b="', b"<a>"),
    "unquoted": (b"<a href=", b"/"),
    "equals signs": (b"<a ", b"="),
    "slashes": (b"<a ", b"/"),
    "names": (b"<a ", b"b=c "),
    "names without a value": (b"<img", b" disabled"),
    "usual attributes": (b"<a", b' class="b" href="/x"'),
    "quotes in names": (b"<a ", b"'\""),
    "comment": (b"<!--", b"-"),
    "comment of bangs": (b"<!--", b"--!"),
    "bogus comment": (b"<!x", b"<"),
    "cdata": (b"<svg><![CDATA[", b"]"),
    "script": (b"<script>", b"<!--<script"),
    "script of ends": (b"<script>", b"</script"),
    "dashes in a script": (b"<script><!--", b"-"),
    "style": (b"<style>", b"url("),
    "title": (b"<title>", b"</titl"),
    "brackets": (b"", b"<"),
    "tag names": (b"<", b"a"),
    "opened tags": (b"", b"<a"),
    "end tags": (b"", b"</a"),
    "doctype": (b"<!doctype ", b"x"),
    "import map": (b"<script type=importmap>", b'{"a":'),
    "white space": (b"", b" \n"),
    "open elements": (b"", b"<svg>"),
    "points": (b"", b"<svg><title>"),
    "text": (b"", b"x &amp; y"),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_hostile_input_is_bounded_and_costs_linear_work(name: str) -> None:
    opening, filler = ADVERSARIAL[name]
    inner = scanner(head=HEAD)
    seen = 0

    class Counting:
        def scan(self, window: bytes, final: bool) -> Any:
            nonlocal seen
            seen += len(window)
            return inner.scan(window, final)

    feed = ScannerFeed(Counting())
    piece = filler * (8192 // len(filler))
    total, out = len(opening), len(feed.feed(opening))
    while total < 2 * TAG_LIMIT + 5 * len(piece):
        out += len(feed.feed(piece))
        total += len(piece)
        assert len(feed._carry) <= 2 * TAG_LIMIT + len(piece)
    out += len(feed.finish())
    assert out in (total, total + len(HEAD))
    assert seen < 6 * total


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_tag_beyond_the_limit_passes_and_what_follows_is_read_right(quote: str) -> None:
    long = f"<img src={quote}{'/x>' if quote else '/x'}{'y' * 3 * TAG_LIMIT}{quote} alt='>'>"
    html = long + "<a href=/x>"
    out = rewrite_html(html, 65536)
    assert out == long + "<a href=/m/x>"


def test_a_tag_that_never_ends_is_let_go_and_followed_to_its_end() -> None:
    long = "<img " + "b " * (2 * TAG_LIMIT) + "/>"
    assert rewrite_html(long + "<a href=/x>", 65536) == long + "<a href=/m/x>"
    with_head = rewrite_html(long + "<a href=/x>", 65536, head=HEAD)
    assert with_head == long + HEAD.decode() + "<a href=/m/x>"


@pytest.mark.parametrize(
    "tag",
    [
        "<img srcset='" + "/x 1x," * 5000 + "'>",
        "<a ping='" + "/x " * 5000 + "'>",
        "<p style='" + "b:url(/x);" * 5000 + "'>",
        "<iframe srcdoc='" + "<a href=/x>" * 5000 + "'></iframe>",
        "<a href='" + "../" * 30_000 + "'>",
        "<img alt=x src='/" + "&amp;" * 20_000 + "' srcset=''>",
    ],
    ids=["srcset", "ping", "style", "srcdoc", "href", "references"],
)
def test_a_value_that_would_hold_up_everybody_passes_as_it_is(tag: str) -> None:
    assert rewrite_html(tag + "<a href=/x>") == tag + "<a href=/m/x>"
    assert rewrite_html(tag + "<a href=/x>", 65536) == tag + "<a href=/m/x>"


@pytest.mark.parametrize("mount", [PREFIX, ROOT])
@pytest.mark.parametrize(
    "tag",
    [
        "<a href={}>",
        "<a class='b' href={} id=c>",
        "<a target=_blank href={} data-x='>' />",
        "<img alt src={} width=1 crossorigin>",
        "<input disabled type=image src={}>",
        "<form method=get action={} novalidate>",
        "<link rel=x href={} media='a'/>",
        "<track kind=x src={} srclang=en default>",
        "<a disabled/href={}>",
        "<a class=b'c href={}>",
        "<a class= href={} >",
        "<a href=x href={}>",
        "<a data-href={} href=/m/y>",
    ],
)
def test_the_usual_way_and_the_careful_way_read_the_same(tag: str, mount: Any) -> None:
    """Runs eat usual tags; an attribute in capitals is read with care."""
    for url in ("/x", "'/x'", '"/x?a&amp;b"', "http://app.test/x", '"x y"', "'#f'", "/x/"):
        usual = tag.format(url)
        careful = re.sub(
            r"(?<=[ /])[a-z]+(?==)", lambda found: found[0].upper(), usual, flags=re.ASCII
        )
        assert rewrite_html(careful, mount=mount).lower() == (
            rewrite_html(usual, mount=mount).lower()
        )


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
def test_the_cut_of_the_chunks_makes_no_difference(html: Any, size: int, head: Any) -> None:
    assert rewrite_html(html, size, head=head) == rewrite_html(html, head=head)


@settings(max_examples=500, deadline=None)
@given(documents, st.sampled_from([b"", HEAD]))
def test_rewriting_is_idempotent(html: Any, head: Any) -> None:
    once = rewrite_html(html, head=head)
    assert rewrite_html(once, head=head) == once


@settings(max_examples=400, deadline=None)
@given(documents)
def test_a_document_that_names_nothing_of_the_upstreams_leaves_byte_identical(html: Any) -> None:
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


# --- tokens for plugins -----------------------------------------------------------------------


def tokens_of(html: str, tags: Any = None, size: int | None = None) -> Any:
    found = []

    def on_token(token: Any) -> tuple[Any, ...]:
        found.append((token.kind, token.name, dict(token.attributes), token.raw))
        return ()

    feed = ScannerFeed(TokenScanner(on_token, tags))
    data = html.encode()
    size = size or max(1, len(data))
    out = b"".join(feed.feed(data[i : i + size]) for i in range(0, len(data), size))
    assert out + feed.finish() == data
    return found


def test_a_plugin_sees_every_token() -> None:
    assert tokens_of("<!doctype html>a<P Class='b&amp;c' d>e<!--f--></P><script>g<h></script>") == [
        ("doctype", "", {}, b"<!doctype html>"),
        ("text", "", {}, b"a"),
        ("start", "p", {"class": "b&c", "d": ""}, b"<P Class='b&amp;c' d>"),
        ("text", "", {}, b"e"),
        ("comment", "", {}, b"<!--f-->"),
        ("end", "p", {}, b"</P>"),
        ("start", "script", {}, b"<script>"),
        ("end", "script", {}, b"</script>"),
    ]


@pytest.mark.parametrize("size", [None, 1, 5])
def test_a_plugin_that_names_tags_sees_only_those(size: int | None) -> None:
    html = "<body><p>x</p><a href=/x>y</a><!-- <a> --><script>'<a>'</script></body>"
    assert tokens_of(html, ("a", "/body"), size) == [
        ("start", "a", {"href": "/x"}, b"<a href=/x>"),
        ("end", "body", {}, b"</body>"),
    ]


def test_a_plugin_edits_tokens() -> None:
    def on_token(token: Any) -> list[Any]:
        if token.kind == "start" and token.name == "a":
            return [token.set("HREF", 'x"y'), token.set("rel", "z"), token.before(b"[")]
        if token.kind == "end":
            return [token.after(b"]")]
        if token.kind == "comment":
            return [token.replace(b"")]
        return []

    out = rewrite_whole(TokenScanner(on_token), b"<a  href = '/x' b>c<!--d--></a><a>")
    assert out == (b'[<a rel="z"  href="x&quot;y" b>c</a>][<a HREF="x&quot;y" rel="z">')


def test_only_a_start_tag_has_attributes_to_set() -> None:
    def on_token(token: Any) -> list[Any]:
        return [token.set("x", "y")]

    with pytest.raises(ValueError, match="start tag"):
        rewrite_whole(TokenScanner(on_token), b"text")
