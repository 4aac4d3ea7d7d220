"""Which bodies are rewritten, how, and what becomes of their headers."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine, Exchange
from zenzefi.rewriting.mount import Mount, MountKind, Origin
from zenzefi.rewriting.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("https", "app.example", 443)
GATE = Origin("http", "gate.example", 8000)
PREFIX = Mount(MountKind.PREFIX, GATE, "/api/v1/proxy")
ROOT = Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Registry([bundled("plugins")], entry_points=False))


def exchange(
    response: dict[str, str],
    request: dict[str, str] | None = None,
    mount: Mount = PREFIX,
    **changes: Any,
) -> Exchange:
    fields: dict[str, Any] = {
        "method": "GET",
        "url": "https://app.example/dir/page?q=1",
        "status": 200,
        "mapper": UrlMapper(UPSTREAM, mount),
        "mount": mount,
        "destination": None,
        "request_headers": CIMultiDictProxy(CIMultiDict(request or {})),
        "response_headers": CIMultiDictProxy(CIMultiDict(response)),
    }
    return Exchange(**{**fields, **changes})


def run(engine: Engine, exchanged: Exchange, data: bytes, size: int = 65536) -> bytes:
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    parts = [rewrite.feed(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(parts) + rewrite.finish()


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_script_that_names_the_upstream_names_the_gate_instead(engine: Engine, size: int) -> None:
    source = rb'x = "https:\/\/app.example/a"; // https://app.example.org/ stays'
    out = run(engine, exchange({"Content-Type": "text/javascript"}), source, size)
    expected = (
        rb'x = "http:\/\/gate.example:8000\/api\/v1\/proxy/a"; // https://app.example.org/ stays'
    )
    assert out == expected


def test_an_image_passes_untouched(engine: Engine) -> None:
    assert engine.plan(exchange({"Content-Type": "image/png"})) is None


@pytest.mark.parametrize(
    "changes", [{"status": 204}, {"status": 304}, {"status": 206}, {"method": "HEAD"}]
)
def test_an_answer_without_a_whole_body_is_not_rewritten(
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
        gzip.decompress(run(engine, exchanged, source))
        == b'"http://gate.example:8000/api/v1/proxy/"'
    )


def test_a_client_that_wants_identity_gets_it(engine: Engine) -> None:
    source = gzip.compress(b'"https://app.example/"')
    headers = {"Content-Type": "text/javascript", "Content-Encoding": "gzip"}
    exchanged = exchange(headers, {"Accept-Encoding": "identity"})
    rewrite = engine.plan(exchanged)
    assert rewrite is not None
    assert "Content-Encoding" not in dict(rewrite.headers)
    assert run(engine, exchanged, source) == b'"http://gate.example:8000/api/v1/proxy/"'


def test_a_redirect_stays_under_the_mount(engine: Engine) -> None:
    exchanged = exchange({"Location": "/x?y#z"}, status=302)
    assert engine.map_response_headers(exchanged) == [("Location", "/api/v1/proxy/x?y#z")]
