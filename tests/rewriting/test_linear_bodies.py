"""Bodies from the upstream take time in proportion to their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from tests.kit.linear_work import MAPPER, MOUNT, PAGE, assert_linear, repeated
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.registry import Registry

REGISTRY = Registry([bundled("plugins")], entry_points=False)
ENGINE = Engine(REGISTRY)
KINDS = {
    "text/html": (
        *("<template>", "<noscript>", "<svg><style>&amp;", "<svg><style><![CDATA[x]]>"),
        *("<svg><g fill='url(", '<g fill="', "<link rel='", "<svg><animate values='/x;"),
        *("<a ", "<a", "<!--", "<!-", "<![CDATA[", "<!doctype ", "<script>", "</script", "<style>"),
        *("<svg>", "<math>", "<svg><style>", '<a href="', "<a href='/x' ", '<a title=">', "<a\n/"),
        *("<base href='a/'>", "<link href=x integrity=y>", "<meta http-equiv=refresh content=0 "),
        *('<img srcset="a, (', "(a, ", "&#0", "&amp", "&", "<p style='url(", "<?", "</", "<", "-"),
        *(
            "<table><svg><a>",
            "<script><!--<script>",
            "<iframe srcdoc='<a href=/x>'>",
            "=",
            "' ",
            '"',
        ),
        *("<a href=/api/v1/proxy/x>", "/api/v1/proxy", "<noscript>", "<template>", "<plaintext>"),
    ),
    "text/css": (
        *(
            "url(",
            "url('",
            'url("',
            "/*",
            "/**\t",
            "*",
            "@import ",
            "@import '",
            "image-set(",
            "\\",
        ),
        *("\\61", "src(", "((", "'", '"', "@namespace ", "-", "a-", "@", "/", "url(a)", ")", "{}"),
    ),
    "text/javascript": (
        *("app.internal", "//app.internal", "https://", "http:\\/\\/app.internal:8080", "\\", "/"),
        *("@app.internal", "a@", "%2f%2f", "\\u002f", "://", "http", "//u@"),
    ),
    "application/json": (
        *(
            "[",
            "{",
            '"',
            '"\\',
            '{"a":',
            "[[1],",
            "1,",
            "-",
            "1",
            "t",
            '"http://app.internal:8080/",',
        ),
        *(" ", "}", "]", ":", ",", '"a":"b",'),
    ),
    "image/svg+xml": (
        *("<a", "<a ", "<", "</", "<!--", "<![CDATA[", "<?", "<?xml-stylesheet ", "<!DOCTYPE ["),
        *("<a href='", "<a href='/x'>", "<g xml:base='a/'>", "<style>", "<style><![CDATA[", 'a="'),
        *("<a style='url(", " ", "'", '"', "]]>", "<use xlink:href='/x'/>", ":", "a:"),
    ),
    "application/dash+xml": (
        *("<BaseURL>a/</BaseURL>", "<P><BaseURL>a/</BaseURL>", "<BaseURL>", "<Location>", "<P>"),
        *("<Location> <![CDATA[x]]> ", "<SegmentTemplate media='/x'/>", "<BaseURL><![CDATA["),
    ),
    "application/rss+xml": ("<link>", "<link><![CDATA[", "<link>/x</link>", "<loc> ", "<![CDATA["),
    "application/xml": ("<loc>", "<loc><![CDATA[", "<!DOCTYPE", "<!DOCTYPE a '", "<loc>/x</loc>"),
    "application/vnd.apple.mpegurl": (
        *(
            "#",
            ",URI=",
            ':URI="',
            ',A-URI="',
            "A-",
            "a",
            "\n",
            "/x\n",
            '#EXT-X-KEY:URI="/x"\n',
            " ",
        ),
    ),
    "application/manifest+json": ('{"icons":[', '{"src":"/x"},', '{"start_url":"/x",'),
}


def run_body(kind: str, size: int) -> Callable[[bytes], bytes]:
    def run(body: bytes) -> bytes:
        exchange = ExchangeHead(
            method="GET",
            url=PAGE,
            status=200,
            mapper=MAPPER,
            mount=MOUNT,
            destination="document" if kind == "text/html" else None,
            request_headers=CIMultiDictProxy(CIMultiDict()),
            response_headers=CIMultiDictProxy(CIMultiDict({"Content-Type": kind})),
        )
        rewrite = ENGINE.plan(exchange)
        assert rewrite is not None
        parts = [rewrite.feed(body[at : at + size]) for at in range(0, len(body), size)]
        return b"".join(parts) + rewrite.finish()

    return run


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_a_body_takes_linear_work(kind: str, size: int) -> None:
    run = run_body(kind, size)
    for unit in KINDS[kind]:
        for before in (
            "",
            "<r>" if "xml" in kind else "<!doctype html><p>" if "html" in kind else "",
        ):
            make = repeated(before, unit, "")
            assert_linear(run, lambda length, make=make: make(length).encode(), 128 * 1024)  # type: ignore[misc]


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(deadline=None, max_examples=15)
@given(st.data())
def test_a_body_of_mixed_elements_takes_linear_work(kind: str, data: Any) -> None:
    pieces = st.lists(st.sampled_from(KINDS[kind]), min_size=1, max_size=4).map("".join)
    make = repeated(data.draw(pieces), data.draw(pieces), data.draw(pieces))
    assert_linear(run_body(kind, 16384), lambda length: make(length).encode(), 64 * 1024)


@pytest.mark.parametrize(
    "body",
    [
        "<a href='&#" + "0" * 5000 + "47;x'><a href='&#" + "9" * 5000 + ";'>",
        "<script type=speculationrules>" + '{"a":' * 400 + "1" + "}" * 400 + "</script>",
        "<script type=importmap>" + '{"imports":' * 900 + "{}" + "}" * 900 + "</script>",
        "<a href='http://app.internal:" + "0" * 5000 + "8080/'>",
        "<meta http-equiv=content-security-policy content='img-src a:" + "8" * 5000 + "'>",
        "<base href='" + "a/" * 30000 + "'>" + "<link href=x integrity=y>" * 1000,
    ],
)
def test_no_content_makes_a_bundled_plugin_fail(body: str) -> None:
    before = sum(entry.statistics.errors for entry in REGISTRY.entries)
    run_body("text/html", 16384)(b"<!doctype html>" + body.encode())
    assert sum(entry.statistics.errors for entry in REGISTRY.entries) == before


def test_an_overlong_playlist_line_passes_and_the_next_one_is_mapped() -> None:
    kind, long = "application/vnd.apple.mpegurl", b"/" + b"a" * 200_000
    for size in (1000, 1 << 20):
        out = run_body(kind, size)(b"#EXTM3U\n/x\n" + long + b"\n/y\r\n/z")
        assert out == b"#EXTM3U\n/api/v1/proxy/x\n" + long + b"\n/api/v1/proxy/y\r\n/api/v1/proxy/z"


def test_alternative_bases_of_a_manifest_resolve_against_the_same_parent() -> None:
    """ISO/IEC 23009-1, 5.6: each resolves against the parent's base; the first one is used."""
    body = (
        b"<MPD><BaseURL>a/b/</BaseURL><BaseURL>../../../c/</BaseURL><S media='../../../x'/></MPD>"
    )
    out = run_body("application/dash+xml", 7)(body)
    assert out == body.replace(b"../../../c/", b"/api/v1/proxy/c/")
