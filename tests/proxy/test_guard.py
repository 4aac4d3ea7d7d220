"""Ambiguous requests, which two servers could parse differently, sent as raw bytes."""

import asyncio
import contextlib
import json
import re
import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from zenzefi.http import request_handler
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.http.target import check_path, split_target

HOST = "Host: gate.example"
AUTH = f"X-Access-Token: {TOKEN}"


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [line, *headers, "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


REFUSED = {
    "a fragment": request(f"GET {PREFIX}/a#b HTTP/1.1", HOST, AUTH),
    "another host in an absolute target": request(
        f"GET http://evil.example{PREFIX}/ HTTP/1.1", HOST, AUTH
    ),
    "user info in an absolute target": request(
        f"GET http://gate.example@evil{PREFIX}/ HTTP/1.1", HOST, AUTH
    ),
    "another scheme in an absolute target": request("GET ftp://gate.example/ HTTP/1.1", HOST, AUTH),
    "a control byte in the target": request(f"GET {PREFIX}/a\x01b HTTP/1.1", HOST, AUTH),
    "a NUL in the target": request(f"GET {PREFIX}/a\0b HTTP/1.1", HOST, AUTH),
    "a DEL in the target": request(f"GET {PREFIX}/a\x7fb HTTP/1.1", HOST, AUTH),
    "a tab in the target": request(f"GET {PREFIX}/a\tb HTTP/1.1", HOST, AUTH),
    "bytes that are not UTF-8 in the target": request(f"GET {PREFIX}/\xff HTTP/1.1", HOST, AUTH),
    "HTTP/2.0": request(f"GET {PREFIX}/ HTTP/2.0", HOST, AUTH),
    "HTTP/0.9": request(f"GET {PREFIX}/ HTTP/0.9", HOST, AUTH),
    "HTTP/1.2": request(f"GET {PREFIX}/ HTTP/1.2", HOST, AUTH),
    "Icecast's version": request(f"SOURCE {PREFIX}/ ICE/1.0", HOST, AUTH),
    "Icecast's version with another method": request(f"GET {PREFIX}/ ICE/1.0", HOST, AUTH),
    "RTSP's version with GET": request(f"GET {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "RTSP's version with an unknown method": request(f"BREW {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "RTSP's version": request(f"DESCRIBE {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "RTSP's version with a shared method": request(f"OPTIONS {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "no version": request(f"GET {PREFIX}/", HOST, AUTH),
    "no host": request(f"GET {PREFIX}/ HTTP/1.1", AUTH),
    "two hosts": request(f"GET {PREFIX}/ HTTP/1.1", HOST, "Host: evil.example", AUTH),
    "a host that is none": request(f"GET {PREFIX}/ HTTP/1.1", "Host: a/b", AUTH),
    "a repeated token": request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, AUTH),
    "a repeated device": request(
        f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-Device-ID: " + "a" * 8, "X-Device-ID: " + "b" * 8
    ),
    "gzip as transfer coding": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: gzip, chunked"
    ),
    "chunked twice": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: chunked, chunked"
    ),
    "two transfer codings": request(
        f"POST {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ),
    "identity as transfer coding": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: identity"
    ),
    "an obfuscated chunked": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: \x0bchunked"
    ),
    "both framings": request(
        f"POST {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n",
    ),
    "chunks in HTTP/1.0": request(
        f"POST {PREFIX}/ HTTP/1.0", HOST, AUTH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "two lengths": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Content-Length: 1", "Content-Length: 2", body=b"a"
    ),
    "a list of lengths": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Content-Length: 1, 1", body=b"a"
    ),
    "a signed length": request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Content-Length: +1", body=b"a"
    ),
    **{
        f"the length {value[:12]!r} of {len(value)} characters": request(
            f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, f"Content-Length: {value}", body=b"ab"
        )
        for value in [
            *("9" * 4300, "9" * 5000, "0" * 5000 + "2", "9" * 19, "18446744073709551616", "-2"),
            *("0x2", "2_0", "2.0", "2e0", "two", "", "2 2", '"2"', "\xd9\xa2", "\xb2", "2\x0b"),
        ]
    },
    "a space before the colon": request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A : b"),
    "a folded header": request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: b\r\n c"),
    "a bare CR in a header": request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: b\rX-B: c"),
    "a NUL in a header": request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: b\0c"),
    "an upgrade with a length": request(
        f"GET {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Upgrade: websocket",
        "Content-Length: 5",
        body=b"hello",
    ),
    "an upgrade with chunks": request(
        f"GET {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Upgrade: websocket",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n",
    ),
    "a line that is too long": request(f"GET {PREFIX}/{'a' * 9000} HTTP/1.1", HOST, AUTH),
    "a header that is too long": request(
        f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: " + "a" * 9000
    ),
    "a flood of headers": request(
        f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, *(f"X-{i}: a" for i in range(500))
    ),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n",
}
DOTS = [
    "/a/../b",
    "/..",
    "/../",
    "/a/.",
    "/./a",
    "/%2e%2e/a",
    "/.%2E/a",
    "/a/%2e",
    "/a%2f..%2fb",
    "/%252e%252e/a",
    "/%25252e%25252e/a",
    "/a%252f%252e%252e%252fb",
    "/a\\b",
    "/a%5cb",
    "/a%5C..%5Cb",
    "/a%255cb",
    "/..;/a",
    "/..;x=1/a",
    "/%2e%2e;/a",
    "/%c0%ae%c0%ae/a",
    "/%e0%80%ae/a",
    "/%u002e%u002e/a",
    "/%25c0%25ae%25c0%25ae/a",
    "/%25u002e%25u002e/a",
]


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
async def test_an_ambiguous_request_is_refused_and_reaches_nobody(
    start_gate: GateFactory, faulty: FaultyUpstream, raw: Any
) -> None:
    gate = await start_gate(faulty.url)
    began = time.monotonic()
    response = await gate.raw(raw, timeout=8)
    assert time.monotonic() - began < 5  # the connection ends
    head, _, body = response.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 400 Bad Request\r\n", head), response[:200]
    error = json.loads(body)
    assert error["code"] == "ambiguous_request"
    assert "RFC" in error["detail"]
    assert error["request_id"]
    assert b"aiohttp" not in head
    assert TOKEN not in response.decode("latin-1")
    assert faulty.connections == 0


@pytest.mark.parametrize("path", DOTS)
async def test_dot_segments_and_backslashes_in_any_encoding_are_refused(
    start_gate: GateFactory, faulty: FaultyUpstream, path: str
) -> None:
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + path)
    assert response.startswith(b"HTTP/1.1 400")
    assert faulty.connections == 0


@pytest.mark.parametrize(
    "path", ["/a.b", "/...", "/.well-known/x", "/a..b/", "/a%2eb", "/%25", "/a;b=..x", "/%2525"]
)
async def test_dots_that_are_no_dot_segments_pass(gate: RunningGate, path: str) -> None:
    assert (await gate.request(PREFIX + path)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path",
    [
        "/%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82",  # UTF-8
        "/%EF%F0%E8%E2%E5%F2",  # windows-1251
        "/%C0%E1%E7%E0%F6/%C1",
        "/caf%C3%A9%20%E2%82%AC/%F0%9F%98%80",
        "/a%FFb%00",
        "/%25D0%25BF",
    ],
)
async def test_letters_beyond_ascii_pass_as_they_are_encoded(gate: RunningGate, path: str) -> None:
    response = await gate.request(PREFIX + path)
    assert response.startswith(b"HTTP/1.1 200")
    assert f'"target": "{path}"'.encode() in response


@pytest.mark.parametrize("method", ["BREW", "version-Control", "get", "X!#$%&'*+.^_`|~9", "GETS"])
async def test_any_method_token_passes_as_it_is_spelled(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    async def script(wire: Wire) -> None:
        assert await wire.reader.readexactly(2) == b"ok"
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi")

    faulty.script = script
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", "Content-Length: 2", method=method, body=b"ok")
    assert response.endswith(b"hi")
    assert faulty.heads[0].startswith(f"{method} /x HTTP/1.1\r\n".encode())


async def test_an_unknown_method_may_come_byte_by_byte_and_between_others(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi")
            faulty.heads.append(await wire.read_head())

    faulty.script = script
    gate = await start_gate(faulty.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    methods = ["GET", "BREW", "GETS", "POST"]
    async with asyncio.timeout(10):
        for method in methods:
            for byte in f"{method} {PREFIX}/x HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode():
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            await reader.readuntil(b"\r\n\r\nhi")
    assert [head.split()[0].decode() for head in faulty.heads] == methods
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("method", ["B(EW", "B\xe9EW", "A" * 65, ""])
async def test_what_is_no_method_token_is_refused(gate: RunningGate, method: str) -> None:
    response = await gate.raw(request(f"{method} {PREFIX}/x HTTP/1.1", HOST, AUTH), timeout=3)
    assert response[8:12] == b" 400"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_are_405_with_allow(gate: RunningGate, method: str) -> None:
    target = f"{PREFIX}/" if method == "TRACE" else "gate.example:443"
    response = await gate.raw(request(f"{method} {target} HTTP/1.1", HOST, AUTH), timeout=3)
    assert response.startswith(b"HTTP/1.1 405")
    assert b"\r\nAllow: GET, HEAD" in response


@pytest.mark.parametrize("target", [PREFIX + "/x", "/gate-page", "/nowhere"])
@pytest.mark.parametrize("expected", ["200-maybe", "\udcff\udcfe"])
async def test_another_expectation_than_100_continue_is_417(
    gate: RunningGate, target: str, expected: str
) -> None:
    response = await gate.request(target, f"Expect: {expected}")
    assert response.startswith(b"HTTP/1.1 417")
    assert b'"code": "expectation_failed"' in response


async def test_an_absolute_target_for_this_host_is_the_same_as_its_path(gate: RunningGate) -> None:
    raw = request(f"GET http://gate.example{PREFIX}/a?b HTTP/1.1", HOST, AUTH)
    response = await gate.raw(raw)
    assert b'"target": "/a?b"' in response


async def test_http_10_works_without_chunks_and_without_keep_alive(gate: RunningGate) -> None:
    raw = f"GET {PREFIX}/stream?n=2 HTTP/1.0\r\n{AUTH}\r\n\r\n".encode()
    response = await gate.raw(raw)
    assert response.endswith(b"\r\n\r\npiece 0\npiece 1\n")
    assert b"Transfer-Encoding" not in response


async def test_a_head_that_trickles_in_is_cut_off(
    gate: RunningGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_handler, "HEAD_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(f"GET {PREFIX}/ HTTP/1.1\r\n".encode())
    began = time.monotonic()
    response = b""
    async with asyncio.timeout(5):
        while not response:
            writer.write(b"X-A: b\r\n")
            try:
                async with asyncio.timeout(0.05):
                    response = await reader.read(1000)
            except TimeoutError:
                continue
    assert response.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 3
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_content_that_stops_is_cut_off(start_gate: GateFactory, upstream: str) -> None:
    gate = await start_gate(upstream, upstream_read_timeout=0.3)
    response = await gate.request(
        PREFIX + "/count", "Content-Length: 100", method="POST", body=b"only this", timeout=3
    )
    assert response.startswith(b"HTTP/1.1 408")


async def test_content_with_broken_chunks_is_400_or_cut_off(gate: RunningGate) -> None:
    response = await gate.request(
        PREFIX + "/count",
        "Transfer-Encoding: chunked",
        method="POST",
        body=b"5\r\nhello!!\r\n0\r\n\r\n",
    )
    assert response[8:12] == b" 400"


async def test_broken_chunks_to_the_gate_itself_are_the_clients_mistake(
    gate: RunningGate, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {PREFIX}/authenticate HTTP/1.1\r\n{HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode() + b"2\r\n{}\r\n")
    await asyncio.sleep(0.1)
    writer.write(b"zz\r\n")
    async with asyncio.timeout(5):
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 400")
    assert b'"ambiguous_request"' in response
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_who_leaves_in_the_middle_of_a_content_leaves_no_traceback(
    gate: RunningGate, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    head = f"POST {PREFIX}/authenticate HTTP/1.1\r\n{HOST}\r\nContent-Length: 20\r\n\r\n"
    writer.write(head.encode())
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.sleep(0.2)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_pipelined_requests_are_answered_in_order_and_a_flood_does_not_pile_up(
    gate: RunningGate,
) -> None:
    one = f"GET {PREFIX}/n%d HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n"
    last = f"GET {PREFIX}/last HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\nConnection: close\r\n\r\n"
    flood = "".join(one % i for i in range(300)) + last
    response = await gate.raw(flood.encode(), timeout=20)
    positions = [response.index(f'"target": "/n{i}"'.encode()) for i in range(300)]
    assert positions == sorted(positions)
    assert b'"target": "/last"' in response


async def test_a_flood_behind_a_request_that_waits_is_not_read(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """Not more than the gate keeps and the system itself takes for a socket."""

    async def script(wire: Wire) -> None:
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    one = f"GET {PREFIX}/x HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode()
    piece, taken = one * 1000, 0
    with socket.socket() as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", gate.port))
        with contextlib.suppress(TimeoutError):
            while taken < 24_000_000:
                async with asyncio.timeout(2):
                    await loop.sock_sendall(sock, piece)
                taken += len(piece)
    assert taken < 16_000_000


@pytest.mark.parametrize("at_once", [1, 20])
async def test_who_only_asks_and_takes_nothing_is_not_answered_without_end(
    start_gate: GateFactory, faulty: FaultyUpstream, at_once: int
) -> None:
    async def script(wire: Wire) -> None:
        body = b"z" * 30_000
        while True:
            await wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 30000\r\n\r\n" + body
            )
            faulty.heads.append(await wire.read_head())

    faulty.script = script
    gate = await start_gate(faulty.url)
    one = f"GET {PREFIX}/x HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode() * at_once
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", gate.port))
        for _ in range(1200 // at_once):  # 36 MB of responses
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await loop.sock_sendall(sock, one)
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        assert len(faulty.heads) < 400  # what the system itself takes for a socket


@pytest.mark.parametrize(
    "refused",
    [
        f"GET {PREFIX}/a/../b HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n",
        f"TRACE {PREFIX}/ HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n",
        f"GET {PREFIX}/ HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n{AUTH}\r\n\r\n",
    ],
)
async def test_a_refused_request_is_the_last_of_its_connection(
    start_gate: GateFactory, faulty: FaultyUpstream, refused: str
) -> None:
    """Also when it ends where everybody would say: its sender is not to be trusted."""
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok")
    gate = await start_gate(faulty.url)
    following = f"GET {PREFIX}/following HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n"
    response = await gate.raw((refused + following).encode(), timeout=10)
    assert response.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in response
    assert faulty.connections == 0


async def test_bytes_behind_a_refused_request_are_not_read_as_another(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url)
    smuggled = f"GET {PREFIX}/smuggled HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode()
    raw = request(
        f"POST {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Transfer-Encoding: chunked, identity",
        body=smuggled,
    )
    response = await gate.raw(raw.replace(b"Connection: close\r\n", b""), timeout=3)
    assert response.count(b"HTTP/1.1 ") == 1
    assert faulty.connections == 0


@pytest.mark.parametrize(
    "upgrade",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
        ("Connection: Upgrade", "Upgrade: websocket, h2c"),
        ("Connection: Upgrade", "Upgrade: TLS/1.2"),
    ],
)
async def test_behind_an_upgrade_that_is_ignored_nothing_is_read(
    start_gate: GateFactory, faulty: FaultyUpstream, upgrade: tuple[str, ...]
) -> None:
    """The parser forgets what came with it: the rest of that must not look like a request."""
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok")
    gate = await start_gate(faulty.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    lines = [f"GET {PREFIX}/first HTTP/1.1", HOST, AUTH, *upgrade]
    second = f"POST {PREFIX}/second HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\nContent-Length: 999\r\n\r\n"
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + second).encode())
    writer.write(f"GET {PREFIX}/smuggled HTTP/1.1\r\n{HOST}\r\n{AUTH}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        response = await reader.read()
    assert response.count(b"HTTP/1.1 200") == 1
    assert b"\r\nConnection: close\r\n" in response
    assert [head.split()[1] for head in faulty.heads] == [b"/first"]
    assert b"pgrade" not in faulty.heads[0]
    writer.close()
    await writer.wait_closed()


@given(st.text(alphabet="/.%2eE5cC;\\ab", max_size=24))
def test_what_passes_holds_no_dot_segment_after_any_number_of_decodings(text: Any) -> None:
    from urllib.parse import unquote

    path = "/" + text
    try:
        check_path(path)
    except AmbiguousRequest:
        return
    for _ in range(30):
        assert "\\" not in path
        assert not {".", ".."} & {part.split(";")[0] for part in path.split("/")}
        path = unquote(path, encoding="latin-1")


@given(st.text(max_size=40), st.sampled_from([None, "h", "h:80"]))
def test_splitting_never_changes_a_byte(text: Any, host: Any) -> None:
    raw = "/" + text
    try:
        target = split_target(raw, host)
    except AmbiguousRequest:
        return
    assert target.raw == raw
