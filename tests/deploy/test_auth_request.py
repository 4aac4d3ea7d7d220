"""nginx serves the bytes and asks the gate who may: the recipe of deploy/, on a real nginx."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web

from tests.conftest import MakeGate, Upstream
from tests.deploy.nginx import NGINX, plain, running
from tests.kit import buy, sign_up

pytestmark = pytest.mark.skipif(
    NGINX is None, reason="LOUD: no nginx here, the auth_request recipe is not run"
)


class Site:
    """The application behind nginx, and a gate that nginx asks."""

    def __init__(self, origin: str, token: dict[str, Any], upstream: Upstream) -> None:
        self.origin = origin
        self.token = token
        self.upstream = upstream

    async def get(self, path: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            ClientSession(cookie_jar=DummyCookieJar()) as client,
            client.get(self.origin + path, headers=named, allow_redirects=False) as response,
        ):
            return response.status


@pytest.fixture
async def site(make_gate: MakeGate, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Site]:
    gate = await make_gate(zenzefi_target_url=upstream.origin, trusted_proxies="127.0.0.1/32")
    token = await buy(gate, await sign_up(gate))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    addresses = {
        "application.internal:8080": upstream.origin.removeprefix("http://"),
        "server 127.0.0.1:8000": f"server 127.0.0.1:{gate.port}",
    }
    (tmp_path / "nginx").mkdir()
    with running(tmp_path / "nginx", port, plain("auth-request.conf", port, addresses)):
        yield Site(f"http://127.0.0.1:{port}", token, upstream)


async def test_the_holder_of_a_token_passes_and_the_application_learns_who(site: Site) -> None:
    assert await site.get("/page", X_Access_Token=site.token["token"]) == 200
    seen: web.Request = site.upstream.requests[0]
    assert seen.path == "/page"
    assert seen.headers["X-Token-Id"] == site.token["id"]
    assert "X-Access-Token" not in seen.headers


async def test_others_are_sent_to_the_gate_and_nothing_reaches_the_application(site: Site) -> None:
    assert await site.get("/page") == 302
    assert await site.get("/page", Accept="text/event-stream") == 302
    assert await site.get("/page", X_Access_Token="no", X_User_Id="somebody") == 302
    assert site.upstream.requests == []


@pytest.mark.parametrize(
    "cookies",
    [
        "zenzefi_access_token={token}",
        "theme=dark; zenzefi_access_token={token}; lang=en",
        "zenzefi_access_token={token}; theme=dark",
        "zenzefi_access_token={token}; a=b; zenzefi_access_token={token}",
    ],
)
async def test_the_gates_cookie_vouches_but_does_not_reach_the_application(
    site: Site, cookies: str
) -> None:
    sent = cookies.format(token=site.token["token"])
    assert await site.get("/page", Cookie=sent) == 200
    seen = site.upstream.requests[0].headers.get("Cookie", "")
    assert site.token["token"] not in seen
    assert ("theme=dark" in seen) == ("theme=dark" in cookies)
