import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate, body_of, sent_headers
from zenzefi.proxy.browser_response import ClientResponse


def head_of(response: bytes) -> list[bytes]:
    return response.partition(b"\r\n\r\n")[0].split(b"\r\n")


async def test_a_request_passes_with_its_raw_path_query_method_and_body(
    gate: RunningGate, client: ClientSession
) -> None:
    target = "/a%20b/%41;x=1//c?q=%zz&b=\\&&x=%2e%2e"
    raw = await gate.request(PREFIX + target, method="GET")
    assert raw.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(body_of(raw))["target"] == target
    async with client.request("PROPFIND", gate.proxy_url + "/dav", data=b"<x/>") as response:
        echoed = json.loads(await response.read())
    assert echoed["method"] == "PROPFIND"
    assert echoed["body"] == "<x/>"


async def test_a_bare_question_mark_stays(gate: RunningGate) -> None:
    response = await gate.request(PREFIX + "/a?")
    assert json.loads(body_of(response))["target"] == "/a?"


async def test_content_with_a_length_goes_on_with_it_and_chunks_as_chunks(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.post(gate.proxy_url + "/x", data=b"12345") as response:
        headers = dict(sent_headers(json.loads(await response.read())))
    assert headers["content-length"] == "5"
    assert "transfer-encoding" not in headers

    async def pieces() -> AsyncIterator[Any]:
        yield b"123"
        yield b"45"

    async with client.post(gate.proxy_url + "/x", data=pieces()) as response:
        echoed = json.loads(await response.read())
    headers = dict(sent_headers(echoed))
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    assert echoed["body"] == "12345"


async def test_the_upstream_sees_who_asks_and_none_of_the_gates_secrets(
    gate: RunningGate, client: ClientSession
) -> None:
    access = gate.tokens.known[TOKEN]
    async with client.get(
        gate.proxy_url + "/x",
        headers={
            "X-Device-ID": "d" * 20,
            "X-User-Id": "forged",
            "x_user_id": "forged",
            "X.User.Id": "forged",
            "X_Token-Id": "forged",
            "X-Forwarded-For": "6.6.6.6",
            "X-Forwarded-Prefix": "/evil",
            "Cookie": f"a=1; zenzefi_access_token={TOKEN}; __Host-zenzefi_session=s; b=2",
            "Referer": gate.proxy_url + "/from?x=1",
            "Origin": gate.url,
            "Connection": "keep-alive, X-Named",
            "X-Named": "hop",
        },
    ) as response:
        echoed = json.loads(await response.read())
    headers = sent_headers(echoed)
    assert ("x-user-id", str(access.user_id)) in headers
    assert ("x-token-id", str(access.token_id)) in headers
    text = json.dumps(echoed)
    assert "forged" not in text
    assert TOKEN not in text
    assert "d" * 20 not in text
    assert "6.6.6.6" not in text
    assert "hop" not in text
    assert ("cookie", "a=1; b=2") in headers


async def test_origin_and_referer_are_the_upstreams(
    gate: RunningGate, client: ClientSession, upstream: str
) -> None:
    async with client.post(
        gate.proxy_url + "/x",
        headers={"Origin": gate.url, "Referer": gate.proxy_url + "/from?x=1"},
    ) as response:
        headers = dict(sent_headers(json.loads(await response.read())))
    assert headers["origin"] == upstream
    assert headers["referer"] == upstream + "/from?x=1"
    assert headers["host"] == upstream.removeprefix("http://")


async def test_repeated_headers_stay_repeated_and_cookies_are_mapped(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.get(gate.proxy_url + "/cookies") as response:
        cookies = response.headers.getall("Set-Cookie")
    assert cookies == [
        f"one=1; Path={PREFIX}/; HttpOnly",
        f"two=2; Path={PREFIX}/sub",
        f"zup-zenzefi_access_token=evil; Path={PREFIX}/",
    ]


async def test_redirects_are_passed_on_and_mapped(
    gate: RunningGate, client: ClientSession, upstream: str
) -> None:
    for to in ("/there?x=1", upstream + "/there?x=1"):
        async with client.get(
            gate.proxy_url + "/redirect", params={"to": to}, allow_redirects=False
        ) as response:
            assert response.status == 302
            location = response.headers["Location"]
        assert location.removeprefix(gate.url) == f"{PREFIX}/there?x=1"


async def test_compressed_bodies_pass_as_they_are(gate: RunningGate, client: ClientSession) -> None:
    async with client.get(gate.proxy_url + "/gzip") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert (await response.read())[:2] == b"\x1f\x8b"


async def test_a_stream_arrives_piece_by_piece(gate: RunningGate, client: ClientSession) -> None:
    async with client.get(gate.proxy_url + "/stream?n=3&pause=0.2") as response:
        first = await response.content.readany()
        assert first == b"piece 0\n"
        assert await response.read() == b"piece 1\npiece 2\n"


async def test_head_has_the_length_and_no_body(gate: RunningGate) -> None:
    response = await gate.request(PREFIX + "/large?size=12345", method="HEAD")
    assert b"Content-Length: 12345" in head_of(response)
    assert body_of(response) == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_content_end_at_their_head(
    start_gate: GateFactory, faulty: FaultyUpstream, status: int
) -> None:
    faulty.always(f'HTTP/1.1 {status} X\r\nETag: "e"\r\n\r\n'.encode(), then="stall")
    gate = await start_gate(faulty.url)
    response = await gate.request(PREFIX + "/x", timeout=5)
    assert head_of(response)[0] == f"HTTP/1.1 {status} X".encode()
    assert body_of(response) == b""
    assert b"chunked" not in response


async def test_bytes_that_are_not_utf8_pass_in_headers_both_ways(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(
        b'HTTP/1.1 200 Gr\xfcn\r\nContent-Disposition: attachment; filename="\xe9.txt"\r\n'
        b"Content-Length: 0\r\n\r\n"
    )
    gate = await start_gate(faulty.url)
    response = await gate.raw(
        f"GET {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n".encode()
        + b"X-Name: \xe9\r\nConnection: close\r\n\r\n"
    )
    assert b'filename="\xe9.txt"' in response
    assert response.startswith(b"HTTP/1.1 200 Gr\xfcn\r\n")
    assert b"X-Name: \xe9\r\n" in faulty.heads[0]


async def test_the_first_answer_activates_the_token_and_an_unreachable_upstream_does_not(
    start_gate: GateFactory, upstream: str, client: ClientSession, free_port: int
) -> None:
    down = await start_gate(f"http://127.0.0.1:{free_port}")
    down.tokens.add()
    async with client.get(down.proxy_url + "/x") as response:
        assert response.status == 502
        assert (json.loads(await response.read()))["code"] == "upstream_unreachable"
    assert down.tokens.activations == []
    up = await start_gate(upstream)
    up.tokens.add()
    for _ in range(3):
        async with client.get(up.proxy_url + "/x") as response:
            assert response.status == 200
    assert len(up.tokens.activations) == 1


async def test_expect_100_continue_is_answered_after_the_checks(gate: RunningGate) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(
        f"POST {PREFIX}/x HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
        "Expect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        response = await reader.read()
    assert json.loads(body_of(response))["body"] == "body"
    writer.close()
    refused = await gate.request(
        PREFIX + "/x",
        "Expect: 100-continue",
        "Content-Length: 4",
        method="POST",
        token="no",
        timeout=0.5,
    )
    assert refused.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("host", ["app.gate.test", "h"])
async def test_nobody_is_invited_to_send_content_before_the_checks(
    start_gate: GateFactory, upstream: str, host: str
) -> None:
    """Also at a separate origin, for the gate's own paths and for unknown ones."""
    gate = await start_gate(upstream, proxy_host="app.gate.test")
    for target in ("/made/up", "/gate-page", f"{PREFIX}/x"):
        response = await gate.raw(
            f"POST {target} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n"
            "Content-Length: 4\r\nConnection: close\r\n\r\n".encode(),
            timeout=3,
        )
        assert response.startswith(b"HTTP/1.1 4"), (target, response)


async def test_at_the_own_origin_content_is_invited_once(
    start_gate: GateFactory, upstream: str
) -> None:
    gate = await start_gate(upstream, proxy_host="app.gate.test")
    head = (
        f"POST /x HTTP/1.1\r\nHost: app.gate.test\r\nX-Access-Token: {TOKEN}\r\n"
        "Expect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 200")
    assert json.loads(body_of(response))["body"] == "body"
    writer.close()


async def test_the_gates_own_calls_invite_content_once_it_is_wanted(gate: RunningGate) -> None:
    body = json.dumps({"token": TOKEN})
    head = (
        f"POST {PREFIX}/authenticate HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


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


async def test_a_desktop_client_gets_identity_coding_and_its_own_root(
    gate: RunningGate, client: ClientSession, upstream: str
) -> None:
    async with client.get(
        gate.proxy_url + "/x",
        headers={
            "X-Device-ID": "0123456789abcdef0123",
            "Accept-Encoding": "gzip, br",
            "Content-Type": "application/octet-stream",
            "Content-Length": "0",
            "Referer": "https://127.0.0.1:61000/page",
        },
    ) as response:
        headers = dict(sent_headers(json.loads(await response.read())))
    assert headers["accept-encoding"] == "identity"
    assert "content-type" not in headers
    assert "content-length" not in headers
    assert headers["referer"] == upstream + "/page"
    async with client.get(
        gate.proxy_url + "/cookies", headers={"X-Device-ID": "0123456789abcdef0123"}
    ) as response:
        assert "one=1; Path=/; HttpOnly" in response.headers.getall("Set-Cookie")


async def test_an_upload_of_megabytes_arrives(gate: RunningGate, client: ClientSession) -> None:
    async with client.post(
        gate.proxy_url + "/count", data=io.BytesIO(b"z" * 5_000_000)
    ) as response:
        assert json.loads(await response.read()) == {"received": 5_000_000}


async def test_a_doubled_prefix_collapses(gate: RunningGate) -> None:
    response = await gate.request(f"{PREFIX}{PREFIX}/x")
    assert json.loads(body_of(response))["target"] == "/x"


async def test_connections_to_the_upstream_are_reused(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    for _ in range(5):
        async with client.get(gate.proxy_url + "/x") as response:
            assert await response.read() == b"ok"
    assert faulty.connections == 1


async def test_a_token_that_ends_before_a_long_answer_begins_gets_none_of_it(
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


async def test_a_range_of_what_is_rewritten_is_asked_for_again_as_a_whole(
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


async def test_a_range_of_what_is_not_rewritten_passes(
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


async def test_once_the_head_is_out_a_failure_of_ours_is_no_second_answer(
    gate: RunningGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def finish(self: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ClientResponse, "finish", finish)
    response = await gate.request(PREFIX + "/stream?n=3&pause=0.05", "Accept: text/event-stream")
    assert response.count(b"HTTP/1.1") == 1
    assert b"piece 2" in response
    assert not response.endswith(b"0\r\n\r\n")
    assert "a body broke off" in caplog.text


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
async def test_what_a_token_opened_is_kept_by_no_cache_for_many(
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
