"""The pages of the API reference: their frame, and what they and other own pages request."""

from __future__ import annotations

import re

import pytest

from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor
from zenzefi.origin import PROXY_PREFIX as PREFIX
from zenzefi.proxy.setup import GATE

COOKIE = {"Cookie": "zenzefi_access_token=" + "t" * 64}
IMAGE = {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
@pytest.mark.parametrize(("language", "back"), [("en", "Back"), ("ru", "Вернуться")])
async def test_the_reference_has_the_frame_of_the_site_and_nothing_of_the_account(
    gate: GateClient, path: str, language: str, back: str
) -> None:
    visitor = await Visitor(gate, language).register()
    await visitor.open(path)
    page = visitor.soup
    assert page.html["lang"] == language
    assert page.select_one('link[rel="icon"]')["href"].startswith("/account/assets/icon")
    assert back in page.select_one("header a.back").get_text()
    assert page.select_one("header [aria-current]")["href"] == path
    assert not page.find("form")
    assert "csrf" not in visitor.html
    assert "marta" not in visitor.html
    # Nothing is requested from another host, as the policy and the addresses say.
    assert not re.search(r'(?:src|href)="(?:https?:)?//', visitor.html)
    policy = visitor.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("page", ["docs", "redoc", "account/tokens/x", "admin/users"])
async def test_what_a_page_of_the_gate_requests_is_not_misdirected(
    make_gate: MakeGate, upstream: RecordingUpstream, page: str
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, browser_mount="prefix", debug=True)
    host = f"{gate.host}:{gate.port}"
    for path in ("/favicon.ico", "/missing.js"):
        headers = {**COOKIE, **IMAGE, "Host": host, "Referer": f"http://{host}/{page}"}
        async with gate.get(path, headers=headers, allow_redirects=False) as response:
            assert response.status == 404
    # Without a Referer, an icon is not evidence of a page under the mount.
    headers = {**COOKIE, **IMAGE, "Host": host}
    async with gate.get("/favicon.ico", headers=headers, allow_redirects=False) as response:
        assert response.status == 404
    assert gate.app[GATE].unmounted_requests.total == 0
    headers["Referer"] = f"http://{host}{PREFIX}/page"
    async with gate.get("/missing.js", headers=headers, allow_redirects=False) as response:
        assert response.status == 307
    assert gate.app[GATE].unmounted_requests.total == 1
