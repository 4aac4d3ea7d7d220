import asyncio
import gc
from typing import Any

import pytest

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.proxy_stand_ins import NoSessions
from tests.kit.raw_connections import Connect, fast_path_of
from tests.kit.waiting import until
from zenzefi.settings import SETTINGS

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>x"


def keep_responding(faulty: FaultyUpstream, *responses: Any) -> None:
    """Each connection serves request after request; the last response repeats."""
    left = list(responses)

    async def script(wire: Wire) -> None:
        while True:
            await wire.send(left.pop(0) if len(left) > 1 else left[0])
            faulty.heads.append(await wire.read_head())

    faulty.script = script


async def test_what_a_browser_has_already_costs_no_body_and_stays_in_the_lane(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n')
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        response = await browser.request(f"{PREFIX}/x", 'If-None-Match: "e"')
        assert response.start == b"HTTP/1.1 304 Not Modified"
        assert b'ETag: "e"' in response.headers
    assert (fast_path_of(gate).served, fast_path_of(gate).handed_over) == (3, 0)
    assert faulty.connections == 1


async def test_common_requests_are_served_by_the_lane_on_one_connection(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for number in range(5):
        response = await browser.request(f"{PREFIX}/{number}?q={number}")
        assert (response.body, response.is_whole) == (b"image", True)
    assert fast_path_of(gate).served == 5
    assert fast_path_of(gate).handed_over == 0
    assert faulty.connections == 1
    assert [head.split()[1] for head in faulty.heads] == [b"/%d?q=%d" % (n, n) for n in range(5)]


async def test_a_connection_served_the_general_way_comes_back_to_the_lane(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browsers = [await connect(gate) for _ in range(8)]

    async def hurry(browser: Any) -> None:
        await browser.request(PREFIX + "/x", "X-Odd: 1", method="DELETE")
        for _ in range(20):
            await browser.request(PREFIX + "/x")

    await asyncio.gather(*map(hurry, browsers))
    assert fast_path_of(gate).served >= 8 * 18


async def test_without_the_setting_there_is_no_lane(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, fast_lane=False)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/x")).body == b"image"
    with pytest.raises(KeyError):
        fast_path_of(gate)


async def test_an_unusual_answer_is_handed_over_without_asking_twice(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, PAGE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        assert b"<p>x" in (await browser.request(PREFIX + "/x")).body
    assert fast_path_of(gate).handed_over == 3
    assert fast_path_of(gate).served == 0
    assert len(faulty.heads) == 3
    assert faulty.connections == 1


async def test_a_large_unusual_answer_streams_through_with_back_pressure(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    size = 3_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Security-Policy: img-src 'self'\r\n"
    head += b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % size
    keep_responding(faulty, head + b"x" * size)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    response = await browser.request(PREFIX + "/x")
    assert len(response.body) == size
    assert fast_path_of(gate).handed_over == 1


async def test_an_answer_begun_for_a_refused_request_goes_to_nobody(
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
    keep_responding(faulty, IMAGE_RESPONSE)
    assert (await browser.request(PREFIX + "/y")).body == b"image"
    await until(lambda: len(fast_path_of(gate).connections) <= 1)


async def test_pipelined_requests_are_answered_in_order(
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


async def test_requests_in_pieces_and_after_a_body_are_read_right(
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
    before = fast_path_of(gate).served + fast_path_of(gate).handed_over
    await browser.request(PREFIX + "/again")
    assert fast_path_of(gate).served + fast_path_of(gate).handed_over == before + 1


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
    assert fast_path_of(gate).served == 2


async def test_bytes_nobody_asked_for_reach_nobody(
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
    await until(lambda: not fast_path_of(gate).connections)
    assert (await browser.request(PREFIX + "/a")).body == b"image"


@pytest.mark.parametrize(
    "response", [b"", b"HTTP/1.1 200", IMAGE_RESPONSE[:-2], b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_a_silent_upstream_times_out(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, response: Any
) -> None:
    faulty.always(response, then="stall")
    gate = await start_gate(faulty.url, upstream_read_timeout=0.4)
    browser = await connect(gate)
    got = await browser.request(PREFIX + "/x")
    assert not got.is_whole or got.start.startswith(b"HTTP/1.1 504")
    await until(lambda: not fast_path_of(gate).connections)


async def test_a_flood_of_interim_answers_ends(
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


async def test_an_upstream_that_writes_sloppy_heads_is_served_the_general_way(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE.replace(b"\r\n", b"\n"))
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/x")).body == b"image"
    assert not fast_path_of(gate).is_open
    before = len(faulty.heads)
    assert (await browser.request(PREFIX + "/x")).body == b"image"
    assert len(faulty.heads) == before + 1


async def test_a_revoked_token_is_refused_at_once_although_its_bytes_are_known(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(2):
        assert (await browser.request(PREFIX + "/x")).body == b"image"
    gate.tokens.revoke()
    assert (await browser.request(PREFIX + "/x")).start.startswith(b"HTTP/1.1 401")


async def test_scopes_are_checked_on_each_path_of_a_known_visitor(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, scopes={"some": ["/some/**"]})
    gate.tokens.add(scope="some", activated=True)
    browser = await connect(gate)
    for _ in range(2):
        assert (await browser.request(PREFIX + "/some/x")).body == b"image"
    for path in ("/other", "/some//../other", "/some/%2e%2e/other"):
        refused = await browser.request(PREFIX + path)
        assert refused.start.split()[1] in (b"403", b"400")
        browser = await connect(gate)
    assert fast_path_of(gate).served == 2


async def test_a_device_that_lost_the_token_is_asked_about(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    from zenzefi.tokens.errors import DeviceConflict

    class Claims:
        holder = ""

        def has_claim(self, access: Any, device_id: str) -> bool:
            return self.holder == device_id

        async def claim(self, access: Any, device_id: str) -> None:
            if self.holder not in ("", device_id):
                raise DeviceConflict
            self.holder = device_id

    claims = Claims()
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, devices=claims)
    browser = await connect(gate)
    mine = "X-Device-ID: 0123456789abcdef0123"
    for _ in range(3):
        assert (await browser.request(PREFIX + "/x", mine)).body == b"image"
    assert fast_path_of(gate).served == 2
    claims.holder = "another-device"
    assert (await browser.request(PREFIX + "/x", mine)).start.startswith(b"HTTP/1.1 409")


async def test_every_request_is_counted_for_its_session_and_in_the_metrics(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    noted = []

    class Sessions(NoSessions):
        def note(self, access: Any, *, bytes_out: Any, requests: int = 1, **about: Any) -> None:
            noted.append((requests, bytes_out, about["agent"]))

    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    fast_path_of(gate)._sessions = Sessions()
    browser = await connect(gate)
    for _ in range(7):
        await browser.request(PREFIX + "/x", "User-Agent: counted")
    await until(lambda: sum(requests for requests, _, _ in noted) == 7)
    assert sum(sent for _, sent, _ in noted) == 35
    assert {agent for _, _, agent in noted} == {"counted"}


async def test_the_gates_own_paths_never_take_the_lane(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/x")).body == b"image"
    response = await browser.request(PREFIX + "/status")
    assert b'"connected":true' in response.body
    assert (await browser.request("/gate-page")).body == b"a page of the gate"
    assert fast_path_of(gate).served == 1


async def test_more_requests_than_connections_are_all_served(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream, upstream_max_connections=2)
    browsers = [await connect(gate) for _ in range(12)]
    responses = await asyncio.gather(
        *(b.request(f"{PREFIX}/large?size={1000 + i}") for i, b in enumerate(browsers))
    )
    assert [len(response.body) for response in responses] == [1000 + i for i in range(12)]
    assert len(fast_path_of(gate).connections) <= 1


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
    await until(lambda: any(c.is_busy for c in fast_path_of(gate).connections))
    browser.close()
    await until(lambda: not fast_path_of(gate).connections)


async def test_a_draining_gate_ends_its_connections_after_the_answer(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    from zenzefi.runtime.drain import DRAIN

    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    await browser.request(PREFIX + "/x")
    gate.app[DRAIN].is_draining = True
    response = await browser.request(PREFIX + "/x")
    assert response.body == b"image"
    assert b"Connection: close" in response.headers
    assert await browser.reader.read() == b""


async def test_nothing_is_left_behind(
    start_gate: GateFactory, upstream: str, connect: Connect
) -> None:
    gate = await start_gate(upstream)
    fast_path = fast_path_of(gate)
    browser = await connect(gate)
    await browser.request(PREFIX + "/x")
    tasks = len(asyncio.all_tasks())
    for number in range(300):
        await browser.request(f"{PREFIX}/large?size={number * 100}")
    gc.collect()
    assert len(asyncio.all_tasks()) == tasks
    assert len(fast_path.connections) == 1
    assert not gate.tokens.open_connections.get(gate.tokens.known[TOKEN].token_id)


async def test_requests_that_must_be_counted_do_not_take_the_lane(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, rate_limit_proxy="3/hour")
    browser = await connect(gate)
    starts = [(await browser.request(PREFIX + "/a.png")).start for _ in range(5)]
    assert [int(start.split()[1]) for start in starts] == [200, 200, 200, 429, 429]


async def test_a_limit_that_is_switched_on_closes_the_lane(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    keep_responding(faulty, IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    await browser.request(PREFIX + "/a.png")
    assert fast_path_of(gate).served == 1
    gate.app[SETTINGS].rate_limit_proxy = "1/hour"
    await until(lambda: not fast_path_of(gate).is_open)
    statuses = [int((await browser.request(PREFIX + "/a.png")).start.split()[1]) for _ in range(2)]
    assert statuses == [200, 429]
