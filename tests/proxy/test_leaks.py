"""A soak test: after traffic of every kind, valid and not, no resource is leaked.

Every request gets its own response or its connection closes, and the gate logs no error. The gate
runs in a separate process, where sockets, tasks and memory can be counted. A few seconds of it are
part of every run; ``make soak MINUTES=10`` takes longer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWSTimeout,
    DummyCookieJar,
    WSMsgType,
)

from tests.kit.event_loops import LOOPS
from tests.kit.faulty_upstream import FaultyUpstream, Wire, write
from tests.kit.measured_gate import ENDING, MeasuredGate
from tests.kit.proxy_gates import PREFIX, TOKEN
from tests.kit.request_model import (
    DISGUISES,
    KNOWN,
    UNKNOWN,
    SentRequest,
    echo,
    read_request,
    response_to,
    responses,
)

SECONDS = float(os.environ.get("SOAK_SECONDS", "4"))
AT_ONCE = 24
IMPATIENT = ClientWSTimeout(ws_close=0.2)  # the upstream does not reply to a close


@pytest.fixture(params=LOOPS)
def gate_process(
    request: pytest.FixtureRequest,
    faulty: FaultyUpstream,
    free_port: int,
    at_once: bool,
    tmp_path: Path,
) -> Iterator[MeasuredGate]:
    log = tmp_path / "gate.log"
    gate = MeasuredGate(faulty.url, free_port, log, at_once=at_once, loop=request.param)
    yield gate
    gate.stop()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n"
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
BROKEN = {
    b"/cut": OK + b"Content-Length: 100\r\n\r\nonly this",
    b"/chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    b"/page": HTML + b"Content-Length: 100000\r\n\r\n<a href=/x>" + b"<p>" * 1000,
    b"/garbage": b"\0\1\2\r\n\r\n",
    b"/flood": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100,
    b"/both": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
WHOLE = {
    b"/small": OK + b"Content-Length: 5\r\n\r\nhello",
    b"/html": HTML + b"Content-Length: 11\r\n\r\n<a href=/x>",
    b"/large": OK + b"Content-Length: 2000000\r\n\r\n" + b"z" * 2_000_000,
    b"/chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"/early": b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"/nothing": b"HTTP/1.1 204 No Content\r\n\r\nbody that must not be",
}
SOCKET = (
    b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


async def upstream(wire: Wire) -> None:
    """Responds by path, correctly or not; keeps connections open where it can."""
    while True:
        path = wire.head.split(b" ")[1]
        if b"Upgrade: websocket" in wire.head and path == b"/socket":
            await serve_socket(wire)
            return
        if path in BROKEN:
            await wire.send(BROKEN[path])
            if random.random() < 0.3:
                wire.reset()
            return
        if path == b"/stall":
            await wire.stall()
        if path == b"/stream":
            await wire.send(OK + b"\r\n")
            await wire.throttle(b"piece" * 200, 5, 0.01)
            return
        if path == b"/early":  # before the content, which it does not read
            await wire.send(WHOLE[path])
            return
        if b"\r\nExpect: " in wire.head and random.random() < 0.7:
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen = await read_request(wire.reader, wire.head)
        if path.startswith(b"/echo/"):
            await asyncio.sleep(float(seen.fields.get("x-slow", "0")))
            await wire.send(response_to(seen))
        elif seen.method == "HEAD":
            await wire.send(
                WHOLE.get(path, WHOLE[b"/small"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            )
        else:
            await wire.send(WHOLE.get(path, WHOLE[b"/small"]))
        await wire.read_head()


async def serve_socket(wire: Wire) -> None:
    key = next(
        line[18:]
        for line in wire.head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    accept_key = hashlib.sha1(key.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    await wire.send(SOCKET % base64.b64encode(accept_key) + b"\x81\x02hi")
    while await wire.reader.read(65536):
        await wire.send(b"\x81\x02hi")


async def download(client: ClientSession, gate: MeasuredGate, path: str) -> None:
    async with client.get(gate.url + path) as response:
        await response.read()


async def upload(client: ClientSession, gate: MeasuredGate, path: str) -> None:
    async with client.post(gate.url + path, data=b"z" * 50_000) as response:
        await response.read()


async def leave_the_stream(client: ClientSession, gate: MeasuredGate, path: str) -> None:
    async with client.get(gate.url + path) as response:
        await response.content.readany()
        response.close()


async def socket_closed(client: ClientSession, gate: MeasuredGate, path: str) -> None:
    async with client.ws_connect(gate.url + path, timeout=IMPATIENT) as ws:
        await ws.receive()
        await ws.send_bytes(b"x" * 100_000)
        await ws.receive()


async def socket_left(client: ClientSession, gate: MeasuredGate, path: str) -> None:
    ws = await client.ws_connect(gate.url + path)
    await ws.receive()
    ws._response.close()


async def socket_ended(client: ClientSession, gate: MeasuredGate, path: str) -> None:
    headers = {"X-Access-Token": ENDING}
    async with client.ws_connect(gate.url + path, headers=headers, timeout=IMPATIENT) as ws:
        while (await ws.receive(timeout=3)).type is WSMsgType.TEXT:
            pass


async def leave_before_the_response(_: ClientSession, gate: MeasuredGate, path: str) -> None:
    head = f"GET {PREFIX}{path} HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n\r\n"
    _reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    await asyncio.sleep(random.random() / 50)
    writer.transport.abort()
    await asyncio.sleep(0)


async def malformed_request(_: ClientSession, gate: MeasuredGate, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(f"GET {PREFIX}{path} HTTP/1.1\r\nHost: h\r\nX A: b\r\n\r\n".encode())
    await reader.read()
    writer.close()
    await writer.wait_closed()


class WrongResponse(AssertionError):
    """A response that does not belong to its request."""


def sequence() -> list[SentRequest]:
    """A few requests for one connection."""
    return [
        SentRequest(
            random.choice(KNOWN + UNKNOWN),
            random.choice([None, b"", b"GET /evil HTTP/1.1\r\n\r\n", b"z" * 70_000]),
            random.choice([(), (1, 5, 900)]),
            tuple(random.choices(DISGUISES, k=random.randrange(3))),
            is_led_by_empty_lines=random.random() < 0.2,
            expects=random.random() < 0.1,
            slow=random.choice([0, 0, 0.01]),
            is_rewritten=random.random() < 0.3,
        )
        for _ in range(random.randint(1, 5))
    ]


def wire_of(requests: list[SentRequest]) -> bytes:
    return b"".join(
        one.wire(number, is_last=number == len(requests) - 1, folder="/echo")
        for number, one in enumerate(requests)
    )


async def in_pieces(writer: asyncio.StreamWriter, stream: bytes) -> None:
    """Write it cut at random places, at a random pace."""
    while stream:
        size = random.choice([1, 7, 60, 400, 100_000])
        write(writer, stream[:size])
        stream = stream[size:]
        await asyncio.sleep(random.choice([0, 0, 0.001]))


async def pipelined(_: ClientSession, gate: MeasuredGate, _path: str) -> None:
    """Each response must be that of its request."""
    requests = sequence()
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    try:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            reading = group.create_task(responses(reader, requests))
            group.create_task(in_pieces(writer, wire_of(requests)))
        expected = [
            (200, echo(one.method, f"/echo/{number}", one.content or b""))
            for number, one in enumerate(requests)
        ]
        for one, due, got in zip(requests, expected, reading.result(), strict=True):
            if due != got:
                raise WrongResponse(f"{one.method}: {got} in the place of {due}")
    except* (ConnectionError, asyncio.IncompleteReadError) as broken:
        raise WrongResponse(f"{requests}: no response") from broken
    finally:
        writer.transport.abort()


async def vanishing(_: ClientSession, gate: MeasuredGate, _path: str) -> None:
    """Leaves in the middle of it."""
    stream = wire_of(sequence())
    _reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    await in_pieces(writer, stream[: random.randrange(len(stream))])
    writer.transport.abort()
    await asyncio.sleep(0)


async def posting(_: ClientSession, gate: MeasuredGate, path: str) -> None:
    """A content in pieces, to an upstream that may break at any time: a response or an end."""
    requests = SentRequest(
        "POST", b"z" * random.choice([10, 5000, 300_000]), random.choice([(), (7, 9)])
    )
    stream = requests.wire(0, is_last=True).replace(b"/0 HTTP", path.encode() + b" HTTP", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    try:
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                await in_pieces(writer, stream)
                if not (await reader.read()).startswith(b"HTTP/1.1 "):
                    raise WrongResponse(f"POST {path}")
    finally:
        writer.transport.abort()


Exchange = Callable[[ClientSession, MeasuredGate, str], Awaitable[None]]
KINDS: list[tuple[Exchange, str]] = [
    *[(download, path.decode()) for path in (*WHOLE, *BROKEN)],
    *[(posting, path.decode()) for path in (*WHOLE, *BROKEN)],
    *[(pipelined, "")] * 8,
    *[(vanishing, "")] * 4,
    (download, "/stall"),
    (posting, "/stall"),
    (upload, "/count"),
    (upload, "/early"),
    (upload, "/cut"),
    (leave_the_stream, "/stream"),
    (leave_the_stream, "/large"),
    (leave_before_the_response, "/stream"),
    (leave_before_the_response, "/large"),
    (leave_before_the_response, "/html"),
    (socket_closed, "/socket"),
    (socket_closed, "/small"),  # refused
    (socket_left, "/socket"),
    (socket_ended, "/socket"),
    (malformed_request, "/x"),
]


async def traffic(gate: MeasuredGate, seconds: float) -> tuple[int, list[str]]:
    """All kinds at once, for so long: how many exchanges there were, and which went wrong."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    done = 0
    wrong: list[str] = []

    async def client_loop(client: ClientSession, offset: int) -> None:
        nonlocal done
        while loop.time() < until:
            work, path = KINDS[(done * 7 + offset) % len(KINDS)]
            try:
                await work(client, gate, path)
            except* TimeoutError:
                wrong.append(f"{work.__name__} {path}: unanswered")
            except* WrongResponse as group:
                wrong.extend(map(str, group.exceptions))
            except* (ClientError, ConnectionError):
                pass  # the upstream broke, and the gate said so
            done += 1

    async def ending() -> None:
        while loop.time() < until + 0.5:
            await asyncio.sleep(0.25)
            gate.revoke()

    async with ClientSession(
        headers={"X-Access-Token": TOKEN},
        timeout=ClientTimeout(total=10),
        cookie_jar=DummyCookieJar(),
    ) as client:
        await asyncio.gather(ending(), *(client_loop(client, i) for i in range(AT_ONCE)))
    return done, wrong


async def settled(gate: MeasuredGate, faulty: FaultyUpstream) -> dict[str, int]:
    """The counts after the upstream has closed its connections, when they no longer change."""
    faulty.hang_up()
    before: dict[str, int] = {}
    now = await asyncio.to_thread(gate.count)
    async with asyncio.timeout(20):
        while now != before or now["open_connections"]:
            await asyncio.sleep(0.5)
            before, now = now, await asyncio.to_thread(gate.count)
    return now


@pytest.mark.timeout(SECONDS + 120)
async def test_no_task_connection_or_memory_is_leaked(
    gate_process: MeasuredGate, faulty: FaultyUpstream
) -> None:
    faulty.script = upstream
    await traffic(gate_process, 2)
    before = await settled(gate_process, faulty)
    weight = gate_process.resident_bytes()
    done, wrong = await traffic(gate_process, SECONDS)
    assert wrong == []
    assert done > 10 * SECONDS
    assert await settled(gate_process, faulty) == before
    assert gate_process.resident_bytes() < weight + 12_000_000
    assert await asyncio.to_thread(gate_process.errors) == []
