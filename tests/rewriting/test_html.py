"""The HTML scanner: the addresses that are mapped, and everything else unchanged."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.kit.html_rewriting import PREFIX, ROOT, rewrite_html, scanner
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.scanner import rewrite_whole


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
def test_text_that_is_not_an_address_is_unchanged(html: str) -> None:
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


def test_hashes_in_an_import_map_go_with_those_in_markup() -> None:
    hashes = '{"/a.js": "x", "./b.js": "x", "http://app.test/c": "x", "//cdn.test/d": "y"}'
    page = '<script type=importmap>{"imports": {}, "integrity": %s}</script>'
    assert '"integrity":{"//cdn.test/d":"y"}' in rewrite_html(page % hashes).replace(" ", "")
    kept = rewrite_html(page % hashes, keep_integrity=lambda url: url.endswith(("/a.js", "/c")))
    assert '"integrity":{"/m/a.js":"x","' in kept.replace(" ", "")
    assert "b.js" not in kept


def test_integrity_is_kept_for_resources_that_are_not_rewritten() -> None:
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


def test_inline_scripts_go_to_the_scanner_of_their_type() -> None:
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
def test_the_fast_and_the_slow_attribute_parser_agree(tag: str, mount: Any) -> None:
    """Runs eat usual tags; an attribute in capitals is read with care."""
    for url in ("/x", "'/x'", '"/x?a&amp;b"', "http://app.test/x", '"x y"', "'#f'", "/x/"):
        usual = tag.format(url)
        careful = re.sub(
            r"(?<=[ /])[a-z]+(?==)", lambda found: found[0].upper(), usual, flags=re.ASCII
        )
        assert rewrite_html(careful, mount=mount).lower() == (
            rewrite_html(usual, mount=mount).lower()
        )
