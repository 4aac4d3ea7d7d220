"""Ambiguous requests, which two servers could parse differently, sent as raw bytes."""

import asyncio
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_requests import AUTH, HOST, raw_request
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.http.target import check_path, split_target

REFUSED = {
    "a fragment": raw_request(f"GET {PREFIX}/a#b HTTP/1.1", HOST, AUTH),
    "another host in an absolute target": raw_request(
        f"GET http://evil.example{PREFIX}/ HTTP/1.1", HOST, AUTH
    ),
    "user info in an absolute target": raw_request(
        f"GET http://gate.example@evil{PREFIX}/ HTTP/1.1", HOST, AUTH
    ),
    "another scheme in an absolute target": raw_request(
        "GET ftp://gate.example/ HTTP/1.1", HOST, AUTH
    ),
    "a control byte in the target": raw_request(f"GET {PREFIX}/a\x01b HTTP/1.1", HOST, AUTH),
    "a NUL in the target": raw_request(f"GET {PREFIX}/a\0b HTTP/1.1", HOST, AUTH),
    "a DEL in the target": raw_request(f"GET {PREFIX}/a\x7fb HTTP/1.1", HOST, AUTH),
    "a tab in the target": raw_request(f"GET {PREFIX}/a\tb HTTP/1.1", HOST, AUTH),
    "bytes that are not UTF-8 in the target": raw_request(
        f"GET {PREFIX}/\xff HTTP/1.1", HOST, AUTH
    ),
    "HTTP/2.0": raw_request(f"GET {PREFIX}/ HTTP/2.0", HOST, AUTH),
    "HTTP/0.9": raw_request(f"GET {PREFIX}/ HTTP/0.9", HOST, AUTH),
    "HTTP/1.2": raw_request(f"GET {PREFIX}/ HTTP/1.2", HOST, AUTH),
    "Icecast's version": raw_request(f"SOURCE {PREFIX}/ ICE/1.0", HOST, AUTH),
    "Icecast's version with another method": raw_request(f"GET {PREFIX}/ ICE/1.0", HOST, AUTH),
    "RTSP's version with GET": raw_request(f"GET {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "RTSP's version with an unknown method": raw_request(f"BREW {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "RTSP's version": raw_request(f"DESCRIBE {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "RTSP's version with a shared method": raw_request(f"OPTIONS {PREFIX}/ RTSP/1.0", HOST, AUTH),
    "no version": raw_request(f"GET {PREFIX}/", HOST, AUTH),
    "no host": raw_request(f"GET {PREFIX}/ HTTP/1.1", AUTH),
    "two hosts": raw_request(f"GET {PREFIX}/ HTTP/1.1", HOST, "Host: evil.example", AUTH),
    "a host that is none": raw_request(f"GET {PREFIX}/ HTTP/1.1", "Host: a/b", AUTH),
    "a repeated token": raw_request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, AUTH),
    "a repeated device": raw_request(
        f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-Device-ID: " + "a" * 8, "X-Device-ID: " + "b" * 8
    ),
    "gzip as transfer coding": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: gzip, chunked"
    ),
    "chunked twice": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: chunked, chunked"
    ),
    "two transfer codings": raw_request(
        f"POST {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ),
    "identity as transfer coding": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: identity"
    ),
    "an obfuscated chunked": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Transfer-Encoding: \x0bchunked"
    ),
    "both framings": raw_request(
        f"POST {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n",
    ),
    "chunks in HTTP/1.0": raw_request(
        f"POST {PREFIX}/ HTTP/1.0", HOST, AUTH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "two lengths": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Content-Length: 1", "Content-Length: 2", body=b"a"
    ),
    "a list of lengths": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Content-Length: 1, 1", body=b"a"
    ),
    "a signed length": raw_request(
        f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, "Content-Length: +1", body=b"a"
    ),
    **{
        f"the length {value[:12]!r} of {len(value)} characters": raw_request(
            f"POST {PREFIX}/ HTTP/1.1", HOST, AUTH, f"Content-Length: {value}", body=b"ab"
        )
        for value in [
            *("9" * 4300, "9" * 5000, "0" * 5000 + "2", "9" * 19, "18446744073709551616", "-2"),
            *("0x2", "2_0", "2.0", "2e0", "two", "", "2 2", '"2"', "\xd9\xa2", "\xb2", "2\x0b"),
        ]
    },
    "a space before the colon": raw_request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A : b"),
    "a folded header": raw_request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: b\r\n c"),
    "a bare CR in a header": raw_request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: b\rX-B: c"),
    "a NUL in a header": raw_request(f"GET {PREFIX}/ HTTP/1.1", HOST, AUTH, "X-A: b\0c"),
    "an upgrade with a length": raw_request(
        f"GET {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Upgrade: websocket",
        "Content-Length: 5",
        body=b"hello",
    ),
    "an upgrade with chunks": raw_request(
        f"GET {PREFIX}/ HTTP/1.1",
        HOST,
        AUTH,
        "Upgrade: websocket",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\n",
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
async def test_an_ambiguous_request_is_rejected_before_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream, raw: bytes
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
async def test_dots_outside_dot_segments_pass(proxy_gate: RunningGate, path: str) -> None:
    assert (await proxy_gate.request(PREFIX + path)).startswith(b"HTTP/1.1 200")


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
async def test_letters_beyond_ascii_pass_as_they_are_encoded(
    proxy_gate: RunningGate, path: str
) -> None:
    response = await proxy_gate.request(PREFIX + path)
    assert response.startswith(b"HTTP/1.1 200")
    assert f'"target": "{path}"'.encode() in response


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
    raw = raw_request(
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
async def test_nothing_is_read_after_an_ignored_upgrade(
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
def test_an_accepted_path_has_no_dot_segment_after_any_number_of_decodings(text: str) -> None:
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
def test_splitting_never_changes_a_byte(text: str, host: str | None) -> None:
    raw = "/" + text
    try:
        target = split_target(raw, host)
    except AmbiguousRequest:
        return
    assert target.raw == raw
