"""``_method`` on its way to the upstream: a token's scope must cover the method that it names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.multipart import MULTIPART, NAMED, part
from tests.kit.proxy_gates import PREFIX, GateFactory

READER = "R" * 64
WRITER = "W" * 64
SCOPES = {"reader": ["GET,POST /files/**"], "writer": ["/files/**"]}
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@pytest.mark.parametrize(
    ("query", "token", "status"),
    [
        ("_method=DELETE", READER, 403),
        ("a=1&%5Fmethod=delete", READER, 403),
        ("_method=POST&_method=PATCH", READER, 403),
        ("_method=POST", READER, 200),
        ("_method=", READER, 200),
        ("_method=DELETE", WRITER, 200),
        ("_method=DELETE", "T" * 64, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_method_in_the_query_must_be_covered(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    query: str,
    token: Any,
    status: int,
    method: str,
) -> None:
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n")
    gate = await start_gate(faulty.url, scopes=SCOPES)
    gate.tokens.add("T" * 64, activated=True)
    gate.tokens.add(READER, "reader", activated=True)
    gate.tokens.add(WRITER, "writer", activated=True)
    plain = await gate.request(f"{PREFIX}/files/a", method=method, token=token)
    assert plain[9:12] == b"200"  # the head is recognised from now on
    response = await gate.request(f"{PREFIX}/files/a?{query}", method=method, token=token)
    assert response[9:12] == str(status).encode()
    assert len(faulty.heads) == 1 + (status == 200)


async def test_a_method_in_the_query_must_be_covered_in_a_recognised_head(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """The same head again on one connection: it is recognised."""
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n")
    gate = await start_gate(faulty.url, scopes=SCOPES)
    gate.tokens.add(READER, "reader", activated=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    statuses = []
    for query in ("a=1", "a=2", "a=3", "_method=DELETE", "a=4", "%5fmethod=put", "_method=post"):
        writer.write(
            f"GET {PREFIX}/files/a?{query} HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n"
            f"X-Access-Token: {READER}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        statuses.append(head[9:12])
    writer.close()
    assert statuses == [b"200", b"200", b"200", b"403", b"200", b"403", b"200"]


# --- contents: over sockets


class Application:
    """An upstream that reads whole requests, and notes those that were complete."""

    def __init__(self) -> None:
        self.complete: list[bytes] = []
        self.cut_off = 0

    async def serve(self, wire: Wire) -> None:
        head = wire.head.lower()
        try:
            if b"chunked" in head:
                body = await wire.reader.readuntil(b"0\r\n\r\n")
            else:
                length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
                body = await wire.reader.readexactly(length)
        except asyncio.IncompleteReadError:
            self.cut_off += 1
            return
        self.complete.append(body)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize(
    ("token", "kind", "body", "status"),
    [
        (READER, FORM, b"a=1&_method=DELETE", 403),
        (READER, FORM, b"a=" + b"x" * 300_000 + b"&_method=DELETE&b=1", 403),
        (READER, None, b"_method=DELETE", 403),
        (READER, MULTIPART, part(NAMED + '"_method"'), 403),
        (READER, JSON, b'{"_method":"DELETE"}', 403),
        (READER, FORM + "; charset=utf-7", b"a=1", 403),
        (READER, FORM, b"_method=post&a=1", 200),
        (READER, FORM, b"a=1&b=2", 200),
        (READER, MULTIPART, part(NAMED + '"b"'), 200),
        (READER, "application/octet-stream", b"_method=DELETE", 200),
        (WRITER, FORM, b"_method=DELETE", 200),
        (WRITER, FORM + "; charset=utf-7", b"a=1", 200),
        ("T" * 64, FORM, b"_method=DELETE", 200),
    ],
)
async def test_a_method_in_the_content_must_be_covered(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    token: Any,
    kind: Any,
    body: Any,
    status: int,
    framing: str,
) -> None:
    application = Application()
    faulty.script = application.serve
    gate = await start_gate(faulty.url, scopes=SCOPES)
    gate.tokens.add("T" * 64, activated=True)
    gate.tokens.add(READER, "reader", activated=True)
    gate.tokens.add(WRITER, "writer", activated=True)
    lines = [f"Content-Type: {kind}"] if kind else []
    if framing == "length":
        sent = body
        lines.append(f"Content-Length: {len(body)}")
    else:
        sent = b"".join(
            b"%x\r\n%b\r\n" % (len(body[at : at + 5000]), body[at : at + 5000])
            for at in range(0, len(body), 5000)
        )
        sent += b"0\r\n\r\n"
        lines.append("Transfer-Encoding: chunked")
    response = await gate.request(
        f"{PREFIX}/files/a", *lines, method="POST", token=token, body=sent
    )
    assert response[9:12] == str(status).encode(), response[:300]
    assert len(application.complete) == (status == 200)
    if status == 200 and framing == "length":
        assert application.complete == [body]
