"""Bodies that pass unchanged: a search tells it, and never wrongly."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.kit.engine import PREFIX, ROOT, exchange, rewrite_body
from zenzefi.origin import Mount, MountKind
from zenzefi.plugins import Context, Match, Needs, Plugin, TextEdit
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.origin_search import OriginSearch
from zenzefi.rewriting.plugins.registry import Registry

JSON, SCRIPT = "application/json", "text/javascript"
PLUGINS = Registry([bundled("plugins")], entry_points=False)
ENGINE = Engine(PLUGINS)
CLIENT = Mount(MountKind.CLIENT, ROOT.public)


def search(content_type: str, mount: Mount = PREFIX, **changes: Any) -> OriginSearch | None:
    return ENGINE.origin_search(exchange({"Content-Type": content_type}, mount=mount, **changes))


@pytest.mark.parametrize("mount", [PREFIX, ROOT], ids=["prefix", "root"])
@pytest.mark.parametrize(
    "content_type",
    [JSON, "application/problem+json; charset=utf-8", "application/x-ndjson", SCRIPT],
)
def test_json_and_scripts_are_searched(content_type: str, mount: Mount) -> None:
    found = search(content_type, mount)
    assert found is not None
    assert not found.finds(b'{"a": "https://elsewhere.example/x", "b": "/rooted"}', "")
    assert found.finds(b'{"a": "https://app.example/x"}', "")


@pytest.mark.parametrize(
    ("content_type", "changes"),
    [
        ("text/html", {}),
        ("text/css", {}),
        ("application/manifest+json", {}),
        ("application/rss+xml", {}),
        ("image/png", {}),
        ("", {}),
        ("application/json; charset=utf-16", {}),
        ("text/javascript; charset=iso-2022-jp", {}),
        (SCRIPT, {"destination": "worker"}),
        (SCRIPT, {"destination": "serviceworker"}),
        (SCRIPT, {"url": "https://app.example/w.js?v=1&.zenzefi-worker=module"}),
        (JSON, {"status": 206}),
        (JSON, {"status": 204}),
        (JSON, {"status": 101}),
    ],
)
def test_what_may_change_without_a_mention_is_not_searched(
    content_type: str, changes: dict[str, Any]
) -> None:
    assert search(content_type, **changes) is None


def test_a_worker_at_a_root_is_searched_because_it_gets_no_runtime() -> None:
    assert search(SCRIPT, ROOT, destination="worker") is not None


def test_a_body_for_a_client_that_cannot_decode_is_not_searched_if_it_is_coded() -> None:
    headers = {"Content-Type": JSON}
    assert ENGINE.origin_search(exchange(headers, mount=CLIENT)) is not None
    coded = {**headers, "Content-Encoding": "gzip"}
    assert ENGINE.origin_search(exchange(coded, mount=CLIENT)) is None


class _Any(Plugin):
    """An operator's plugin."""

    name = "any"
    matches = Match(content_types=(JSON,))
    needs = Needs.TEXT

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        return True

    def text(self, context: Context, text: str) -> list[TextEdit]:
        return [TextEdit(0, 0, " ")]


def test_a_plugin_of_the_operator_sees_every_body_of_its_type() -> None:
    engine = Engine(Registry([bundled("plugins")], entry_points=False, classes=[_Any]))
    assert engine.origin_search(exchange({"Content-Type": JSON})) is None
    assert engine.origin_search(exchange({"Content-Type": SCRIPT})) is not None


def test_rooted_strings_of_json_that_options_name_switch_the_search_off_under_a_prefix() -> None:
    registry = Registry(
        [bundled("plugins")], entry_points=False, options={"json-rooted": {"keys": ["*_url"]}}
    )
    engine = Engine(registry)
    assert engine.origin_search(exchange({"Content-Type": JSON})) is None
    assert engine.origin_search(exchange({"Content-Type": JSON}, mount=ROOT)) is not None


CODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data)),
}


@pytest.mark.parametrize("coding", CODERS)
def test_a_coded_body_is_decoded_for_the_search(coding: str) -> None:
    found = search(JSON)
    assert found is not None
    assert not found.finds(CODERS[coding](b'["https://elsewhere.example/"]'), coding)
    assert found.finds(CODERS[coding](b'["https://app.example/"]'), coding)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"{}", "compress"),
        (b"{}", "gzip"),
        (gzip.compress(b"{}")[:-3], "gzip"),
        (gzip.compress(b" " * 4_000_000), "gzip"),
        ("\ufeff{}".encode("utf-16-le"), ""),
    ],
    ids=["unknown", "corrupt", "cut", "bomb", "utf-16"],
)
def test_what_cannot_be_searched_cheaply_counts_as_found(body: bytes, coding: str) -> None:
    found = search(JSON)
    assert found is not None
    assert found.finds(body, coding)


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_body_seen_before_gets_the_same_result(coding: str) -> None:
    found = search(JSON)
    assert found is not None
    for mention in (b"elsewhere.example", b"app.example"):
        body = b'["https://%b/"]' % mention + b" " * 5000
        sent = gzip.compress(body) if coding else body
        results = [found.finds(sent, coding) for _ in range(3)]
        assert results == [mention == b"app.example"] * 3


PIECES = st.sampled_from(
    [
        *(b"http", b"https", b":", b"/", b"//", b"\\/", b"\\u002f", b"%2f", b"%3A", b"wss"),
        *(b"app.example", b"APP.example", b"pp.example", b"app", b".example", b":443", b"@"),
        *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b" ", b"\n", b"x", b"\xff", b"\x1b$B", b"a:"),
        *(b'{"a": "', b"https://app.example/", b"//app.example", b"/rooted", b"import(", b"'"),
    ]
)


@given(st.lists(PIECES, max_size=12), st.sampled_from([JSON, SCRIPT]), st.booleans())
def test_the_engine_changes_nothing_where_the_search_finds_nothing(
    pieces: list[bytes], content_type: str, under_prefix: bool
) -> None:
    body = b"".join(pieces)
    exchanged = exchange({"Content-Type": content_type}, mount=PREFIX if under_prefix else ROOT)
    found = ENGINE.origin_search(exchanged)
    assert found is not None
    if body and not found.finds(body, ""):
        assert rewrite_body(ENGINE, exchanged, body) == body
        assert rewrite_body(ENGINE, exchanged, body, 3) == body


# --- headers -------------------------------------------------------------------------------------


def unchanged(headers: dict[str, str], **changes: Any) -> dict[str, str]:
    exchanged = exchange(headers, **changes)
    found = ENGINE.origin_search(exchanged)
    assert found is not None
    return dict(ENGINE.unchanged_headers(exchanged, found))


def test_an_unchanged_body_keeps_its_validators_length_and_coding() -> None:
    headers = {
        "Content-Type": JSON,
        "ETag": '"v1"',
        "Content-Length": "9",
        "Content-Encoding": "gzip",
        "Last-Modified": "Mon, 05 Jan 2026 00:00:00 GMT",
        "Content-Digest": "sha-256=:x:",
        "Accept-Ranges": "bytes",
    }
    assert unchanged(headers) == headers


def test_its_addresses_in_headers_are_mapped() -> None:
    response = unchanged({"Content-Type": JSON, "Link": "</next>; rel=next"})
    assert response["Link"] == "</api/v1/proxy/next>; rel=next"


def test_a_script_of_a_page_does_not_vary_and_that_of_a_worker_is_never_searched() -> None:
    headers = {"Content-Type": SCRIPT, "ETag": '"v1"'}
    for destination in (None, "script", "empty"):
        for mount in (PREFIX, ROOT):
            assert unchanged(headers, destination=destination, mount=mount) == headers
    worker = exchange(headers, destination="worker")
    assert ENGINE.origin_search(worker) is None


def test_a_worker_never_revalidates_the_script_of_a_page() -> None:
    sent = CIMultiDict({"If-None-Match": '"v1"'})
    ENGINE.prepare_request(exchange({}, status=0, destination="worker"), sent)
    assert not sent
    for page in (exchange({}, status=0, destination="script"), exchange({}, mount=ROOT)):
        sent = CIMultiDict({"If-None-Match": '"v1"'})
        ENGINE.prepare_request(page, sent)
        assert sent == {"If-None-Match": '"v1"'}


def test_head_keeps_the_tag_and_omits_what_only_the_body_tells() -> None:
    headers = {"Content-Type": JSON, "ETag": '"v1"', "Content-Length": "9", "Digest": "x", "X": "y"}
    response = dict(ENGINE.map_response_headers(exchange(headers, method="HEAD")))
    assert response == {"Content-Type": JSON, "ETag": '"v1"', "X": "y"}
