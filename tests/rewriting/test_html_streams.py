"""The HTML scanner on streams: early output, bounded memory and linear work."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.html_rewriting import HEAD, rewrite_html, scanner
from tests.kit.scanner_feed import ScannerFeed
from zenzefi.rewriting.html.tokenizer import TAG_LIMIT


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
def test_a_tag_beyond_the_limit_passes_and_the_next_one_is_mapped(quote: str) -> None:
    long = f"<img src={quote}{'/x>' if quote else '/x'}{'y' * 3 * TAG_LIMIT}{quote} alt='>'>"
    html = long + "<a href=/x>"
    out = rewrite_html(html, 65536)
    assert out == long + "<a href=/m/x>"


def test_a_tag_of_many_attributes_beyond_the_limit_passes_to_its_end() -> None:
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
def test_an_attribute_value_beyond_the_limit_passes_unchanged(tag: str) -> None:
    assert rewrite_html(tag + "<a href=/x>") == tag + "<a href=/m/x>"
    assert rewrite_html(tag + "<a href=/x>", 65536) == tag + "<a href=/m/x>"
