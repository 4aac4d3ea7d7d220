"""A client that disconnects at any point is not an error of the gate: no traceback."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import BodyPartReader, web
from aiohttp.test_utils import TestServer

from tests.kit.api import buy, sign_up
from tests.kit.gates import GateClient
from tests.kit.visitors import Visitor
from zenzefi.http import request_id
from zenzefi.http.error_responses import errors_middleware
from zenzefi.http.request_id import request_id_middleware

PARTIAL = {
    "json": (b"application/json", b'{"email": "a'),
    "form": (b"application/x-www-form-urlencoded", b"email=a&pass"),
    "multipart": (b"multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; na"),
    "multipart value": (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="email"\r\n\r\nsome',
    ),
    "nothing": (b"application/octet-stream", b""),
}


async def leave(
    host: str, port: int, target: str, kind: str, *, chunked: bool, reset: bool, cookie: str = ""
) -> None:
    """Send the beginning of a request and go away, by FIN or by RST."""
    content_type, body = PARTIAL[kind]
    _, writer = await asyncio.open_connection(host, port)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5000"
    head = [
        f"POST {target} HTTP/1.1\r\nHost: {host}:{port}".encode(),
        b"Content-Type: " + content_type,
        framing,
    ]
    if cookie:
        head.append(cookie.encode())
    writer.write(b"\r\n".join(head) + b"\r\n\r\n")
    writer.write(b"%x\r\n%s\r\n" % (len(body), body) if chunked and body else body)
    await writer.drain()
    await asyncio.sleep(0.05)
    if reset:
        writer.transport.abort()
    else:
        writer.close()


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        f"{record.name}: {record.getMessage()} {record.exc_info}"
        for record in caplog.records
        if record.exc_info or record.levelno >= logging.ERROR
    ]


@pytest.mark.parametrize("kind", list(PARTIAL))
async def test_no_call_and_no_page_logs_a_traceback(
    gate: GateClient, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.INFO)
    visitor = await Visitor(gate).open("/login")
    cookie = "Cookie: " + "; ".join(f"{n}={v}" for n, v in visitor.cookies.items())
    bearer = await sign_up(gate)
    token = (await buy(gate, bearer, duration_hours=1))["token"]
    targets = {
        "/api/v1/auth/login": "",
        "/api/v1/auth/register": "",
        "/api/v1/tokens/purchase": f"Authorization: Bearer {bearer}",
        "/api/v1/webhooks/payment/manual": "",
        "/login": cookie,
        "/register": cookie,
        "/api/v1/proxy/upload": f"X-Access-Token: {token}",
    }
    assert gate.port is not None
    for target, header in targets.items():
        for chunked in (True, False):
            await leave(
                gate.host, gate.port, target, kind, chunked=chunked, reset=chunked, cookie=header
            )
    await asyncio.sleep(0.2)
    assert (await gate.get("/livez")).status == 200
    assert tracebacks(caplog) == []


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("way", ["read", "post", "text", "json", "multipart", "content", "write"])
async def test_a_disconnect_at_any_point_of_a_handler_causes_no_traceback(
    caplog: pytest.LogCaptureFixture, way: str, chunked: bool, reset: bool
) -> None:
    caplog.set_level(logging.INFO)
    ended = asyncio.Event()

    async def work(request: web.Request) -> web.StreamResponse:
        try:
            if way == "content":
                async for _ in request.content:
                    pass
            elif way == "multipart":
                async for part in await request.multipart():
                    assert isinstance(part, BodyPartReader)
                    await part.read()
            elif way == "write":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"x" * 1000)
                    await asyncio.sleep(0.01)
            else:
                await getattr(request, way)()
            return web.Response()
        finally:
            ended.set()

    app = web.Application(middlewares=[request_id_middleware, errors_middleware])
    request_id.setup(app)
    app.router.add_post("/", work)
    async with TestServer(app) as server:
        assert server.port is not None
        await leave("127.0.0.1", server.port, "/", "multipart value", chunked=chunked, reset=reset)
        async with asyncio.timeout(20):
            await ended.wait()
        await asyncio.sleep(0.05)
    assert tracebacks(caplog) == []


async def test_a_failure_in_the_middle_of_a_response_breaks_it_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"the first part")
        raise KeyError("a fault")

    app = web.Application(middlewares=[request_id_middleware, errors_middleware])
    request_id.setup(app)
    app.router.add_get("/", work)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            got = await asyncio.wait_for(reader.read(), 20)
        except ConnectionResetError:
            got = b""
        writer.close()
    assert got.count(b"HTTP/1.1") <= 1
    assert not got.endswith(b"0\r\n\r\n")
    assert any(record.exc_info for record in caplog.records)


async def test_an_internal_error_is_logged_although_the_client_has_disconnected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise KeyError("a fault")

    app = web.Application(middlewares=[request_id_middleware, errors_middleware])
    request_id.setup(app)
    app.router.add_post("/", work)
    async with TestServer(app) as server:
        assert server.port is not None
        await leave("127.0.0.1", server.port, "/", "json", chunked=True, reset=False)
        await asyncio.sleep(0.05)
    assert tracebacks(caplog)
