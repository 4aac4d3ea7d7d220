"""The desktop agent in front of a real gate: the application at a local root, the token unseen."""

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.kit import api
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from zenzefi.client.agent import Agent, NotAGate, TokenEnded
from zenzefi.client.certificate import server_context

DEVICE = "0123456789abcdef0123"


@dataclass
class Local:
    """The agent as a browser sees it."""

    agent: Agent
    session: aiohttp.ClientSession
    token: dict[str, object]
    bearer: str

    def url(self, path: str) -> str:
        return f"{self.agent.public}{path}"


@contextlib.asynccontextmanager
async def agent_for(gate: URL, token: str, port: int) -> AsyncIterator[Agent]:
    agent = Agent(gate, URL(f"http://127.0.0.1:{port}"), token, DEVICE)
    runner = agent.runner()
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield agent
    finally:
        await runner.cleanup()


@pytest.fixture
async def local(gate: GateClient, free_port: int) -> AsyncIterator[Local]:
    bearer = await api.sign_up(gate)
    token = await api.buy(gate, bearer)
    async with (
        agent_for(gate.make_url("/").origin(), str(token["token"]), free_port) as agent,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield Local(agent, session, token, bearer)


async def test_a_request_arrives_with_token_and_device_and_comes_back_whole(
    local: Local, upstream: RecordingUpstream
) -> None:
    async with local.session.get(
        local.url("/a%2Fb/c?x=1&y=%20"), headers={"X-Access-Token": "forged"}
    ) as response:
        assert response.status == 200
        assert await response.json() == {"method": "GET", "path": "/a%2Fb/c?x=1&y=%20"}
    (arrived,) = upstream.requests
    assert "X-Access-Token" not in arrived.headers
    assert arrived.headers["X-Token-Id"] == local.token["id"]


async def test_links_cookies_and_redirects_are_those_of_the_local_root(
    local: Local, upstream: RecordingUpstream
) -> None:
    async def respond(request: web.Request) -> web.Response:
        response = web.Response(status=302, headers={"Location": f"{upstream.origin}/next?a=1"})
        response.headers.add("Set-Cookie", "a=1; Path=/")
        response.headers.add("Set-Cookie", "b=2; Path=/deep")
        return response

    upstream.handlers["/go"] = respond
    async with local.session.get(local.url("/go"), allow_redirects=False) as response:
        assert response.headers["Location"] in (local.url("/next?a=1"), "/next?a=1")
        paths = [line.split("Path=")[1] for line in response.headers.getall("Set-Cookie")]
        assert [path.split(";")[0] for path in paths] == ["/", "/deep"]


async def test_bodies_stream_both_ways(local: Local, upstream: RecordingUpstream) -> None:
    size = 3_000_000
    received = 0

    async def respond(request: web.Request) -> web.StreamResponse:
        nonlocal received
        async for piece in request.content.iter_any():
            received += len(piece)
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for _ in range(size // 100_000):
            await response.write(b"y" * 100_000)
        return response

    upstream.handlers["/bulk"] = respond
    async with local.session.post(local.url("/bulk"), data=io.BytesIO(b"x" * size)) as response:
        assert len(await response.read()) == size
    assert received == size
    assert (local.agent.traffic.sent, local.agent.traffic.received) == (size, size)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_length_stays_a_length_and_chunks_stay_chunks(
    local: Local, upstream: RecordingUpstream, method: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    async with local.session.request(method, local.url("/a"), data=b"abc") as response:
        assert response.status == 200
    async with local.session.request(method, local.url("/b"), data=pieces()) as response:
        assert response.status == 200
    whole, streamed = (one.headers for one in upstream.requests)
    assert whole["Content-Length"] == "3"
    assert "Transfer-Encoding" not in whole
    assert streamed["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in streamed


async def test_responses_without_content_stay_without_content(
    local: Local, upstream: RecordingUpstream
) -> None:
    async def unchanged(request: web.Request) -> web.Response:
        return web.Response(status=304, headers={"ETag": '"1"'})

    async def picture(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 500, content_type="image/png")

    upstream.handlers.update({"/same": unchanged, "/picture": picture})
    async with local.session.head(local.url("/picture")) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "500")
        assert await response.read() == b""
    async with local.session.get(local.url("/same"), headers={"If-None-Match": '"1"'}) as response:
        assert (response.status, await response.read()) == (304, b"")


async def test_a_body_that_breaks_off_does_not_look_whole(
    local: Local, upstream: RecordingUpstream
) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    upstream.handlers["/cut"] = broken
    with pytest.raises(aiohttp.ClientPayloadError):
        async with local.session.get(local.url("/cut")) as response:
            await response.read()


async def test_an_event_stream_arrives_as_it_is_sent(
    local: Local, upstream: RecordingUpstream
) -> None:
    go_on = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        await response.write(b"data: 2\n\n")
        return response

    upstream.handlers["/events"] = respond
    async with local.session.get(local.url("/events")) as response, asyncio.timeout(10):
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        go_on.set()
        assert await response.content.readuntil(b"\n\n") == b"data: 2\n\n"


async def test_a_websocket_is_relayed_with_the_protocol_that_the_upstream_chose(
    local: Local, upstream: RecordingUpstream
) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["chat.v2"])
        await socket.prepare(request)
        async for message in socket:
            if message.data == "bye":
                await socket.close(code=4000, message=b"as you wish")
            elif message.type is aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data[::-1])
            else:
                await socket.send_str(message.data.upper())
        return socket

    upstream.handlers["/live"] = respond
    async with (
        asyncio.timeout(10),
        local.session.ws_connect(local.url("/live"), protocols=["chat.v1", "chat.v2"]) as socket,
    ):
        assert socket.protocol == "chat.v2"
        await socket.send_str("hallo")
        assert await socket.receive_str() == "HALLO"
        await socket.send_bytes(b"\x01\x02")
        assert await socket.receive_bytes() == b"\x02\x01"
        await socket.send_str("bye")
        end = await socket.receive()
        assert (end.type, end.data, end.extra) == (aiohttp.WSMsgType.CLOSE, 4000, "as you wish")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:61000"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "iframe",
        },
        {"Origin": "https://evil.example"},
    ],
)
async def test_other_sites_can_not_use_the_agent(
    local: Local, upstream: RecordingUpstream, headers: dict[str, str]
) -> None:
    async with local.session.get(local.url("/"), headers=headers) as response:
        assert response.status == 403
    assert upstream.requests == []


async def test_a_link_from_another_site_opens(local: Local) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with local.session.get(local.url("/"), headers=headers) as response:
        assert response.status == 200


async def test_it_learns_that_the_token_has_ended(local: Local, gate: GateClient) -> None:
    assert (await local.agent.status()).time_remaining_seconds > 0
    await api.call(gate, "DELETE", f"/tokens/{local.token['id']}", bearer=local.bearer)
    async with local.session.get(local.url("/")) as response:
        assert response.status == 401
    assert local.agent.news.is_set()
    with pytest.raises(TokenEnded, match="token_revoked"):
        await local.agent.status()


async def test_an_unreachable_gate_is_reported_and_retried(free_port: int) -> None:
    nowhere = URL("http://127.0.0.1:1")
    async with (
        agent_for(nowhere, "x" * 64, free_port) as agent,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{agent.public}/") as response:
            assert response.status == 502
            assert "keeps trying" in await response.text()
        with pytest.raises(aiohttp.ClientError):
            await agent.status()


async def test_another_server_at_the_address_is_distinguished_from_a_gate(
    free_port: int,
) -> None:
    async with (
        TestServer(web.Application()) as other,
        agent_for(other.make_url("/").origin(), "x" * 64, free_port) as agent,
    ):
        with pytest.raises(NotAGate):
            await agent.status()


async def test_it_serves_https_with_a_certificate_that_it_keeps(
    make_gate: MakeGate, upstream: RecordingUpstream, tmp_path: Path, free_port: int
) -> None:
    context, fingerprint = server_context(tmp_path / "agent")
    assert server_context(tmp_path / "agent")[1] == fingerprint
    assert (tmp_path / "agent" / "connect.pem").stat().st_mode & 0o777 == 0o600
    gate = await make_gate(zenzefi_target_url=upstream.origin)
    token = await api.buy(gate, await api.sign_up(gate))
    public = URL(f"https://127.0.0.1:{free_port}")
    agent = Agent(gate.make_url("/").origin(), public, str(token["token"]), DEVICE)
    runner = agent.runner()
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", free_port, ssl_context=context).start()
        trusting = ssl.create_default_context(cafile=str(tmp_path / "agent" / "connect.pem"))
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
            session.get(f"{public}/page") as response,
        ):
            assert await response.json() == {"method": "GET", "path": "/page"}
    finally:
        await runner.cleanup()
