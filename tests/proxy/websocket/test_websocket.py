import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web

from tests.kit.echo_upstream import CLOSED_WITH
from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, BrowserMount, GateFactory, RunningGate
from tests.kit.raw_connections import WEBSOCKET_UPGRADE
from zenzefi.proxy.websocket import relay, side
from zenzefi.tokens.access import TokenAccess


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    """A client that sends no token by itself."""
    async with ClientSession() as session:
        yield session


async def test_a_websocket_echoes_text_and_binary_of_any_size(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket", max_msg_size=0) as ws:
        await ws.receive_json()
        for size in (1, 125, 126, 65535, 65536, 3_000_000):
            await ws.send_bytes(b"b" * size)
            assert len((await ws.receive()).data) == size
        await ws.send_str("привет")
        assert (await ws.receive()).data == "привет"


async def test_the_subprotocol_and_the_compression_are_the_upstreams(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.ws_connect(
        gate.proxy_url + "/socket", protocols=("nope", "chat"), compress=15
    ) as ws:
        assert ws.protocol == "chat"
        assert ws.compress == 15
        await ws.receive_json()
        await ws.send_str("a" * 10000)
        assert (await ws.receive()).data == "a" * 10000


async def test_the_token_parameter_is_admitted_and_removed(
    gate: RunningGate, browser: ClientSession
) -> None:
    async with browser.ws_connect(f"{gate.proxy_url}/socket?a=%zz&token={TOKEN}&b") as ws:
        hello = await ws.receive_json()
    assert hello["target"].startswith("/socket?a=%")
    assert "token" not in hello["target"]
    assert TOKEN not in json.dumps(hello)
    async with browser.get(f"{gate.proxy_url}/x?token={TOKEN}") as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("query", "headers", "rest"),
    [
        # The application's own tokens pass if another credential authenticates at the gate.
        ("token=theirs&x=1", {"X-Access-Token": TOKEN}, "token=theirs&x=1"),
        (f"token=theirs&token={TOKEN}", {"X-Access-Token": TOKEN}, "token=theirs"),
        (f"token=theirs&token={TOKEN}", {}, "token=theirs"),
        # Something that looks like the gate's is kept back, even one that no longer lets in.
        (f"x=1&token={'Z' * 64}", {"X-Access-Token": TOKEN}, "x=1"),
    ],
)
async def test_an_application_may_use_its_own_token_parameter(
    gate: RunningGate, browser: ClientSession, query: str, headers: dict[str, Any], rest: str
) -> None:
    async with browser.ws_connect(f"{gate.proxy_url}/socket?{query}", headers=headers) as ws:
        assert (await ws.receive_json())["target"] == f"/socket?{rest}"


@pytest.mark.parametrize(
    ("query", "rest"),
    [("token=theirs&x=1", "token=theirs&x=1"), (f"x=1&token={'Z' * 64}", "x=1")],
)
async def test_an_application_may_use_its_own_token_parameter_with_the_cookie(
    browser_mount: BrowserMount, browser: ClientSession, query: str, rest: str
) -> None:
    url = f"{browser_mount.url}/socket?{query}"
    async with browser.ws_connect(url, headers=browser_mount.headers) as ws:
        assert (await ws.receive_json())["target"] == f"/socket?{rest}"


async def test_an_invalid_token_parameter_is_reported(
    gate: RunningGate, browser: ClientSession
) -> None:
    for query, cookie in (("token=theirs", ""), (f"token={'Z' * 64}", "planted")):
        headers = {"Cookie": f"zenzefi_access_token={cookie}"} if cookie else {}
        with pytest.raises(WSServerHandshakeError) as refused:
            await browser.ws_connect(f"{gate.proxy_url}/socket?{query}", headers=headers)
        assert refused.value.status == 401


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("unknown", 401)])
async def test_without_a_valid_token_it_is_refused_before_the_upgrade(
    start_gate: GateFactory, faulty: FaultyUpstream, token: str | None, status: int
) -> None:
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/socket", *WEBSOCKET_UPGRADE, token=token)
    assert response.startswith(f"HTTP/1.1 {status}".encode())
    assert faulty.connections == 0


async def test_a_refusal_by_the_upstream_is_passed_on_as_its_status(
    gate: RunningGate, client: ClientSession
) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(gate.proxy_url + "/no-socket")
    assert refused.value.status == 418


async def test_connection_options_may_be_on_several_lines(gate: RunningGate) -> None:
    lines = ["Connection: keep-alive", *WEBSOCKET_UPGRADE]
    response = await gate.raw(
        "\r\n".join(
            [f"GET {PREFIX}/socket HTTP/1.1", "Host: h", f"X-Access-Token: {TOKEN}", *lines]
        ).encode()
        + b"\r\n\r\n",
        timeout=1,
    )
    assert response.startswith(b"HTTP/1.1 101")


async def test_http_10_knows_no_upgrade(start_gate: GateFactory, faulty: FaultyUpstream) -> None:
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok")
    gate = await start_gate(faulty.url)
    lines = [f"GET {PREFIX}/socket HTTP/1.0", f"X-Access-Token: {TOKEN}", *WEBSOCKET_UPGRADE]
    response = await gate.raw("\r\n".join(lines).encode() + b"\r\n\r\n", timeout=3)
    assert response.startswith(b"HTTP/1.0 200")
    assert b"Upgrade: websocket" not in faulty.heads[0]


async def test_a_426_names_the_required_protocol(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/s")
    assert response.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"\r\nUpgrade: websocket\r\n" in response
    assert b"\r\nConnection: Upgrade\r\n" in response


async def test_an_upstream_that_is_down_is_502_before_the_upgrade(
    start_gate: GateFactory, free_port: int
) -> None:
    gate = await start_gate(f"http://127.0.0.1:{free_port}")
    response = await gate.request(PREFIX + "/socket", *WEBSOCKET_UPGRADE)
    assert response.startswith(b"HTTP/1.1 502")
    assert gate.tokens.activations == []


async def test_close_codes_pass_both_ways(
    gate: RunningGate, client: ClientSession, upstream_app: web.Application
) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        await ws.send_str("close 4321")
        message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert (message.data, message.extra) == (4321, "as asked")
    ws = await client.ws_connect(gate.proxy_url + "/socket")
    await ws.receive_json()
    await ws.close(code=4007, message=b"bye")
    async with asyncio.timeout(3):
        await upstream_app[CLOSED_WITH].get()
        assert await upstream_app[CLOSED_WITH].get() == 4007


async def test_a_token_that_ends_closes_with_4401_and_the_reason(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        gate.tokens.revoke(reason="The access token was revoked.")
        async with asyncio.timeout(3):
            message = await ws.receive()
        assert (message.data, message.extra) == (4401, "The access token was revoked.")


async def test_a_token_that_ends_within_a_message_still_closes(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket", max_msg_size=0) as ws:
        await ws.receive_json()
        await ws.send_bytes(b"x" * 8_000_000)
        gate.tokens.revoke()
        async with asyncio.timeout(5):
            while (message := await ws.receive()).type is WSMsgType.BINARY:
                pass
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_draining_closes_with_1001(gate: RunningGate, client: ClientSession) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket") as ws:
        await ws.receive_json()
        draining = asyncio.ensure_future(gate.gate.websockets.drain())
        message = await ws.receive()
        assert message.data == 1001
        await draining
    assert gate.gate.websockets.open_count == 0


async def test_another_sites_page_cannot_use_the_cookie(
    browser_mount: BrowserMount, browser: ClientSession
) -> None:
    url, headers = browser_mount.url + "/socket", browser_mount.headers
    with pytest.raises(WSServerHandshakeError) as refused:
        await browser.ws_connect(url, headers=headers, origin="https://evil.example")
    assert refused.value.status == 403
    async with browser.ws_connect(url, headers=headers, origin=browser_mount.origin) as ws:
        assert TOKEN not in json.dumps(await ws.receive_json())


async def test_an_idle_browser_is_pinged_and_dropped_when_it_is_gone(gate: RunningGate) -> None:
    gate.gate.websockets._ping_seconds = 0.1
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    lines = [
        f"GET {PREFIX}/socket HTTP/1.1",
        "Host: h",
        f"X-Access-Token: {TOKEN}",
        *WEBSOCKET_UPGRADE,
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    async with asyncio.timeout(5):
        received = await reader.read()
    assert received.endswith(b"\x89\x00")
    writer.close()


async def test_bytes_sent_with_the_handshake_are_not_lost(gate: RunningGate) -> None:
    frame = b"\x81\x82\0\0\0\0hi"
    lines = [
        f"GET {PREFIX}/socket HTTP/1.1",
        "Host: h",
        f"X-Access-Token: {TOKEN}",
        *WEBSOCKET_UPGRADE,
    ]
    response = await gate.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + frame, timeout=1)
    assert response.startswith(b"HTTP/1.1 101")
    assert response.endswith(b"\x81\x02hi")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    ],
)
async def test_an_invalid_101_is_502(
    start_gate: GateFactory, faulty: FaultyUpstream, response: bytes
) -> None:
    faulty.always(response, then="stall")
    gate = await start_gate(faulty.url)
    assert (await gate.request(PREFIX + "/s", *WEBSOCKET_UPGRADE)).startswith(b"HTTP/1.1 502")


async def test_a_slow_browser_stops_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        frame = b"\x82\x7f" + (1_000_000).to_bytes(8, "big") + b"y" * 1_000_000
        while True:
            await wire.send(frame)
            sent += len(frame)

    faulty.script = script
    gate = await start_gate(faulty.url)
    _reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1000)
    lines = [f"GET {PREFIX}/s HTTP/1.1", "Host: h", f"X-Access-Token: {TOKEN}", *WEBSOCKET_UPGRADE]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    await asyncio.sleep(1)
    early = sent
    await asyncio.sleep(0.5)
    assert sent == early
    assert sent < 60_000_000
    writer.transport.abort()


async def test_a_browser_that_takes_nothing_is_dropped(
    start_gate: GateFactory, faulty: FaultyUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even in the middle of a frame, where no ping can be put."""
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        try:
            await wire.send(b"\x82\x7f" + (2**40).to_bytes(8, "big"))
            while True:
                await wire.send(b"y" * 1_000_000)
        finally:
            gone.set()

    faulty.script = script
    gate = await start_gate(faulty.url)
    monkeypatch.setattr(side, "STALL_SECONDS", 0.3)
    gate.gate.websockets._ping_seconds = 0.1
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1000)
    lines = [f"GET {PREFIX}/s HTTP/1.1", "Host: h", f"X-Access-Token: {TOKEN}", *WEBSOCKET_UPGRADE]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    async with asyncio.timeout(5):
        await gone.wait()
    assert gate.gate.websockets.open_count == 0
    writer.transport.abort()


async def test_an_internal_error_after_the_101_sends_no_http(
    gate: RunningGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(self: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(relay.WebSocketRelay, "run", run)
    lines = [
        f"GET {PREFIX}/socket HTTP/1.1",
        "Host: h",
        f"X-Access-Token: {TOKEN}",
        *WEBSOCKET_UPGRADE,
    ]
    response = await gate.raw("\r\n".join(lines).encode() + b"\r\n\r\n", timeout=3)
    assert response.startswith(b"HTTP/1.1 101")
    assert response.endswith(b"\r\n\r\n")
    assert response.count(b"HTTP/1.1") == 1
    assert "WebSocket relay failed" in caplog.text


async def test_a_browser_that_leaves_before_its_101_is_no_error(
    gate: RunningGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate.tokens.add()  # not activated yet
    gone = asyncio.Event()

    async def activate(access: TokenAccess) -> TokenAccess:
        writer.transport.abort()
        await asyncio.sleep(0.1)
        gone.set()
        return access

    monkeypatch.setattr(gate.tokens, "activate", activate)
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    lines = [
        f"GET {PREFIX}/socket HTTP/1.1",
        "Host: h",
        f"X-Access-Token: {TOKEN}",
        *WEBSOCKET_UPGRADE,
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    async with asyncio.timeout(5):
        await gone.wait()
    await asyncio.sleep(0.1)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert gate.gate.websockets.open_count == 0


async def test_the_system_watches_a_silent_upstream(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.ws_connect(gate.proxy_url + "/socket"):
        (splice,) = gate.gate.websockets._open
        sock = splice._upstream.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_token_that_ends_during_the_handshake_opens_no_websocket(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        gate.tokens.revoke()
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    assert await gate.request(PREFIX + "/s", *WEBSOCKET_UPGRADE, timeout=3) == b""
