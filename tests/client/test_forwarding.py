"""Bytes that the desktop agent passes on to the gate and back, and browsers that leave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from yarl import URL

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream, Wire
from tests.kit.raw_websockets import (
    ACCEPTED,
    HANDSHAKE,
    frame,
    receive_all,
    receive_exactly,
    receive_head,
    reset,
)
from tests.kit.waiting import until
from zenzefi.client.agent import Agent

pytestmark = [pytest.mark.every_loop, pytest.mark.usefixtures("loop_errors")]

TOKEN = "x" * 64


@dataclass
class Local:
    """An agent whose gate is ``faulty``."""

    agent: Agent
    port: int

    def connect(self) -> socket.socket:
        browser = socket.create_connection(("127.0.0.1", self.port))
        browser.setblocking(False)
        return browser

    async def open(self, head: bytes) -> socket.socket:
        """A connection on which this head was sent; ``HOST`` in it stands for the agent's."""
        browser = self.connect()
        await asyncio.get_running_loop().sock_sendall(browser, self.spelled(head))
        return browser

    def spelled(self, head: bytes) -> bytes:
        return head.replace(b"HOST", b"127.0.0.1:%d" % self.port)

    async def request(self, head: bytes, *, within: float = 10) -> bytes:
        """The whole response to a request with ``Connection: close``."""
        browser = await self.open(head)
        try:
            return await receive_all(browser, within=within)
        finally:
            browser.close()


@pytest.fixture
async def local(faulty: FaultyUpstream) -> AsyncIterator[Local]:
    port = unused_port()
    agent = Agent(URL(faulty.url), URL(f"http://127.0.0.1:{port}"), TOKEN, "0123456789abcdef0123")
    runner = agent.runner(shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield Local(agent, port)
    await runner.cleanup()


def get(target: str = "/", *headers: bytes, method: str = "GET") -> bytes:
    start = f"{method} {target} HTTP/1.1".encode()
    return b"\r\n".join([start, b"Host: HOST", *headers, b"Connection: close", b"", b""])


@pytest.mark.parametrize("target", ["/?", "/a?", "/a%2fb?x=%zz&y", "/%D0%BF?=&&", "/a//b/;c?d=e?f"])
@pytest.mark.parametrize("method", ["GET", "PROPFIND", "FROB", "get", "M-SEARCH", "X.Y~z"])
async def test_target_and_method_are_passed_on_as_they_are(
    local: Local, faulty: FaultyUpstream, method: str, target: str
) -> None:
    faulty.always(IMAGE_RESPONSE)
    assert (await local.request(get(target, method=method))).startswith(b"HTTP/1.1 200 OK\r\n")
    assert faulty.heads[0].startswith(f"{method} /api/v1/proxy{target} HTTP/1.1\r\n".encode())


async def test_bytes_that_are_not_utf8_stay_in_headers_both_ways(
    local: Local, faulty: FaultyUpstream
) -> None:
    faulty.always(b"HTTP/1.1 200 Ol\xe9\r\nX-Name: caf\xe9 \xd0\xff\r\nContent-Length: 0\r\n\r\n")
    response = await local.request(get("/", b"X-Name: \xffcaf\xe9", b"Cookie: a=\xe4"))
    assert response.startswith(b"HTTP/1.1 200 Ol\xe9\r\n")
    assert b"\r\nX-Name: caf\xe9 \xd0\xff\r\n" in response
    assert b"\r\nX-Name: \xffcaf\xe9\r\n" in faulty.heads[0]
    assert b"\r\nCookie: a=\xe4\r\n" in faulty.heads[0]


@pytest.mark.parametrize("size", [8191, 60_000])
async def test_long_response_headers_are_passed_on(
    local: Local, faulty: FaultyUpstream, size: int
) -> None:
    value = b"v" * size
    faulty.always(b"HTTP/1.1 200 OK\r\nX-Long: " + value + b"\r\nContent-Length: 2\r\n\r\nok")
    response = await local.request(get())
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"X-Long: " + value in response
    assert response.endswith(b"\r\n\r\nok")


async def test_a_page_cannot_set_the_headers_of_the_agent(
    local: Local, faulty: FaultyUpstream
) -> None:
    faulty.always(IMAGE_RESPONSE)
    await local.request(
        get(
            "/",
            b"X-Access-Token: forged",
            b"x-device-id: forged",
            b"X-Forwarded-For: forged",
            b"X-Forwarded-Prefix: /forged",
            b"Forwarded: for=forged",
            b"Connection: X-Once",
            b"X-Once: forged",
            b"TE: trailers",
        )
    )
    (head,) = faulty.heads
    assert b"forged" not in head
    lines = head.split(b"\r\n")
    assert [line for line in lines if line.lower().startswith(b"x-access-token")] == [
        b"X-Access-Token: " + TOKEN.encode()
    ]
    assert [line for line in lines if line.startswith(b"Host")] == [
        b"Host: " + faulty.url.removeprefix("http://").encode()
    ]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /a/../b HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nX:\x00\r\n\r\n",
    ],
)
async def test_ambiguous_requests_are_refused_here(
    local: Local, faulty: FaultyUpstream, head: bytes
) -> None:
    browser = await local.open(head)
    assert (await receive_head(browser)).split()[1] == b"400"
    assert faulty.connections == 0
    browser.close()


async def test_interim_responses_and_expectations_are_passed_on(
    local: Local, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = await wire.reader.readexactly(5)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + content)

    faulty.script = script
    head = get("/", b"Content-Length: 5", b"Expect: 100-continue", method="POST")
    browser = await local.open(head)
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 103 ")
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 100 ")
    await asyncio.get_running_loop().sock_sendall(browser, b"hello")
    assert (await receive_all(browser)).endswith(b"\r\n\r\nhello")
    browser.close()


async def test_streams_that_the_browser_leaves_end_at_the_gate(
    local: Local, faulty: FaultyUpstream
) -> None:
    """More than a pool holds: each one ends when its page is closed."""
    ended = 0

    async def script(wire: Wire) -> None:
        nonlocal ended
        if b" /api/v1/proxy/events " in wire.head:
            await wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
            )
            with contextlib.suppress(ConnectionError):
                assert await wire.reader.read() == b""
            ended += 1
        else:
            await wire.send(IMAGE_RESPONSE)

    faulty.script = script
    count = 300
    for number in range(count):
        browser = await local.open(get("/events", b"Accept: text/event-stream"))
        assert b"200" in await receive_head(browser)
        if number % 2:
            reset(browser)
        else:
            browser.close()
    await until(lambda: ended == count)
    assert (await local.request(get())).startswith(b"HTTP/1.1 200 OK\r\n")


CLOSES = [
    frame(b"\x0f\xa0as you wish", opcode=8),  # 4000
    frame(b"\x03\xe9", opcode=8),
    frame(b"", opcode=8),
    frame(b"\x11\x31", opcode=8),
]


@pytest.mark.parametrize("close", CLOSES)
async def test_frames_and_close_codes_are_passed_on_as_they_are(
    local: Local, faulty: FaultyUpstream, close: bytes
) -> None:
    sent = bytearray()

    async def script(wire: Wire) -> None:
        await wire.send(ACCEPTED)
        sent.extend(await wire.reader.readexactly(len(FROM_PAGE)))
        await wire.send(frame(b"z" * 70_000) + frame(b"ping", opcode=9) + close)
        wire.half_close()
        await wire.reader.read()

    faulty.script = script
    handshake = HANDSHAKE.replace(b"gate.test", b"HOST").replace(b"/api/v1/proxy", b"")
    mine = handshake.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: a, b\r\n\r\n", 1)
    browser = await local.open(mine + FROM_PAGE)
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    expected = frame(b"z" * 70_000) + frame(b"ping", opcode=9) + close
    assert await receive_exactly(browser, len(expected)) == expected
    assert bytes(sent) == FROM_PAGE
    assert b"\r\nSec-WebSocket-Protocol: a, b\r\n" in faulty.heads[0]
    await asyncio.wait_for(local.agent.news.wait(), 10)  # the token may have ended
    browser.close()


FROM_PAGE = frame(b"hello", masked=True) + frame(b"\x0f\xa1bye", opcode=8, masked=True)


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("moment", ["before the gate responds", "with the 101", "after the 101"])
async def test_a_page_may_leave_at_any_moment_of_a_handshake(
    local: Local, faulty: FaultyUpstream, moment: str, ending: str
) -> None:
    """Such as a reload. Nothing is logged as an error, and the gate's side ends as well."""
    has_left = asyncio.Event()

    async def script(wire: Wire) -> None:
        if moment == "before the gate responds":
            await has_left.wait()
        with contextlib.suppress(ConnectionError):
            await wire.send(ACCEPTED + frame(b"z" * 100_000))
            while await wire.reader.read(65536):
                pass

    faulty.script = script
    handshake = HANDSHAKE.replace(b"gate.test", b"HOST").replace(b"/api/v1/proxy", b"")
    for turns in range(10):
        browser = await local.open(handshake + FROM_PAGE[:11])
        if moment == "after the 101":
            await receive_head(browser)
        for _ in range(turns if moment == "with the 101" else 20):
            await asyncio.sleep(0)
        if ending == "reset":
            reset(browser)
        else:
            browser.close()
        has_left.set()
    await until(lambda: not faulty._tasks)
    assert not local.agent._forwarder._relays


async def test_a_refused_handshake_is_passed_on(local: Local, faulty: FaultyUpstream) -> None:
    faulty.always(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
    handshake = HANDSHAKE.replace(b"gate.test", b"HOST").replace(b"/api/v1/proxy", b"")
    browser = await local.open(handshake)
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert await receive_exactly(browser, 2) == b"no"
    await asyncio.wait_for(local.agent.news.wait(), 10)
    browser.close()


async def test_the_first_request_is_news_even_if_the_browser_leaves_it(
    local: Local, faulty: FaultyUpstream
) -> None:
    """It has started the token's time."""

    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
        await wire.reader.read()

    faulty.script = script
    browser = await local.open(get("/"))
    assert (await receive_head(browser)).startswith(b"HTTP/1.1 200 ")
    assert not local.agent.news.is_set()
    browser.close()
    await asyncio.wait_for(local.agent.news.wait(), 10)


async def test_stopping_the_agent_closes_websockets_with_1001(
    local: Local, faulty: FaultyUpstream
) -> None:
    faulty.always(ACCEPTED, then="stall")
    handshake = HANDSHAKE.replace(b"gate.test", b"HOST").replace(b"/api/v1/proxy", b"")
    browser = await local.open(handshake)
    await receive_head(browser)
    draining = asyncio.create_task(local.agent._forwarder.drain())
    assert (await receive_exactly(browser, 4))[2:] == (1001).to_bytes(2, "big")
    browser.close()
    await draining
