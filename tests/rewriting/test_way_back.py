"""Addresses in what a page sends are the upstream's again, in every spelling."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.linear_work import assert_linear
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.way_back import way_back

UPSTREAM = Origin("http", "app.internal", 8080)
PREFIX = Mount(MountKind.PREFIX, Origin("https", "gate.example", 443), "/api/v1/proxy")
OWN = Mount(MountKind.ORIGIN, Origin("https", "app.gate.example", 8443))
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
MOUNTS = (PREFIX, OWN, CLIENT)

SPELLINGS = {
    "plain": str,
    "json": json.dumps,
    "escaped json": lambda text: json.dumps(text).replace("/", "\\/"),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "unicode": lambda text: json.dumps(text).replace("/", "\\u002f"),
    "form": quote_plus,
    "query": lambda text: quote(text, safe=""),
    "html": lambda text: text.replace("&", "&amp;").replace('"', "&quot;"),
}
spelling = pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
mounts = pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: mount.kind.value)


def unmapped(text: str, mount: Mount) -> str:
    return way_back(UPSTREAM, mount).unmap_text(text)


@mounts
@spelling
def test_an_absolute_address_of_the_browser_becomes_the_upstreams(spell, mount) -> None:  # type: ignore[no-untyped-def]
    for path in ("x", "", "a/b?c=d#e", "%C3%A9"):
        sent = f'<p><a class="b" href="{mount.root}{path}">x</a>, {mount.root}{path}'
        stored = f'<p><a class="b" href="{UPSTREAM}/{path}">x</a>, {UPSTREAM}/{path}'
        assert unmapped(spell(sent), mount) == spell(stored)


@spelling
def test_a_rooted_address_loses_the_prefix(spell) -> None:  # type: ignore[no-untyped-def]
    for sent, stored in (
        ('<img src="/api/v1/proxy/i.png">', '<img src="/i.png">'),
        ("<img src='/api/v1/proxy/i.png'>", "<img src='/i.png'>"),
        ("\n/api/v1/proxy/x", "\n/x"),
        ("/api/v1/proxy/api/v1/proxy/x", "/x"),
        ("/api/v1/proxy", "/"),
        ("/api/v1/proxy?x=1", "/?x=1"),
        ("url(/api/v1/proxy/i.png)", "url(/i.png)"),
        ("/api/v1/proxy/a /api/v1/proxy/b", "/a /b"),
    ):
        assert unmapped(spell(sent), PREFIX) == spell(stored)


@mounts
@spelling
def test_everything_else_stays(spell, mount) -> None:  # type: ignore[no-untyped-def]
    for text in (
        "https://other.example/api/v1/proxy/x",
        "https://gate.example.org/api/v1/proxy/x",
        "https://gate.example/tokens",
        "https://xapp.gate.example:8443/x",
        "https://app.gate.example:84430/x",
        "//api/v1/proxy/x",
        "/docs/api/v1/proxy/x",
        "/api/v1/proxying and /api/v1/proxy.html and /api/v1/proxy-x",
        "ftp://gate.example/api/v1/proxy",
        "the gate.example and /api/v1",
    ):
        assert unmapped(spell(text), mount) == spell(text)


@mounts
def test_a_socket_keeps_its_scheme(mount: Mount) -> None:
    sent = f"wss{mount.root.removeprefix('https')}live"
    assert unmapped(sent, mount) == "ws://app.internal:8080/live"


@mounts
def test_a_bare_origin_is_the_upstreams(mount: Mount) -> None:
    sent = json.dumps({"origin": str(mount.public), "referrer": f"{mount.public}/"})
    stored = json.dumps({"origin": str(UPSTREAM), "referrer": f"{UPSTREAM}/"})
    assert unmapped(sent, mount) == stored


@given(
    st.text(st.sampled_from("/apiv1proxy:.%2F\\u0\"'hts"), max_size=200), st.sampled_from(MOUNTS)
)
def test_mapping_back_twice_changes_nothing_more(text: str, mount: Mount) -> None:
    once = unmapped(text, mount)
    assert unmapped(once, mount) == once


@given(
    st.lists(
        st.sampled_from(
            (
                *("https", "wss", ":", "://", "gate.example", "app.gate.example:8443"),
                *("127.0.0.1:61000", "/api", "/v1", "/proxy", "/api/v1/proxy", "\\/", "x", " "),
                *("%2Fapi%2Fv1%2Fproxy", '"', "\\u0022", "%22", ".", "-"),
            )
        ),
        max_size=30,
    ).map("".join),
    st.sampled_from(MOUNTS),
)
def test_the_search_finds_what_the_expression_finds(text: str, mount: Mount) -> None:
    back = way_back(UPSTREAM, mount)
    assert back.unmap(text.encode()) == back._pattern.sub(back._replacement, text.encode())


@given(st.text(max_size=100), st.sampled_from(MOUNTS))
def test_text_without_an_address_stays(text: str, mount: Mount) -> None:
    assert unmapped(text, mount) == text


@mounts
@pytest.mark.parametrize(
    "part", ["/api/v1/proxy", "%2F", "\\/", "https://", "\\u002f", "%22%2Fapi", "/api/v1/proxy\\"]
)
def test_the_work_is_linear(part: str, mount: Mount) -> None:
    back = way_back(UPSTREAM, mount)
    assert_linear(back.unmap, lambda n: part.encode() * (n // len(part)), 1 << 18)


def test_bytes_that_are_no_text_stay() -> None:
    data = bytes(range(256)) * 3
    assert way_back(UPSTREAM, PREFIX).unmap(data) == data
