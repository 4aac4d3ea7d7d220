"""A browser that disconnects at the worst moment, and the bytes that it receives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from zenzefi.tokens.access import TokenAccess

pytestmark = pytest.mark.every_loop


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {PREFIX}{path} HTTP/1.1", "Host: gate.test", f"X-Access-Token: {TOKEN}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("kind", ["text/html", "a/b"])
async def test_a_browser_may_leave_in_the_very_turn_in_which_its_response_comes(
    start_gate: GateFactory, loop_errors: list[str], kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(20):
            browser = connected(gate.port)
            browser.send(request("/x"))
            upstream, _ = await asyncio.to_thread(listener.accept)
            await asyncio.to_thread(upstream.recv, 65536)
            # Nothing is awaited in between: the gate finds both in one turn of its loop.
            reset(browser)
            upstream.send(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\nhi".encode()
            )
            await asyncio.sleep(0.01)
            upstream.close()
            await asyncio.sleep(0.01)
        gc.collect()


ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""For the example key of RFC 6455, 1.3."""
UPGRADE = request(
    "/socket",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
FRAMES = b"".join(b"\x82\x05frame" for _ in range(20)) + b"\x88\x02\x03\xe8"


@pytest.mark.parametrize("is_first_use", [True, False])
@pytest.mark.parametrize("then", ["stall", "close"])
@pytest.mark.parametrize("cut", [0, 1, 7, len(FRAMES)])
async def test_frames_right_behind_the_101_arrive(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    loop_errors: list[str],
    monkeypatch: pytest.MonkeyPatch,
    is_first_use: bool,
    then: str,
    cut: int,
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(ACCEPTED + FRAMES[:cut])
        await asyncio.sleep(0)
        await wire.send(FRAMES[cut:])
        if then == "stall":
            await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    if is_first_use:
        gate.tokens.add(activated=False)
        activate = gate.tokens.activate

        async def activate_slowly(access: TokenAccess) -> TokenAccess:  # as the database does
            await asyncio.sleep(0.03)
            return await activate(access)

        monkeypatch.setattr(gate.tokens, "activate", activate_slowly)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(UPGRADE)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(len(FRAMES)) == FRAMES
    writer.transport.abort()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_first_use", [True, False])
async def test_frames_right_behind_the_request_arrive(
    start_gate: GateFactory, faulty: FaultyUpstream, loop_errors: list[str], is_first_use: bool
) -> None:
    received = asyncio.get_running_loop().create_future()
    masked = b"\x82\x82\0\0\0\0hi" * 3

    async def script(wire: Wire) -> None:
        await wire.send(ACCEPTED)
        received.set_result(await wire.reader.readexactly(len(masked)))

    faulty.script = script
    gate = await start_gate(faulty.url)
    gate.tokens.add(activated=not is_first_use)
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(UPGRADE + masked)  # not allowed, but not to be lost or taken for a request
    async with asyncio.timeout(5):
        assert await received == masked
    writer.transport.abort()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("framing", ["Content-Length: 20", "Transfer-Encoding: chunked"])
async def test_no_100_continue_is_written_behind_the_final_head(
    start_gate: GateFactory, faulty: FaultyUpstream, loop_errors: list[str], framing: str
) -> None:
    """RFC 9110, 15.2: interim responses come before the final one, and nowhere else."""
    pieces = [b"first_____", b"second____"]
    if "chunked" in framing:
        pieces = [b"a\r\nfirst_____\r\n", b"a\r\nsecond____\r\n0\r\n\r\n"]

    async def script(wire: Wire) -> None:
        await wire.send(f"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n{framing}\r\n\r\n".encode())
        await wire.send(pieces[0])
        await asyncio.sleep(1.3)  # longer than the gate waits for the upstream's 100
        await wire.send(pieces[1])
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    expecting = request("/x", "Expect: 100-continue", "Content-Length: 5", method="POST")
    got = await gate.raw(expecting, timeout=2.5)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"100 Continue" not in got
    assert got.count(b"HTTP/1.1") == 1
    assert got.endswith(pieces[0] + pieces[1])


@pytest.mark.parametrize("after", [0.0, 0.1])
async def test_a_client_rejected_while_waiting_for_100_gets_only_the_rejection(
    start_gate: GateFactory, faulty: FaultyUpstream, loop_errors: list[str], after: float
) -> None:
    async def script(wire: Wire) -> None:
        await asyncio.sleep(after)
        await wire.send(
            b"HTTP/1.1 413 Too Large\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nno"
        )
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    expecting = request("/x", "Expect: 100-continue", "Content-Length: 5", method="POST")
    got = await gate.raw(expecting, timeout=3)
    assert got.startswith(b"HTTP/1.1 413 ")
    assert got.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in got


QUERIES = [
    "",
    "?",
    "?a=b",
    "?a=b+c",
    "?a=%0d%0aX-Evil:%201",
    "?a=%0D%0A%0D%0A<script>",
    "?%00",
    "?a=%7f&b=%1b",
    "?a=%25%0a",
    "?a=%D0%BF&b=%ff&c=%zz",
    "?&&=;?/?",
    "?a='\"<>`{}|^[]",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    ("path", "referer", "location"),
    [
        (PREFIX, None, f"{PREFIX}/"),
        ("/unmounted", f"http://gate.test{PREFIX}/page", f"{PREFIX}/unmounted"),
        (
            "/unmounted%0d%0aX-Evil:1",
            f"http://gate.test{PREFIX}/page",
            f"{PREFIX}/unmounted%0d%0aX-Evil:1",
        ),
    ],
)
async def test_a_redirect_keeps_the_bytes_of_the_request(
    start_gate: GateFactory,
    upstream: str,
    loop_errors: list[str],
    path: str,
    referer: str | None,
    location: str,
    query: str,
) -> None:
    gate = await start_gate(upstream, browser_mount="prefix")
    headers = [] if referer is None else [f"Referer: {referer}"]
    lines = [f"GET {path}{query} HTTP/1.1", "Host: gate.test", "Connection: close", *headers]
    got = await gate.raw("\r\n".join([*lines, "", ""]).encode())
    assert got.startswith(b"HTTP/1.1 30"), got[:200]
    found = [line for line in got.split(b"\r\n") if line.startswith(b"Location: ")]
    assert found == [f"Location: {location}{query}".encode()]


async def opened_socket(
    gate: RunningGate, listener: socket.socket
) -> tuple[socket.socket, socket.socket]:
    """Both ends of a WebSocket through the gate."""
    browser = connected(gate.port)
    browser.send(UPGRADE)
    upstream, _ = await asyncio.to_thread(listener.accept)
    await asyncio.to_thread(upstream.recv, 65536)
    upstream.send(ACCEPTED)
    head = await asyncio.to_thread(browser.recv, 65536)
    assert head.endswith(b"\r\n\r\n"), head
    return browser, upstream


FRAME = b"\x82\xfe\x10\x00\0\0\0\0" + b"z" * 4096


async def test_the_rest_of_a_frame_is_dropped_after_token_and_upstream_ended(
    start_gate: GateFactory, loop_errors: list[str]
) -> None:
    """The gate waits for the end of the frame; the upstream does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        browser, upstream = await opened_socket(gate, listener)
        browser.send(FRAME[:1000])
        await asyncio.to_thread(upstream.recv, 65536)
        gate.tokens.revoke()
        closing = await asyncio.to_thread(browser.recv, 65536)
        assert closing[:1] == b"\x88"
        assert closing[2:4] == (4401).to_bytes(2, "big")
        upstream.close()
        await asyncio.sleep(0.05)
        for piece in (FRAME[1000:2000], FRAME[2000:], FRAME):
            browser.send(piece)
            await asyncio.sleep(0.02)
        browser.send(b"\x88\x82\0\0\0\0" + closing[2:4])
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(browser.recv, 65536) == b""
        browser.close()


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("first", ["browser", "upstream"])
async def test_the_ends_of_a_socket_may_go_in_any_turn_while_frames_come(
    start_gate: GateFactory, loop_errors: list[str], first: str, ending: str
) -> None:
    """One end goes while the other one talks, and goes some turns of the loop later."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = await start_gate(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for turns in range(24):
            ends = await opened_socket(gate, listener)
            goes, stays = ends if first == "browser" else reversed(ends)
            for end in ends:
                end.setblocking(False)
                end.send(FRAME)
            await asyncio.sleep(0.01 * (turns % 2))
            goes.send(FRAME)
            stays.send(FRAME)
            reset(goes) if ending == "reset" else goes.close()
            with contextlib.suppress(OSError):  # the gate may have closed this end by now
                for _ in range(turns // 2):
                    await asyncio.sleep(0)
                    stays.send(FRAME)
            reset(stays)
        async with asyncio.timeout(5):
            while gate.gate.upstream.budget.open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
