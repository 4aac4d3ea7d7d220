"""Requests that a browser makes by itself start no token and are not counted as misdirected."""

from __future__ import annotations

import string
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, DummyCookieJar
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.proxy_gates import PREFIX, TOKEN, RunningGate
from zenzefi.proxy.unasked_requests import is_unasked
from zenzefi.proxy.unmounted_requests import origin_page

HEADER = {"X-Access-Token": TOKEN}
IMAGE = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "same-origin"}
PREFETCH = {"Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Mode": "navigate"}
ICONS = ("/favicon.ico", "/apple-touch-icon-precomposed.png", "/apple-touch-icon-120x120.png")


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


@pytest.mark.parametrize("path", [*ICONS, "/.well-known/appspecific/com.chrome.devtools.json"])
def test_icons_and_well_known_files_are_unasked_for_browsers_only(path: str) -> None:
    assert is_unasked(IMAGE, path)
    assert not is_unasked({}, path), "a program asks for what it requests"
    assert not is_unasked({"Sec-Fetch-Mode": "navigate"}, path), "a user opened it in a window"
    assert not is_unasked(IMAGE, "/pictures" + path)


@given(path=st.text(string.ascii_letters + string.digits + "/.-", max_size=40).map("/".__add__))
def test_every_prefetch_is_unasked_and_no_other_page_is(path: str) -> None:
    for name in ("Sec-Purpose", "Purpose", "X-Moz"):
        assert is_unasked({name: "prefetch"}, path)
    if "icon" not in path and "robots" not in path:
        assert not is_unasked(IMAGE, "/page" + path)


async def test_what_a_browser_requests_by_itself_does_not_start_a_token(
    prefix_gate: RunningGate, browser: ClientSession
) -> None:
    tokens = prefix_gate.tokens
    tokens.add(activated=False)
    for path, headers in [*((icon, IMAGE) for icon in ICONS), ("/", PREFETCH), ("/a", PREFETCH)]:
        async with browser.get(
            prefix_gate.proxy_url + path, headers={**HEADER, **headers}
        ) as response:
            assert response.status == 404, path
    assert tokens.activations == []
    headers = {**HEADER, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with browser.get(prefix_gate.proxy_url + "/", headers=headers) as response:
        assert response.status == 200
    assert len(tokens.activations) == 1
    async with browser.get(
        prefix_gate.proxy_url + ICONS[0], headers={**HEADER, **IMAGE}
    ) as response:
        assert response.status != 404 or "unasked" not in await response.text()


def test_a_page_of_the_gate_is_no_evidence_of_the_mount() -> None:
    own, host = frozenset({"docs"}), "gate.example"
    referer = {"Referer": "https://gate.example/docs/x?y"}
    assert origin_page(referer, host, has_cookie=True, own_pages=own) is None
    referer = {"Referer": "https://gate.example/documents"}
    assert origin_page(referer, host, has_cookie=True, own_pages=own) == ""
    referer = {"Referer": f"https://gate.example{PREFIX}/docs"}
    assert origin_page(referer, host, has_cookie=False, own_pages=own) == f"{PREFIX}/docs"
