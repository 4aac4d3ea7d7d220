"""The bodies that are rewritten, and how their headers change."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.kit.engine import ROOT, exchange, rewrite_body
from zenzefi.resources import bundled
from zenzefi.rewriting.codecs import CorruptBody
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.plugins.registry import Registry


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Registry([bundled("plugins")], entry_points=False))


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_upstream_addresses_in_a_script_become_gate_addresses(engine: Engine, size: int) -> None:
    source = rb'x = "https:\/\/app.example/a"; // https://app.example.org/ stays'
    out = rewrite_body(engine, exchange({"Content-Type": "text/javascript"}), source, size)
    expected = (
        rb'x = "http:\/\/gate.example:8000\/api\/v1\/proxy/a"; // https://app.example.org/ stays'
    )
    assert out == expected


def test_an_image_passes_untouched(engine: Engine) -> None:
    assert engine.plan(exchange({"Content-Type": "image/png"})) is None


@pytest.mark.parametrize(
    "changes", [{"status": 204}, {"status": 304}, {"status": 206}, {"method": "HEAD"}]
)
def test_a_response_without_a_whole_body_is_not_rewritten(
    engine: Engine, changes: dict[str, Any]
) -> None:
    assert engine.plan(exchange({"Content-Type": "text/javascript"}, **changes)) is None


def test_a_compressed_body_is_compressed_again(engine: Engine) -> None:
    source = gzip.compress(b'"https://app.example/"')
    headers = {
        "Content-Type": "text/javascript",
        "Content-Encoding": "gzip",
        "ETag": '"v1"',
        "Content-Length": "9",
    }
    exchanged = exchange(headers, {"Accept-Encoding": "gzip"})
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    sent = dict(rewrite.headers)
    assert sent["Content-Encoding"] == "gzip"
    assert sent["ETag"].startswith('W/"v1~zs')
    assert "Content-Length" not in sent
    assert (
        gzip.decompress(rewrite_body(engine, exchanged, source))
        == b'"http://gate.example:8000/api/v1/proxy/"'
    )


def test_a_client_that_wants_identity_gets_it(engine: Engine) -> None:
    source = gzip.compress(b'"https://app.example/"')
    headers = {"Content-Type": "text/javascript", "Content-Encoding": "gzip"}
    exchanged = exchange(headers, {"Accept-Encoding": "identity"})
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    assert "Content-Encoding" not in dict(rewrite.headers)
    assert rewrite_body(engine, exchanged, source) == b'"http://gate.example:8000/api/v1/proxy/"'


def test_a_redirect_stays_under_the_mount(engine: Engine) -> None:
    exchanged = exchange({"Location": "/x?y#z"}, status=302)
    assert engine.map_response_headers(exchanged) == [("Location", "/api/v1/proxy/x?y#z")]


def test_a_derived_etag_is_translated_back(engine: Engine) -> None:
    rewrite = engine.plan(exchange({"Content-Type": "text/css", "ETag": '"v1"'}))
    assert rewrite is not None
    derived = dict(rewrite.headers)["ETag"]
    sent = CIMultiDict({"If-None-Match": derived, "Accept-Encoding": "gzip, dcb"})
    engine.prepare_request(exchange({}, {"If-None-Match": derived}, status=0), sent)
    assert sent["If-None-Match"] == '"v1"'
    assert sent["Accept-Encoding"] == "gzip"
    response = engine.map_response_headers(
        exchange(
            {"ETag": '"v1"', "Content-Security-Policy": "a"}, {"If-None-Match": derived}, status=304
        )
    )
    assert response == [("ETag", derived)]


def test_an_etag_of_another_mount_is_not_sent_upstream(engine: Engine) -> None:
    at_root = engine.plan(exchange({"Content-Type": "text/css", "ETag": '"v1"'}, mount=ROOT))
    assert at_root is not None
    sent = CIMultiDict({"If-None-Match": dict(at_root.headers)["ETag"]})
    engine.prepare_request(exchange({}, status=0), sent)
    assert "If-None-Match" not in sent


def test_a_304_for_an_upstream_etag_keeps_it(engine: Engine) -> None:
    response = engine.map_response_headers(
        exchange({"ETag": '"v1"'}, {"If-None-Match": '"v1"'}, status=304)
    )
    assert response == [("ETag", '"v1"')]


def test_head_has_the_headers_of_get(engine: Engine) -> None:
    headers = {"Content-Type": "text/css", "ETag": '"v1"', "Content-Length": "9", "X": "y"}
    response = dict(engine.map_response_headers(exchange(headers, method="HEAD")))
    assert response["ETag"].startswith('W/"v1~zs')
    assert "Content-Length" not in response
    picture = {"Content-Type": "image/png", "ETag": '"v1"', "Content-Length": "9"}
    assert dict(engine.map_response_headers(exchange(picture, method="HEAD"))) == picture


def test_a_range_of_a_rewritten_type_is_not_requested(engine: Engine) -> None:
    sent = CIMultiDict({"Range": "bytes=0-9", "If-Range": '"v1"'})
    engine.prepare_request(exchange({}, status=0, destination="style"), sent)
    assert not sent
    sent = CIMultiDict({"Range": "bytes=0-9"})
    film = exchange({}, status=0, url="https://app.example/film.mp4")
    engine.prepare_request(film, sent)
    assert sent == {"Range": "bytes=0-9"}
    assert engine.must_refetch(exchange({"Content-Type": "text/css"}, status=206))
    assert not engine.must_refetch(exchange({"Content-Type": "video/mp4"}, status=206))


def test_headers_that_describe_the_upstreams_bytes_are_dropped(engine: Engine) -> None:
    headers = {
        "Content-Type": "text/css",
        "Content-Length": "1",
        "Accept-Ranges": "bytes",
        "Content-MD5": "x",
        "Repr-Digest": "x",
        "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT",
    }
    rewrite = engine.plan(exchange(headers))
    assert rewrite is not None
    assert set(dict(rewrite.headers)) == {"Content-Type", "Last-Modified"}


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_utf_16_is_rewritten_and_stays_utf_16(engine: Engine, size: int) -> None:
    headers = exchange({"Content-Type": "application/json; charset=utf-16le"})
    source = '{"ж": "https://app.example/ж"}'.encode("utf-16-le")
    expected = '{"ж": "http://gate.example:8000/api/v1/proxy/ж"}'.encode("utf-16-le")
    assert rewrite_body(engine, headers, source, size) == expected
    marked = exchange({"Content-Type": "application/json"})
    source = '["//app.example/"]'.encode("utf-16")
    assert rewrite_body(engine, marked, source, size).decode("utf-16") == (
        '["//gate.example:8000/api/v1/proxy/"]'
    )


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_markup_in_iso_2022_jp_is_rewritten_and_text_is_not(engine: Engine, size: int) -> None:
    source = '<meta charset="iso-2022-jp"><p>日本</p><a href="/x">語</a>'.encode("iso-2022-jp")
    out = rewrite_body(
        engine, exchange({"Content-Type": "text/html"}, destination="empty"), source, size
    )
    assert out == source.replace(b'"/x"', b'"/api/v1/proxy/x"')


def test_an_unknown_coding_passes_untouched(engine: Engine) -> None:
    headers = {"Content-Type": "text/html", "Content-Encoding": "dcb"}
    assert engine.plan(exchange(headers)) is None


def test_the_first_output_comes_after_the_first_chunk(engine: Engine) -> None:
    rewrite = engine.plan(exchange({"Content-Type": "text/html"}, destination="empty"))
    assert rewrite is not None
    assert rewrite.feed(b"<p>hello</p><a hr") == b"<p>hello</p>"
    stream = engine.plan(exchange({"Content-Type": "application/x-ndjson"}))
    assert stream is not None
    assert stream.feed(b'{"a": 1, "b": "x"}\n') == b'{"a": 1, "b": "x"}\n'


def test_an_expensive_page_is_rewritten_in_smaller_steps() -> None:
    seconds = iter(range(10**6))
    slow = Engine(
        Registry([bundled("plugins")], entry_points=False),
        budget=Budget(slow_steps=10**6, total=1e9),
        clock=lambda: float(next(seconds)),
    )
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    source = b"<p><a href=/x>y</a>" * 10_000
    for engine, most in (
        (slow, 2048),
        (Engine(Registry([bundled("plugins")], entry_points=False)), 64 * 1024),
    ):
        rewrite = engine.plan(exchange(headers, destination="empty"))
        assert rewrite is not None
        steps = list(rewrite.slices(gzip.compress(source)))
        assert max(map(len, steps[8:-1])) <= 2 * most  # an address grows by the prefix
        assert b"".join(steps) + rewrite.finish() == source.replace(b"/x", b"/api/v1/proxy/x")


def test_json_labelled_as_html_gets_no_runtime(engine: Engine) -> None:
    source = b'{"a": "https://app.example/x", "b": "text"}'
    headers = exchange({"Content-Type": "text/html"}, destination="document")
    assert rewrite_body(engine, headers, source) == (
        b'{"a": "http://gate.example:8000/api/v1/proxy/x", "b": "text"}'
    )


def test_at_a_root_a_page_without_the_origin_is_unchanged(engine: Engine) -> None:
    source = b'<HTML><A HREF=/x>x</A><script>fetch("/y")</script>'
    headers = exchange({"Content-Type": "text/html"}, mount=ROOT, destination="document")
    assert rewrite_body(engine, headers, source) == source


def test_the_runtime_gets_the_nonce_of_the_policy(engine: Engine) -> None:
    headers = {"Content-Type": "text/html", "Content-Security-Policy": "script-src 'nonce-abc'"}
    exchanged = exchange(headers, destination="document")
    assert b'nonce="abc"' in rewrite_body(engine, exchanged, b"<!doctype html><head></head>")
    strict = {"Content-Type": "text/html", "Content-Security-Policy": "script-src 'self'"}
    rewrite = engine.plan(exchange(strict, destination="document"))
    assert rewrite is not None
    policy = dict(rewrite.headers)["Content-Security-Policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    body = rewrite.feed(b"<!doctype html><head></head>") + rewrite.finish()
    assert len(nonce) >= 16
    assert f'nonce="{nonce}"'.encode() in body


def test_a_page_without_scripts_gets_no_runtime(engine: Engine) -> None:
    headers = {"Content-Type": "text/html", "Content-Security-Policy": "script-src 'none'"}
    source = b"<!doctype html><head></head>"
    assert rewrite_body(engine, exchange(headers, destination="document"), source) == source


def test_a_decompression_bomb_is_not_rewritten_and_then_refused() -> None:
    registry = Registry([bundled("plugins")], entry_points=False)
    engine = Engine(registry, budget=Budget(expanded=200_000, ratio=10))
    headers = {"Content-Type": "text/javascript", "Content-Encoding": "gzip"}
    rewrite = engine.plan(exchange(headers, {"Accept-Encoding": "identity"}))
    assert rewrite is not None
    with pytest.raises(CorruptBody):
        for _ in rewrite.slices(gzip.compress(b"\0" * 5_000_000)):
            pass
    bomb = gzip.compress(b"\0" * 500_000 + b"https://app.example/" * 3)
    rewrite = engine.plan(exchange(headers, {"Accept-Encoding": "identity"}))
    assert rewrite is not None
    out = b"".join(rewrite.slices(bomb)) + rewrite.finish()
    assert out.endswith(b"https://app.example/")  # beyond the budget: unrewritten, nothing lost
    assert len(out) == 500_060


@given(st.binary(max_size=400), st.sampled_from(["text/html", "text/css", "text/javascript", ""]))
def test_at_a_root_bytes_without_an_upstream_address_are_unchanged(data: bytes, label: str) -> None:
    if b"app.example" in data:
        return
    exchanged = exchange({"Content-Type": label} if label else {}, mount=ROOT)
    assert rewrite_body(SHARED, exchanged, data, 7) == data


SHARED = Engine(Registry([bundled("plugins")], entry_points=False))
