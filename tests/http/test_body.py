"""Contents that are too large or too slow: refused early, in the one shape."""

import asyncio
import json

import pytest

from tests.kit.gates import MakeGate
from zenzefi.http import body

LOGIN = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"


async def response_to(port: int | None, *pieces: bytes) -> bytes:
    assert port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.read(10_000)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def code_in(response: bytes) -> str:
    return str(json.loads(response.partition(b"\r\n\r\n")[2])["code"])


async def test_an_announced_length_beyond_the_limit_is_refused_unread(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="off")
    response = await response_to(gate.port, LOGIN + b"Content-Length: 99999999\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 413")
    assert code_in(response) == "payload_too_large"


@pytest.mark.parametrize("limit", ["off", "10/minute"])
async def test_content_that_does_not_arrive_is_408(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(body, "CONTENT_SECONDS", 0.2)
    gate = await make_gate(rate_limit_login=limit)
    response = await response_to(gate.port, LOGIN + b"Content-Length: 20\r\n\r\n{")
    assert response.startswith(b"HTTP/1.1 408")
    assert code_in(response) == "request_timeout"


FORMS = {
    "no boundary": (b"multipart/form-data", b"x"),
    "another boundary": (b"multipart/form-data; boundary=x", b"--y\r\n\r\n"),
    "nested": (
        b"multipart/form-data; boundary=x",
        b"--x\r\nContent-Type: multipart/mixed; boundary=z\r\n\r\n--z\r\n\r\n--z--\r\n--x--",
    ),
    "unknown charset": (b"application/x-www-form-urlencoded; charset=nope", b"email=a"),
    "not in its charset": (b"application/x-www-form-urlencoded", b"email=\xff"),
}


@pytest.mark.parametrize("sent", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("limit", ["off", "10/minute"])
async def test_a_malformed_form_is_400(
    make_gate: MakeGate, sent: tuple[bytes, bytes], limit: str
) -> None:
    gate = await make_gate(rate_limit_login=limit)
    kind, body = sent
    head = b"POST /login HTTP/1.1\r\nHost: h\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    response = await response_to(gate.port, head % (kind, len(body)) + body)
    assert response.startswith(b"HTTP/1.1 400")
    assert code_in(response) == "bad_request"
