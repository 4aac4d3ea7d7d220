"""The tokens of an HTML document that plugins see and edit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.scanner_feed import ScannerFeed
from zenzefi.rewriting.html import TokenScanner
from zenzefi.rewriting.scanner import rewrite_whole


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
