"""Response headers on their way to the browser, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.csp import map_policy, permit
from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import TABLE, map_headers
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("https", "app.example", 443)
GATE = Origin("http", "gate.example", 8000)
PREFIX = Mount(MountKind.PREFIX, GATE, "/p")
ROOT = Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443))
URL = "https://app.example/dir/page"


def sent(name: str, value: str, mount: Mount = PREFIX) -> str | None:
    view = View(URL, UrlMapper(UPSTREAM, mount), mount)
    out = map_headers([(name, value)], view)
    return out[0][1] if out else None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Location", "/x?y#z", "/p/x?y#z"),
        ("Location", "https://app.example/x", "http://gate.example:8000/p/x"),
        ("location", "other", "other"),
        # What frameworks make of X-Forwarded-Host.
        ("Location", "http://gate.example:8000/x?y", "http://gate.example:8000/p/x?y"),
        ("Location", "http://gate.example:8000", "http://gate.example:8000/p/"),
        ("Location", "HTTP://Gate.example:8000/pa", "http://gate.example:8000/p/pa"),
        ("Location", "http://gate.example:8000/p/x", "http://gate.example:8000/p/x"),
        ("Location", "http://gate.example:8000/p?a", "http://gate.example:8000/p?a"),
        ("Location", "http://gate.example:80001/x", "http://gate.example:80001/x"),
        ("Refresh", "0; url=http://gate.example:8000/x", "0; url=http://gate.example:8000/p/x"),
        ("Location", "https://other.example/x", "https://other.example/x"),
        ("Content-Location", "/x", "/p/x"),
        ("Refresh", "5; url=/x", "5; url=/p/x"),
        ("Refresh", "5;URL='/x' trailing", "5;URL='/p/x' trailing"),
        ("Refresh", "5", "5"),
        ("Refresh", "soon; url=/x", "soon; url=/x"),
        ("Link", "</a.css>; rel=preload; as=style", "</p/a.css>; rel=preload; as=style"),
        ("Link", '<x>; title="</a>", </b>; rel=next', '<x>; title="</a>", </p/b>; rel=next'),
        ("Link", '</a>; imagesrcset="/b 1x, /c 2x"', '</p/a>; imagesrcset="/p/b 1x, /p/c 2x"'),
        ("Link", '</a>; anchor="/b"', '</p/a>; anchor="/p/b"'),
        ("Link", '</a>; anchor="/b", </c>', '</p/a>; anchor="/p/b", </p/c>'),
        ("Link", '<x>; anchor="/b"; imagesrcset="/c"', '<x>; anchor="/p/b"; imagesrcset="/p/c"'),
        ("Link", "</a; rel=next", "</a; rel=next"),
        (
            "Link",
            '</a.css>; integrity="sha256-x"; rel=preload, <//x.example/b>; integrity="sha256-y"',
            '</p/a.css>; rel=preload, <//x.example/b>; integrity="sha256-y"',
        ),
        ("SourceMap", "/a.map", "/p/a.map"),
        ("X-SourceMap", "a.map", "a.map"),
        ("Access-Control-Allow-Origin", "https://app.example", "http://gate.example:8000"),
        ("Access-Control-Allow-Origin", "*", "*"),
        ("Access-Control-Allow-Origin", "https://x.example", "https://x.example"),
        ("Service-Worker-Allowed", "/", "/p/"),
        ("Reporting-Endpoints", 'a="/r", b="https://x/"', 'a="/p/r", b="https://x/"'),
        ("Report-To", '{"endpoints":[{"url":"/r"}]}', None),
        ("NEL", "{}", None),
        ("Alt-Svc", 'h3=":443"', None),
        ("Strict-Transport-Security", "max-age=1", None),
        ("Clear-Site-Data", '"*"', '"cache"'),
        ("Clear-Site-Data", '"cookies"', None),
        (
            "Permissions-Policy",
            'fullscreen=(self "https://app.example")',
            'fullscreen=(self "http://gate.example:8000")',
        ),
        ("X-Frame-Options", "DENY", "DENY"),
        ("X-Anything", "https://app.example/", "https://app.example/"),
    ],
)
def test_a_header_under_a_prefix(name: str, value: str, expected: str | None) -> None:
    assert sent(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Location", "/x", "/x"),
        ("Location", "https://app.example/x", "https://seen.example/x"),
        ("NEL", "{}", "{}"),
        ("Clear-Site-Data", '"*"', '"cache", "storage"'),
        ("Service-Worker-Allowed", "/", "/"),
    ],
)
def test_a_header_at_a_root(name: str, value: str, expected: str | None) -> None:
    assert sent(name, value, ROOT) == expected


def test_repeated_headers_stay_repeated_and_in_order() -> None:
    view = View(URL, UrlMapper(UPSTREAM, PREFIX), PREFIX)
    headers = [("Set-Cookie", "a=1"), ("Link", "</x>"), ("Set-Cookie", "b=2"), ("Link", "</y>")]
    out = map_headers(headers, view)
    assert out == [
        ("Set-Cookie", "a=1"),
        ("Link", "</p/x>"),
        ("Set-Cookie", "b=2"),
        ("Link", "</p/y>"),
    ]


def test_every_row_gives_its_reason() -> None:
    assert all(row.reason and row.verb in ("map", "drop", "keep") for row in TABLE)
    assert len({row.name.lower() for row in TABLE}) == len(TABLE)


@given(st.sampled_from([row.name for row in TABLE]), st.text(max_size=40))
def test_no_value_makes_a_row_fail(name: str, value: str) -> None:
    out = sent(name, value)
    assert out is None or isinstance(out, str)


def policy(value: str, mount: Mount = PREFIX, upstream: Origin = UPSTREAM) -> str:
    return map_policy(value, UrlMapper(upstream, mount), mount, URL)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "default-src 'self'; img-src https://app.example",
            "default-src 'self'; img-src http://gate.example:8000",
        ),
        ("script-src app.example/js/", "script-src gate.example:8000/p/js/"),
        ("connect-src 'self' wss://app.example:443", "connect-src 'self' ws://gate.example:8000"),
        ("x-src wss://app.example", "x-src ws://gate.example:8000 http://gate.example:8000"),
        ("img-src *.example", "img-src *.example http://gate.example:8000"),
        ("img-src https://cdn.example data: blob:", "img-src https://cdn.example data: blob:"),
        ("report-uri /csp", "report-uri /p/csp"),
        ("script-src 'nonce-abc' 'sha256-x/y='", "script-src 'nonce-abc' 'sha256-x/y='"),
        ("sandbox allow-scripts;", "sandbox allow-scripts;"),
        ("IMG-SRC  HTTPS://APP.EXAMPLE ;", "IMG-SRC  http://gate.example:8000 ;"),
        ("a b, img-src app.example", "a b, img-src gate.example:8000"),
        ("frame-ancestors https://app.example:8443", "frame-ancestors https://app.example:8443"),
    ],
)
def test_a_policy_keeps_every_directive_and_names_the_gate(value: str, expected: str) -> None:
    assert policy(value) == expected
    assert policy(expected) == expected


@pytest.mark.parametrize(
    ("value", "nonce", "allowed", "expected"),
    [
        ("script-src 'self'", "N", True, "script-src 'self' 'nonce-N'"),
        ("script-src 'nonce-abc'", "abc", True, "script-src 'nonce-abc'"),
        ("script-src 'self' 'unsafe-inline'", None, True, "script-src 'self' 'unsafe-inline'"),
        (
            "script-src 'unsafe-inline' https://cdn.example",
            None,
            True,
            "script-src 'unsafe-inline' https://cdn.example http://gate.example:8000",
        ),
        ("default-src 'self'; img-src *", "N", True, "default-src 'self' 'nonce-N'; img-src *"),
        (
            "script-src 'strict-dynamic' 'sha256-abc='",
            "N",
            True,
            "script-src 'strict-dynamic' 'sha256-abc=' 'nonce-N'",
        ),
        ("script-src 'none'", None, False, "script-src 'none'"),
        ("sandbox allow-forms", None, False, "sandbox allow-forms"),
        ("img-src 'self'", None, True, "img-src 'self'"),
    ],
)
def test_the_runtime_is_let_in_and_no_more(
    value: str, nonce: str | None, allowed: bool, expected: str
) -> None:
    permission = permit([value], GATE, "N")
    assert permission.values == (expected,)
    assert permission.nonce == nonce
    assert permission.allowed is allowed


def test_one_nonce_serves_several_policies() -> None:
    permission = permit(["script-src 'self'", "script-src 'nonce-abc'"], GATE, "N")
    assert permission.values == ("script-src 'self' 'nonce-abc'", "script-src 'nonce-abc'")
    assert permission.nonce == "abc"
