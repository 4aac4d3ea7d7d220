"""Requests without a task: bytes in pieces, dead upstreams, slow and leaving browsers."""

import asyncio
import gc

import pytest

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.raw_connections import Connect, forwarding_of
from tests.kit.waiting import until


async def test_a_response_begun_for_a_rejected_request_is_discarded(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    let_go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await let_go.wait()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nSECRET")

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    await until(lambda: faulty.heads)
    access = gate.tokens.known.pop(TOKEN)
    let_go.set()
    refused = await browser.read()
    assert refused.start.startswith(b"HTTP/1.1 401")
    assert b"SECRET" not in refused.body
    gate.tokens.known[TOKEN] = access
    faulty.keep_responding(IMAGE_RESPONSE)
    assert (await browser.request(PREFIX + "/y")).body == b"image"
    await until(lambda: len(forwarding_of(gate).connections) <= 1)


async def test_pipelined_requests_get_their_responses_in_order(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream)
    browser = await connect(gate)
    for number in range(12):
        if number % 5 == 4:
            browser.send(PREFIX + f"/n{number}", "X-Odd: 1", method="DELETE")
        else:
            browser.send(PREFIX + f"/n{number}")
        if number % 3 == 0:
            await asyncio.sleep(0.002)
    for number in range(12):
        assert f'"/n{number}"'.encode() in (await browser.read()).body


async def test_requests_in_pieces_and_after_a_body_are_parsed_correctly(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/warm")).is_whole
    head = f"GET {PREFIX}/pieces HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n\r\n".encode()
    for cut in (1, 10, 40, len(head) - 3, len(head) - 1):
        browser.writer.write(head[:cut])
        await asyncio.sleep(0.02)
        browser.writer.write(head[cut:])
        assert b'"/pieces"' in (await browser.read()).body
    post = f"POST {PREFIX}/post HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
    browser.writer.write(post.encode() + b"Content-Length: 4\r\n\r\nbo")
    await asyncio.sleep(0.02)
    # What looks like a request begins with the rest of a body.
    browser.writer.write(b"dy" + head)
    assert b'"body"' in (await browser.read()).body
    assert b'"/pieces"' in (await browser.read()).body
    before = forwarding_of(gate).served + forwarding_of(gate).handed_over
    await browser.request(PREFIX + "/again")
    assert forwarding_of(gate).served + forwarding_of(gate).handed_over == before + 1


async def test_a_body_that_looks_like_a_known_request_is_not_taken_for_one(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream)
    browser = await connect(gate)
    head = f"GET {PREFIX}/evil HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n\r\n".encode()
    for _ in range(2):
        browser.writer.write(head)
        assert b'"/evil"' in (await browser.read()).body
    post = f"POST {PREFIX}/post HTTP/1.1\r\nHost: h\r\nX-Access-Token: {TOKEN}\r\n"
    browser.writer.write(post.encode() + b"Content-Length: %d\r\n\r\n" % len(head))
    await asyncio.sleep(0.05)
    browser.writer.write(head)
    response = (await browser.read()).body
    assert b'"/post"' in response
    assert b"GET /api/v1/proxy/evil" in response


async def test_a_pooled_connection_that_died_is_replaced_once(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(IMAGE_RESPONSE)
        if faulty.connections == 1:
            await wire.read_head()
            wire.reset()
        else:
            await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/a")).body == b"image"
    assert (await browser.request(PREFIX + "/b")).body == b"image"
    assert faulty.connections == 2
    assert forwarding_of(gate).served == 2


async def test_unsolicited_bytes_reach_no_client(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(IMAGE_RESPONSE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
        await wire.stall()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        assert (await browser.request(PREFIX + "/a")).body == b"image"
    assert faulty.connections == 3

    async def late(wire: Wire) -> None:
        await wire.send(IMAGE_RESPONSE)
        await asyncio.sleep(0.05)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
        await wire.stall()

    faulty.script = late
    assert (await browser.request(PREFIX + "/a")).body == b"image"
    await until(lambda: not forwarding_of(gate).connections)
    assert (await browser.request(PREFIX + "/a")).body == b"image"


@pytest.mark.parametrize(
    "response", [b"", b"HTTP/1.1 200", IMAGE_RESPONSE[:-2], b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_a_silent_upstream_times_out(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, response: bytes
) -> None:
    faulty.always(response, then="stall")
    gate = await start_gate(faulty.url, upstream_read_timeout=0.4)
    browser = await connect(gate)
    got = await browser.request(PREFIX + "/x")
    assert not got.is_whole or got.start.startswith(b"HTTP/1.1 504")
    await until(lambda: not forwarding_of(gate).connections)


async def test_the_number_of_interim_responses_is_limited(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.always(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500, then="stall")
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    starts: list[bytes] = []
    while not starts or starts[-1].startswith(b"HTTP/1.1 103"):
        starts.append((await browser.read()).start)
    assert starts[-1].startswith(b"HTTP/1.1 502")
    assert len(starts) <= 17


async def test_more_requests_than_connections_are_all_served(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream, upstream_max_connections=2)
    browsers = [await connect(gate) for _ in range(12)]
    responses = await asyncio.gather(
        *(b.request(f"{PREFIX}/large?size={1000 + i}") for i, b in enumerate(browsers))
    )
    assert [len(response.body) for response in responses] == [1000 + i for i in range(12)]
    assert len(forwarding_of(gate).connections) <= 1


async def test_a_slow_browser_stops_the_upstream(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        while sent < 40_000_000:
            await wire.send(b"x" * 65536)
            sent += 65536

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.3)
    assert sent < 24_000_000  # what the sockets of the kernel and the readers here hold
    body = (await browser.read()).body
    assert len(body) == sent


async def test_a_browser_that_leaves_ends_the_exchange(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.always(IMAGE_RESPONSE[:-1], then="stall")
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(PREFIX + "/x")
    await until(lambda: any(c.is_busy for c in forwarding_of(gate).connections))
    browser.close()
    await until(lambda: not forwarding_of(gate).connections)


async def test_a_draining_gate_closes_its_connections_after_the_response(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    from zenzefi.runtime.drain import DRAIN

    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    await browser.request(PREFIX + "/x")
    gate.app[DRAIN].is_draining = True
    response = await browser.request(PREFIX + "/x")
    assert response.body == b"image"
    assert b"Connection: close" in response.headers
    assert await browser.reader.read() == b""


async def test_no_task_connection_or_memory_is_leaked(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream)
    forwarding = forwarding_of(gate)
    browser = await connect(gate)
    await browser.request(PREFIX + "/x")
    tasks = len(asyncio.all_tasks())
    for number in range(300):
        await browser.request(f"{PREFIX}/large?size={number * 100}")
    gc.collect()
    assert len(asyncio.all_tasks()) == tasks
    assert len(forwarding.connections) == 1
    assert not gate.tokens.open_connections.get(gate.tokens.known[TOKEN].token_id)
