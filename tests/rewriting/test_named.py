"""At a root mount, only documents that name the upstream get the runtime script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.engine import ROOT, exchange, rewrite_body
from zenzefi.origin import Origin
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.html.named import LONGEST, IfNamed
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.scanner import Scanner

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
FILLING = b"<p>text</p>" * 5000
NAMED = [
    b'<a href="https://app.example/x">',
    b'<meta name=site content="app.example">',
    b"<script>const HOST = 'APP.example:443'</script>",
    b'<script>const api = "https:\\/\\/app.example\\/v1"</script>',
    b"<!-- app.example -->",
]
UNNAMED = [
    b"<a href=/x>",
    b'<a href="https://other.example/x">',
    b"<p>www.app.example and app.example.com and my-app.example",
    b"<p>app example",
]


def shown(body: bytes, destination: str = "document", **response: str) -> bytes:
    headers = {"Content-Type": "text/html", **{k.replace("_", "-"): v for k, v in response.items()}}
    return rewrite_body(ENGINE, exchange(headers, mount=ROOT, destination=destination), body)


@pytest.mark.parametrize("body", NAMED)
@pytest.mark.parametrize("before", [b"", FILLING])
def test_a_document_that_names_the_upstream_gets_the_script_first(
    body: bytes, before: bytes
) -> None:
    out = shown(b"<!doctype html><head><title>x</title>" + before + body)
    assert out.startswith(b'<!doctype html><head><script src="/.zenzefi/runtime.js?v=')


@pytest.mark.parametrize("body", UNNAMED)
def test_a_document_that_does_not_name_it_leaves_as_it_came(body: bytes) -> None:
    body = b"<!doctype html><head><title>x</title>" + FILLING + body
    assert shown(body) == body


@pytest.mark.parametrize("destination", ["empty", "script", "style", "image"])
def test_what_scripts_fetch_gets_none(destination: str) -> None:
    assert b"runtime" not in shown(NAMED[0], destination)


def test_the_page_allows_the_script_by_its_policy() -> None:
    policy = "default-src 'self'; script-src 'nonce-abc'"
    found = exchange(
        {"Content-Type": "text/html", "Content-Security-Policy": policy},
        mount=ROOT,
        destination="document",
    )
    assert b' nonce="abc"></script>' in rewrite_body(ENGINE, found, NAMED[0])


def test_a_page_whose_policy_forbids_scripts_gets_none() -> None:
    assert b"runtime" not in shown(NAMED[0], Content_Security_Policy="script-src 'none'")


def test_the_page_contains_no_name_of_the_upstream_but_its_own() -> None:
    assert b"app.example" not in shown(b'<a href="https://app.example/x">')


class _Recorded:
    def __init__(self, named: bool) -> None:
        self.named = named

    def scan(self, window: bytes, final: bool) -> tuple[int, list[object]]:
        return len(window), []


@pytest.mark.parametrize(
    ("origin", "text", "is_named"),
    [
        ("http://app:8000", "{'host': 'app', 'port': 8000}", False),
        ("http://app:8000", "the app", False),
        ("http://app:8000", "'app:8000'", True),
        ("http://app:8000", "'app:80001'", False),
        ("http://app", "//app/x", True),
        ("http://app", "//app.example/x", False),
        ("http://app", "an app", False),
        ("http://10.0.0.7:5000", "'10.0.0.7'", True),
        ("http://10.0.0.7:5000", "'110.0.0.7'", False),
        ("http://[fd00::1]:5000", "http://[fd00::1]:5000/", True),
    ],
)
def test_a_name_without_a_dot_counts_with_its_port_or_after_slashes(
    origin: str, text: str, is_named: bool
) -> None:
    scheme, _, authority = origin.partition("://")
    host, colon, port = authority.rpartition(":")
    found = Origin(scheme, host if colon else authority, int(port) if colon else 80)
    made: list[bool] = []

    def make(named: bool) -> Scanner:
        made.append(named)
        return _Recorded(named)  # type: ignore[return-value]  # it makes no edits

    IfNamed([found], make).scan(text.encode(), True)
    assert made == [is_named]


def test_a_document_is_withheld_for_no_more_than_its_beginning() -> None:
    scanner = IfNamed([Origin("https", "app.example", 443)], _Recorded)  # type: ignore[arg-type]
    assert scanner.scan(b"x" * (LONGEST - 1), False) == (0, [])
    assert scanner.scan(b"x" * LONGEST, False) == (LONGEST, [])


def test_a_document_that_arrives_slowly_is_not_withheld() -> None:
    scanner = IfNamed([Origin("https", "app.example", 443)], _Recorded)  # type: ignore[arg-type]
    assert scanner.scan(b"<p>", False) == (0, [])
    scanner.release()
    assert scanner.scan(b"<p>", False) == (3, [])


@given(st.binary(max_size=200), st.integers(0, 200))
def test_the_way_in_which_a_document_is_cut_changes_nothing(data: bytes, cut: int) -> None:
    data = b"<head>" + data + b"app.example"
    found = exchange({"Content-Type": "text/html"}, mount=ROOT, destination="document")
    whole = rewrite_body(ENGINE, found, data)
    assert rewrite_body(ENGINE, found, data, size=max(1, cut)) == whole
