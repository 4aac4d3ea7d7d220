"""Requests that died on a reused connection: which of them are sent again."""

import asyncio

import pytest
from aiohttp import ClientSession

from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory


async def test_a_get_that_died_on_a_reused_connection_is_sent_once_more(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    async def script(wire: Wire) -> None:
        if faulty.connections == 1:
            await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nfirst")
            await wire.read_head()
            wire.reset()
            return
        await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nagain")

    faulty.script = script
    gate = await start_gate(faulty.url)
    for expected in (b"first", b"again"):
        async with client.get(gate.proxy_url + "/x") as response:
            assert await response.read() == expected


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_an_idempotent_request_that_died_on_a_reused_connection_is_sent_once_more(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, method: str
) -> None:
    async def script(wire: Wire) -> None:
        head = OK_HEAD + b"Content-Length: 0\r\n\r\n"
        if faulty.connections == 1:
            await wire.send(head)
            faulty.heads.append(await wire.read_head())
            wire.reset()
            return
        await wire.send(head)

    faulty.script = script
    gate = await start_gate(faulty.url)
    for _ in range(2):
        async with client.request(method, gate.proxy_url + "/x") as response:
            assert response.status == 200
    assert faulty.connections == 2
    assert len(faulty.heads) == 3


@pytest.mark.parametrize("is_read", [False, True])
async def test_a_put_is_sent_once_more_only_if_its_content_was_not_read(
    start_gate: GateFactory, faulty: FaultyUpstream, is_read: bool
) -> None:
    async def script(wire: Wire) -> None:
        if faulty.connections == 1:
            await wire.send(OK_HEAD + b"Content-Length: 0\r\n\r\n")
            await wire.read_head()
            if is_read:
                await wire.reader.readexactly(4)
            wire.reset()
            return
        assert await wire.reader.readexactly(4) == b"once"
        await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nagain")

    faulty.script = script
    gate = await start_gate(faulty.url)
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 200")
    expects = () if is_read else ("Expect: 100-continue",)
    got = await gate.request(
        PREFIX + "/x", "Content-Length: 4", *expects, method="PUT", body=b"once"
    )
    if is_read:
        assert got.startswith(b"HTTP/1.1 502")
        assert faulty.connections == 1
    else:
        assert got.endswith(b"\r\n\r\nagain")


@pytest.mark.parametrize("content", [b"", b"once"])
async def test_a_post_that_died_is_never_sent_again(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession, content: bytes
) -> None:
    posts = 0

    async def script(wire: Wire) -> None:
        nonlocal posts
        while True:
            if wire.head.startswith(b"POST"):
                posts += 1
                wire.reset()
                return
            await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nfirst")
            await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    async with client.get(gate.proxy_url + "/x") as response:
        await response.read()
    async with client.post(gate.proxy_url + "/x", data=content) as response:
        assert response.status == 502
    assert posts == 1


async def test_a_get_that_died_after_its_response_began_is_not_sent_again(
    start_gate: GateFactory, faulty: FaultyUpstream, client: ClientSession
) -> None:
    gets = 0

    async def script(wire: Wire) -> None:
        nonlocal gets
        gets += 1
        await wire.send(OK_HEAD + b"Content-Length: 5\r\n\r\nfirst")
        await wire.read_head()
        gets += 1
        await wire.send(b"HTTP/1.1 200")
        await asyncio.sleep(0.05)
        wire.reset()

    faulty.script = script
    gate = await start_gate(faulty.url)
    async with client.get(gate.proxy_url + "/x") as response:
        await response.read()
    async with client.get(gate.proxy_url + "/x") as response:
        assert response.status == 502
    assert gets == 2
