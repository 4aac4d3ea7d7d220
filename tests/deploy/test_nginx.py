"""deploy/nginx/gate.conf as it is, with TLS, in front of a real gate."""

import asyncio
import io
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.kit.api import buy, sign_up
from tests.kit.gates import Stores, running_gate
from tests.kit.nginx import NGINX, as_it_is, certificate, running, written
from tests.kit.ports import free_ports
from tests.kit.recording_upstream import RecordingUpstream

pytestmark = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed: its configuration is not run"
)


@dataclass
class Site:
    """The server with TLS, and the nodes behind it."""

    port: int
    plain_port: int
    trusting: ssl.SSLContext
    token: str
    upstream: RecordingUpstream

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"


@pytest.fixture
async def site(cluster: Stores, upstream: RecordingUpstream, tmp_path: Path) -> AsyncIterator[Site]:
    port, plain_port, dead = free_ports(3)
    tls = certificate(tmp_path / "tls")
    settings = {
        "zenzefi_target_url": upstream.origin,
        "trusted_proxies": "127.0.0.1/32",
        "backend_url": f"https://127.0.0.1:{port}",
        "proxy_host": f"app.test:{port}",
    }
    trusting = ssl.create_default_context(cafile=str(tls / "connect.pem"))
    (tmp_path / "nginx").mkdir()
    async with running_gate(**cluster.settings, **settings) as gate:
        token = await buy(gate, await sign_up(gate))
        # One of the two nodes is down: no request may fail.
        addresses = {"gate-a:8000": f"127.0.0.1:{gate.port}", "gate-b:8000": f"127.0.0.1:{dead}"}
        text = as_it_is("gate.conf", tls, {443: port, 80: plain_port}, addresses)
        with running(tmp_path / "nginx", port, text):
            yield Site(port, plain_port, trusting, str(token["token"]), upstream)


@pytest.mark.parametrize("name", ["gate.conf", "auth-request.conf"])
def test_the_configuration_is_one_that_nginx_accepts(name: str, tmp_path: Path) -> None:
    addresses = {"gate-a:8000": "127.0.0.1:1", "gate-b:8000": "127.0.0.1:2"}
    if name != "gate.conf":
        addresses = {"application.internal:8080": "127.0.0.1:1"}
    ports = dict(zip((443, 80), free_ports(2), strict=True))
    path = written(tmp_path, as_it_is(name, certificate(tmp_path / "tls"), ports, addresses))
    assert NGINX is not None
    argv: list[str | Path] = [NGINX, "-t", "-c", path, "-e", tmp_path / "start.log"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr


async def test_it_speaks_http_2_and_http_1_1_over_tls_and_leads_there(site: Site) -> None:
    for offered in ("h2", "http/1.1"):
        site.trusting.set_alpn_protocols([offered])
        _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=site.trusting)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == offered
        writer.transport.abort()
    async with aiohttp.ClientSession() as client:
        plain = f"http://127.0.0.1:{site.plain_port}/x?y"
        async with client.get(plain, allow_redirects=False) as response:
            assert response.status == 301
            assert response.headers["Location"] == "https://127.0.0.1/x?y"


async def test_the_upstream_and_the_gate_hear_of_the_secure_origin(site: Site) -> None:
    async with aiohttp.ClientSession() as client:
        headers = {"X-Access-Token": site.token, "X-Forwarded-For": "203.0.113.1"}
        asked: dict[str, Any] = {"ssl": site.trusting, "headers": headers}
        async with client.get(site.url("/api/v1/proxy/page"), **asked) as response:
            assert response.status == 200
            assert "max-age" in response.headers["Strict-Transport-Security"]
        async with client.get(site.url("/metrics"), **asked) as response:
            assert response.status == 404
    arrived = site.upstream.requests[-1].headers
    assert "X-Forwarded-Proto" not in arrived  # the private view (UPSTREAM_VIEW)
    assert arrived["X-Forwarded-For"] == "127.0.0.1"  # the client's own value is not trusted


async def test_a_browser_is_signed_in_at_the_own_origin(site: Site) -> None:
    gate, own, enter = (
        f"127.0.0.1:{site.port}",
        f"app.test:{site.port}",
        "/.well-known/zenzefi/enter",
    )
    jars: dict[str, dict[str, str]] = {gate: {"zenzefi_access_token": site.token}, own: {}}

    async def ask(host: str, path: str) -> str:
        cookie = "; ".join(f"{name}={value}" for name, value in jars[host].items())
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
            client.get(
                site.url(path),
                ssl=site.trusting,
                headers={"Host": host, "Cookie": cookie, "Accept": "text/html"},
                allow_redirects=False,
            ) as response,
        ):
            jars[host] |= {name: one.value for name, one in response.cookies.items()}
            return f"{response.status} {response.headers.get('Location', '')}"

    at_own = await ask(gate, "/api/v1/proxy/page?x=1")
    assert at_own.startswith(f"303 https://{own}{enter}?from=https://{gate}&path=")
    at_gate = await ask(own, at_own.partition(own)[2])
    assert at_gate.startswith(f"303 https://{gate}{enter}?browser=")
    ticket = await ask(gate, at_gate.partition(gate)[2])
    assert ticket.startswith(f"303 https://{own}{enter}?ticket=")
    assert await ask(own, ticket.partition(own)[2]) == "303 /page?x=1"
    assert await ask(own, "/page?x=1") == "200 "
    assert site.upstream.requests[-1].path == "/page"
    assert "zenzefi" not in site.upstream.requests[-1].headers.get("Cookie", "")


async def test_websockets_events_and_large_bodies_pass(site: Site) -> None:
    go_on = asyncio.Event()

    async def echo(request: web.Request) -> web.StreamResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        async for message in near:
            await near.send_str(message.data.upper())
        return near

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        return response

    async def count(request: web.Request) -> web.Response:
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
        return web.json_response(size)

    site.upstream.handlers.update({"/live": echo, "/events": events, "/count": count})
    headers = {"X-Access-Token": site.token}
    proxy = site.url("/api/v1/proxy")
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(ssl=site.trusting)
        ) as client,
    ):
        async with client.ws_connect(f"{proxy}/live") as far:
            await far.send_str("hallo")
            assert await far.receive_str() == "HALLO"
        async with client.get(f"{proxy}/events") as response:
            assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"  # at once
            go_on.set()
        async with client.post(f"{proxy}/count", data=io.BytesIO(b"x" * 3_000_000)) as response:
            assert await response.json() == 3_000_000
