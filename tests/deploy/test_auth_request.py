"""The forward-auth recipes of ``deploy/`` on real web servers, in front of a real gate."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.kit.api import buy, sign_up, user_id_of
from tests.kit.auth_request_recipes import HOST, RECIPES, Addresses, loopback_client, running_recipe
from tests.kit.gates import SECRET_KEY, running_gate
from tests.kit.ports import free_ports
from tests.kit.recording_upstream import RecordingUpstream

DEVICE, OTHER = "0123456789abcdef0000", "0123456789abcdef0001"


@dataclass
class Site:
    """An application behind a web server that asks the gate about each request."""

    server: str
    origin: str
    client: ClientSession
    user_id: str
    token: dict[str, Any]
    limited: dict[str, Any]
    """A token of the scope ``certificates_only``."""
    upstream: RecordingUpstream

    async def get(self, path: str, **headers: str) -> int:
        """The status of a GET request; ``X_Access_Token`` stands for ``X-Access-Token``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.origin + path
        async with self.client.get(url, headers=named, allow_redirects=False) as response:
            return response.status

    @property
    def unauthorized(self) -> int:
        """The status without a valid token. Traefik can't turn 401 into a redirect."""
        return 401 if self.server == "traefik" else 302


@pytest.fixture(params=RECIPES)
async def site(
    request: pytest.FixtureRequest,
    sqlite_database: str,
    upstream: RecordingUpstream,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    server: str = request.param
    (port,) = free_ports(1)
    settings = {
        "secret_key": SECRET_KEY,
        "data_dir": tmp_path / "gate",
        "database_url": sqlite_database,
        "zenzefi_target_url": upstream.origin,
        "trusted_proxies": "127.0.0.1/32",
        "backend_url": "https://gate.example",
        "proxy_host": f"{HOST}:{port}",
    }
    folder = tmp_path / server
    folder.mkdir()
    async with running_gate(**settings) as gate:
        bearer = await sign_up(gate)
        token = await buy(gate, bearer)
        limited = await buy(gate, bearer, scope="certificates_only")
        user_id = str(await user_id_of(gate))
        addresses = Addresses(upstream.origin.removeprefix("http://"), f"127.0.0.1:{gate.port}")
        async with running_recipe(server, folder, port, addresses), loopback_client() as client:
            yield Site(server, f"https://{HOST}:{port}", client, user_id, token, limited, upstream)


async def test_the_holder_of_a_token_passes_and_the_application_learns_who(site: Site) -> None:
    assert await site.get("/page", X_Access_Token=site.token["token"]) == 200
    seen: web.Request = site.upstream.requests[0]
    assert seen.path == "/page"
    assert seen.headers["X-Token-Id"] == site.token["id"]
    assert "X-Access-Token" not in seen.headers


async def test_a_client_cannot_name_its_user_or_token(site: Site) -> None:
    claims = {"X_User_Id": "somebody", "X_Token_Id": "something"}
    assert await site.get("/page", X_Access_Token=site.token["token"], **claims) == 200
    headers = site.upstream.requests[0].headers
    assert headers.getall("X-User-Id") == [site.user_id]
    assert headers.getall("X-Token-Id") == [site.token["id"]]


async def test_requests_without_a_valid_token_do_not_reach_the_application(site: Site) -> None:
    assert await site.get("/page") == site.unauthorized
    assert await site.get("/page", Accept="text/event-stream") == site.unauthorized
    invalid = {"X_Access_Token": "no", "X_User_Id": "somebody"}
    assert await site.get("/page", **invalid) == site.unauthorized
    assert site.upstream.requests == []


async def _echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


async def test_a_websocket_opens_with_a_valid_token_only(site: Site) -> None:
    site.upstream.handlers["/socket"] = _echo
    url = f"{site.origin}/socket"
    headers = {"X-Access-Token": site.token["token"]}
    async with site.client.ws_connect(url, headers=headers) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=30) == "HELLO"
    (opened,) = site.upstream.requests
    assert opened.headers["X-Token-Id"] == site.token["id"]
    assert "X-Access-Token" not in opened.headers
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert await site.get("/socket", **upgrade) == site.unauthorized
    assert site.upstream.requests == [opened]


async def test_the_gates_cookie_vouches_but_does_not_reach_the_application(site: Site) -> None:
    for cookies in (
        "zenzefi_access_token={token}",
        "theme=dark; zenzefi_access_token={token}; lang=en",
        "zenzefi_access_token={token}; theme=dark",
        "zenzefi_access_token={token}; a=b; zenzefi_access_token={token}",
        "theme=dark; zenzefi_access_token={token}; __Host-Http-zenzefi_sign_in=secret",
        "zenzefi_sign_in=secret; zenzefi_access_token={token}; theme=dark; zenzefi_sign_in=secret",
    ):
        sent = cookies.format(token=site.token["token"])
        assert await site.get("/page", Cookie=sent) == 200, cookies
        seen = site.upstream.requests[-1].headers.get("Cookie", "")
        if site.server == "traefik":
            assert seen == sent  # Traefik can't remove one cookie of several: the recipe says so
            continue
        assert site.token["token"] not in seen, cookies
        assert "secret" not in seen, cookies
        if cookies.count("zenzefi_sign_in") < 2:  # otherwise nginx sends no cookie at all
            assert ("theme=dark" in seen) == ("theme=dark" in cookies), cookies


async def test_a_second_device_gets_an_error_that_says_so(site: Site) -> None:
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
