"""One step of work is bounded: what exceeds a bound passes, and what follows is still mapped."""

from __future__ import annotations

import pytest

from tests.kit.engine import PREFIX, exchange, rewrite_body
from zenzefi.resources import bundled
from zenzefi.rewriting import csp
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
MAPPED = b"/api/v1/proxy/x"
LINKS = {
    "image/svg+xml": b'<use href="/x"/>',
    "application/vnd.apple.mpegurl": b'#EXT-X-KEY:METHOD=AES,URI="/x"\n',
    "text/html": b'<img src="/x">',
}


def rewritten(kind: str, body: bytes) -> bytes:
    return rewrite_body(ENGINE, exchange({"Content-Type": kind}), body, 16384)


@pytest.mark.parametrize(
    ("kind", "large"),
    [
        ("image/svg+xml", b"<a " + b"b='' " * 20_000 + b"href='/y'></a>"),
        ("image/svg+xml", b"<a style='" + b"url(/y)" * 2000 + b"'></a>"),
        ("image/svg+xml", b"<style>" + b"a{b:url(/y)}" * 2000 + b"</style>"),
        ("image/svg+xml", b"<img srcset='" + b"/y 1x," * 2000 + b"'/>"),
        (
            "text/html",
            b'<script type="importmap">{"imports":{'
            + b",".join(b'"a%d":"/y"' % i for i in range(9000))
            + b"}}</script>",
        ),
    ],
)
def test_a_part_that_would_take_too_long_passes_unchanged(kind: str, large: bytes) -> None:
    out = rewritten(kind, b"<svg>" + large + LINKS[kind])
    assert large in out
    assert LINKS[kind].replace(b"/x", MAPPED) in out


def test_of_one_tag_or_line_the_first_urls_are_mapped() -> None:
    tag = b"<a " + b"href='/y' " * 5000 + b"/>"
    out = rewritten("image/svg+xml", tag + LINKS["image/svg+xml"])
    assert out.startswith(b"<a href='/api/v1/proxy/y'")
    assert out.endswith(LINKS["image/svg+xml"].replace(b"/x", MAPPED))
    line = b"#X:" + b'URI="/y",' * 5000 + b"\n"
    kind = "application/vnd.apple.mpegurl"
    out = rewritten(kind, line + LINKS[kind])
    assert out.startswith(b'#X:URI="/api/v1/proxy/y"')
    assert out.endswith(LINKS[kind].replace(b"/x", MAPPED))


def test_a_large_import_map_is_mapped() -> None:
    imports = b",".join(b'"a%d":"/x"' % i for i in range(6000))
    page = b'<script type="importmap">{"imports":{' + imports + b"}}</script>"
    assert rewritten("text/html", page).count(MAPPED) == 6000


def test_of_a_policy_the_first_sources_are_mapped() -> None:
    upstream = UrlMapper(exchange({}).mapper.upstream, PREFIX)
    value = "img-src " + "https://app.example/x " * 20_000
    out = csp.map_policy(value, upstream, PREFIX, "https://app.example/")
    assert out.startswith("img-src http://gate.example:8000/api/v1/proxy/x ")
    assert out.endswith("https://app.example/x ")


def test_a_policy_without_the_upstream_stays_the_same_object() -> None:
    value = "default-src 'self' https://cdn.example; report-to group"
    assert csp.map_policy(value, exchange({}).mapper, PREFIX, "https://app.example/") is value
