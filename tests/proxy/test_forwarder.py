"""The forwarder: requests reach the upstream and responses the browser, apart from rewriting."""

import io
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import (
    PREFIX,
    TOKEN,
    GateFactory,
    RunningGate,
    body_of,
    head_of,
    sent_headers,
)


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


async def test_content_with_a_length_is_forwarded_with_it_and_chunks_as_chunks(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.post(gate.proxy_url + "/x", data=b"12345") as response:
        headers = dict(sent_headers(json.loads(await response.read())))
    assert headers["content-length"] == "5"
    assert "transfer-encoding" not in headers

    async def pieces() -> AsyncIterator[bytes]:
        yield b"123"
        yield b"45"

    async with client.post(gate.proxy_url + "/x", data=pieces()) as response:
        echoed = json.loads(await response.read())
    headers = dict(sent_headers(echoed))
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    assert echoed["body"] == "12345"


async def test_the_upstream_gets_the_client_identity_and_none_of_the_gates_secrets(
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
async def test_responses_without_content_end_at_their_head(
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


async def test_the_first_response_activates_the_token_and_an_unreachable_upstream_does_not(
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
