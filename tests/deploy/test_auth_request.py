"""Another server serves the bytes and asks the gate who may: the recipes of deploy/, really run."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web

from tests.conftest import MakeGate, Upstream
from tests.deploy.nginx import NGINX, plain, running
from tests.kit import buy, sign_up

CADDY = shutil.which("caddy")
CADDYFILE = Path(__file__).resolve().parents[2] / "deploy" / "caddy" / "Caddyfile"
SERVERS = [
    pytest.param(
        "nginx",
        marks=pytest.mark.skipif(
            NGINX is None, reason="LOUD: no nginx here, its recipe is not run"
        ),
    ),
    pytest.param(
        "caddy",
        marks=pytest.mark.skipif(
            CADDY is None, reason="LOUD: no caddy here, its recipe is not run"
        ),
    ),
]
DEVICE, OTHER = "0123456789abcdef0000", "0123456789abcdef0001"


class Site:
    """The application behind a server, and a gate that the server asks."""

    def __init__(
        self, origin: str, token: dict[str, Any], limited: dict[str, Any], upstream: Upstream
    ) -> None:
        self.origin = origin
        self.token = token
        self.limited = limited
        self.upstream = upstream

    async def get(self, path: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            ClientSession(cookie_jar=DummyCookieJar()) as client,
            client.get(self.origin + path, headers=named, allow_redirects=False) as response,
        ):
            return response.status


@contextlib.contextmanager
def _caddy(folder: Path, port: int, addresses: dict[str, str]) -> Iterator[None]:
    assert CADDY is not None
    text = CADDYFILE.read_text()
    for written, real in addresses.items():
        assert written in text, written
        text = text.replace(written, real)
    text = text.replace("\napp.gate.example {", f"\nhttp://127.0.0.1:{port} {{")
    path = folder / "Caddyfile"
    path.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [CADDY, "run", "--adapter", "caddyfile", "--config", path],
            stderr=log,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )
    try:
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=SERVERS)
async def site(
    request: pytest.FixtureRequest, make_gate: MakeGate, upstream: Upstream, tmp_path: Path
) -> AsyncIterator[Site]:
    gate = await make_gate(zenzefi_target_url=upstream.origin, trusted_proxies="127.0.0.1/32")
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    limited = await buy(gate, bearer, scope="certificates_only")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    application = {"application.internal:8080": upstream.origin.removeprefix("http://")}
    folder = tmp_path / "server"
    folder.mkdir()
    if request.param == "nginx":
        application["server 127.0.0.1:8000"] = f"server 127.0.0.1:{gate.port}"
        serving = running(folder, port, plain("auth-request.conf", port, application))
    else:
        application["127.0.0.1:8000"] = f"127.0.0.1:{gate.port}"
        serving = _caddy(folder, port, application)
    with serving:
        yield Site(f"http://127.0.0.1:{port}", token, limited, upstream)


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
        "theme=dark; zenzefi_access_token={token}; __Host-Http-zenzefi_sign_in=secret",
        "zenzefi_sign_in=secret; zenzefi_access_token={token}; theme=dark; zenzefi_sign_in=secret",
    ],
)
async def test_the_gates_cookie_vouches_but_does_not_reach_the_application(
    site: Site, cookies: str
) -> None:
    sent = cookies.format(token=site.token["token"])
    assert await site.get("/page", Cookie=sent) == 200
    seen = site.upstream.requests[0].headers.get("Cookie", "")
    assert site.token["token"] not in seen
    assert "secret" not in seen
    if cookies.count("zenzefi_sign_in") < 2:  # else nginx sends no cookie at all
        assert ("theme=dark" in seen) == ("theme=dark" in cookies)


async def test_a_second_device_is_told_so(site: Site) -> None:
    token = site.token["token"]
    assert await site.get("/page", X_Access_Token=token, X_Device_ID=DEVICE) == 200
    assert await site.get("/page", X_Access_Token=token, X_Device_ID=OTHER) == 409
    assert len(site.upstream.requests) == 1
    assert "X-Device-ID" not in site.upstream.requests[0].headers


async def test_the_scope_holds_whatever_address_a_client_names(site: Site) -> None:
    token = site.limited["token"]
    inside, outside = "/certificates/1?x=/admin", "/admin"
    assert await site.get(inside, X_Access_Token=token) == 200
    assert await site.get(outside, X_Access_Token=token) == 403
    for name in ("X-Forwarded-Uri", "X-Original-URI"):
        status = await site.get(outside, X_Access_Token=token, **{name: "/certificates/1"})
        assert status in (400, 403)
    assert [request.path for request in site.upstream.requests] == ["/certificates/1"]
