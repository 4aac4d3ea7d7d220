"""Bodies on their way to the browser: streams, ranges, rewriting, truncation, caching."""

import asyncio

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import (
    PREFIX,
    GateFactory,
    RunningGate,
    head_of,
)
from zenzefi.rewriting.body import BodyRewrite


async def test_a_length_cut_by_the_upstream_is_seen_as_a_break(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 100\r\n\r\nonly this")
    gate = await start_gate(faulty.url)
    async with client.get(gate.proxy_url + "/x") as response:
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await response.read()


async def test_a_token_that_ends_breaks_off_a_running_download(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.get(gate.proxy_url + "/stream?n=1000&pause=0.05") as response:
        await response.content.readany()
        gate.tokens.revoke()
        async with asyncio.timeout(5):
            with pytest.raises((ClientPayloadError, ClientConnectionError)):
                await response.read()


async def test_a_token_that_ends_before_a_long_response_begins_gets_none_of_it(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    async def script(wire: Wire) -> None:
        gate.tokens.revoke()
        await wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 100000\r\n\r\nsecret"
        )
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", timeout=3)
    assert response.startswith(b"HTTP/1.1 401")
    assert b"secret" not in response


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n"


async def test_event_streams_end_when_the_gate_goes_down(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    faulty.always(EVENTS, then="stall")
    gate = await start_gate(faulty.url)
    headers = {"Accept": "text/event-stream"}
    async with client.get(gate.proxy_url + "/events", headers=headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert await response.content.readany() == b"data: 1\n\n"
        gate.gate.http.drain()
        async with asyncio.timeout(3):
            with pytest.raises((ClientPayloadError, ClientConnectionError)):
                await response.content.readany()


async def test_event_streams_for_the_desktop_client_are_mapped_and_end_too(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    faulty.always(EVENTS + f'data: "{faulty.url}/x"\n\n'.encode(), then="stall")
    gate = await start_gate(faulty.url)
    headers = {"Accept": "text/event-stream", "X-Device-ID": "desktop-1"}
    async with client.get(gate.proxy_url + "/events", headers=headers) as response:
        expected = b'data: 1\n\ndata: "https://127.0.0.1:61000/x"\n\n'
        async with asyncio.timeout(3):
            assert await response.content.readexactly(len(expected)) == expected
            gate.gate.http.drain()
            with pytest.raises((ClientPayloadError, ClientConnectionError)):
                await response.content.readany()


async def test_html_is_rewritten_as_it_comes_and_a_cut_page_stays_cut(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    async def script(wire: Wire) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
        await wire.send(head + b"Content-Length: 100000\r\n\r\n<!doctype html><a href='/x'>")
        await wire.send(b"<p>" + b"a" * 5000)
        await asyncio.sleep(0.3)
        wire.reset()

    faulty.script = script
    gate = await start_gate(faulty.url)
    async with asyncio.timeout(5), client.get(gate.proxy_url + "/page") as response:
        first = await response.content.readany()
        assert PREFIX.encode() + b"/x" in first
        assert "Content-Length" not in response.headers
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            await response.read()


async def test_a_desktop_client_gets_identity_even_from_an_upstream_that_compresses_always(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.get(
        gate.proxy_url + "/gzip", headers={"X-Device-ID": "0123456789abcdef0123"}
    ) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.read() == b"hello " * 100


async def test_a_range_of_a_rewritten_document_is_requested_again_as_a_whole(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    async def script(wire: Wire) -> None:
        while True:
            if b"\r\nRange:" in wire.head:
                await wire.send(
                    b"HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\n"
                    b"Content-Range: bytes 0-3/20\r\nContent-Length: 4\r\n\r\n<a h"
                )
            else:
                await wire.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n"
                    b"<a href='/x'>hi</a>"
                )
            wire.head = await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    headers = {"Range": "bytes=0-3", "Sec-Fetch-Dest": "empty"}
    async with client.get(gate.proxy_url + "/some/file.bin", headers=headers) as response:
        assert response.status == 200
        assert PREFIX.encode() + b"/x" in await response.read()


async def test_a_range_of_a_body_that_is_not_rewritten_passes(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    faulty.always(
        b"HTTP/1.1 206 Partial Content\r\nContent-Type: video/mp4\r\n"
        b"Content-Range: bytes 0-3/20\r\nContent-Length: 4\r\n\r\nabcd"
    )
    gate = await start_gate(faulty.url)
    async with client.get(gate.proxy_url + "/v.mp4", headers={"Range": "bytes=0-3"}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == "bytes 0-3/20"
        assert await response.read() == b"abcd"
    assert b"Range: bytes=0-3\r\n" in faulty.heads[0]


async def test_an_internal_error_after_the_head_sends_no_second_response(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def finish(self: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(BodyRewrite, "finish", finish)
    page = b"<!doctype html><p>" + b"piece " * 5000
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page)
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x")
    assert response.count(b"HTTP/1.1") == 1
    assert b"piece" in response
    assert not response.endswith(b"0\r\n\r\n")
    assert "rewriting a response failed" in caplog.text


@pytest.mark.parametrize(
    ("upstream_value", "wanted"),
    [
        ("public, max-age=60", "max-age=60, private"),
        (None, "private"),
        ("s-maxage=600", "private"),
        ("max-age=60", "max-age=60, private"),
        ("no-store", "no-store"),
    ],
)
@pytest.mark.parametrize("kind", ["image/png", "text/html"])
async def test_no_shared_cache_may_store_a_response_to_a_token(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    kind: str,
    upstream_value: str | None,
    wanted: str,
) -> None:
    """A CDN in front of the gate would hand it to visitors without a token."""
    cache_control = f"Cache-Control: {upstream_value}\r\n" if upstream_value else ""
    faulty.always(
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{cache_control}"
        "Surrogate-Control: max-age=600\r\nContent-Length: 13\r\n\r\n<a href='/'/>".encode()
    )
    gate = await start_gate(faulty.url)
    head = head_of(await gate.request(PREFIX + "/x"))
    assert f"Cache-Control: {wanted}".encode() in head
    assert not [line for line in head if line.startswith(b"Surrogate-Control")]
