"""The requests that need no task, and those that do."""

import asyncio
from typing import Any

import pytest

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream
from tests.kit.proxy_gates import PREFIX, GateFactory
from tests.kit.proxy_stand_ins import NoSessions
from tests.kit.raw_connections import Connect, RawConnection, forwarding_of
from tests.kit.waiting import until
from zenzefi.tokens.access import TokenAccess

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\n\r\ndata"


async def test_a_304_is_served_without_a_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n')
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        response = await browser.request(f"{PREFIX}/x", 'If-None-Match: "e"')
        assert response.start == b"HTTP/1.1 304 Not Modified"
        assert b'ETag: "e"' in response.headers
    assert (forwarding_of(gate).served, forwarding_of(gate).handed_over) == (3, 0)
    assert faulty.connections == 1


async def test_common_requests_are_served_without_a_task_over_one_connection(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for number in range(5):
        response = await browser.request(f"{PREFIX}/{number}?q={number}")
        assert (response.body, response.is_whole) == (b"image", True)
    assert forwarding_of(gate).served == 5
    assert forwarding_of(gate).handed_over == 0
    assert faulty.connections == 1
    assert [head.split()[1] for head in faulty.heads] == [b"/%d?q=%d" % (n, n) for n in range(5)]


async def test_a_connection_serves_requests_with_and_without_a_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browsers = [await connect(gate) for _ in range(8)]

    async def hurry(browser: RawConnection) -> None:
        await browser.request(PREFIX + "/x", "X-Odd: 1", method="DELETE")
        for _ in range(20):
            await browser.request(PREFIX + "/x")

    await asyncio.gather(*map(hurry, browsers))
    assert forwarding_of(gate).served >= 8 * 18


async def test_the_setting_gives_each_request_a_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, fast_lane=False)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/x")).body == b"image"
    assert not forwarding_of(gate).is_open
    assert forwarding_of(gate).served == 0


async def test_event_streams_are_served_without_a_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(EVENTS)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        assert b"data" in (await browser.request(PREFIX + "/x")).body
    assert forwarding_of(gate).handed_over == 0
    assert forwarding_of(gate).served == 3
    assert len(faulty.heads) == 3
    assert faulty.connections == 1


async def test_a_large_event_stream_is_streamed_with_back_pressure(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    size = 3_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    head += b"Content-Length: %d\r\n\r\n" % size
    faulty.keep_responding(head + b"x" * size)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    response = await browser.request(PREFIX + "/x")
    assert len(response.body) == size
    assert forwarding_of(gate).handed_over == 0


SLOPPY_RESPONSES = {
    "LF line ends": IMAGE_RESPONSE.replace(b"\r\n", b"\n"),
    "one LF line end": IMAGE_RESPONSE.replace(b"\r\n", b"\n", 1),
    "an empty line before the head": b"\r\n" + IMAGE_RESPONSE,
    "a control character": IMAGE_RESPONSE.replace(b"\r\n\r\n", b"\r\nX-A: a\x01b\r\n\r\n"),
}


@pytest.mark.parametrize("response", SLOPPY_RESPONSES.values(), ids=SLOPPY_RESPONSES.keys())
async def test_a_malformed_head_with_a_clear_meaning_needs_no_second_request(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    response: bytes,
) -> None:
    faulty.keep_responding(response)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for path in ("/a", "/b", "/c"):
        assert (await browser.request(PREFIX + path)).body == b"image"
    assert [head.split()[1] for head in faulty.heads] == [b"/a", b"/b", b"/c"]
    assert faulty.connections == 1
    assert caplog.text.count("malformed response heads from the upstream, read leniently") == 1


async def test_a_revoked_token_is_rejected_although_its_head_is_known(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(2):
        assert (await browser.request(PREFIX + "/x")).body == b"image"
    gate.tokens.revoke()
    assert (await browser.request(PREFIX + "/x")).start.startswith(b"HTTP/1.1 401")


async def test_scopes_are_checked_for_each_path_of_a_known_request(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, scopes={"some": ["/some/**"]})
    gate.tokens.add(scope="some", activated=True)
    browser = await connect(gate)
    for _ in range(2):
        assert (await browser.request(PREFIX + "/some/x")).body == b"image"
    for path in ("/other", "/some//../other", "/some/%2e%2e/other"):
        refused = await browser.request(PREFIX + path)
        assert refused.start.split()[1] in (b"403", b"400")
        browser = await connect(gate)
    assert forwarding_of(gate).served == 2


async def test_a_device_that_lost_its_claim_is_rejected(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    from zenzefi.tokens.errors import DeviceConflict

    class Claims:
        holder = ""

        def has_claim(self, access: TokenAccess, device_id: str) -> bool:
            return self.holder == device_id

        async def claim(self, access: TokenAccess, device_id: str) -> None:
            if self.holder not in ("", device_id):
                raise DeviceConflict
            self.holder = device_id

    claims = Claims()
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, devices=claims)
    browser = await connect(gate)
    mine = "X-Device-ID: 0123456789abcdef0123"
    for _ in range(3):
        assert (await browser.request(PREFIX + "/x", mine)).body == b"image"
    assert forwarding_of(gate).served == 2
    claims.holder = "another-device"
    assert (await browser.request(PREFIX + "/x", mine)).start.startswith(b"HTTP/1.1 409")


async def test_every_request_is_counted_for_its_session_and_in_the_metrics(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    noted = []

    class Sessions(NoSessions):
        def note(
            self, access: TokenAccess, *, bytes_out: int, requests: int = 1, **about: Any
        ) -> None:
            noted.append((requests, bytes_out, about["agent"]))

    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    forwarding_of(gate).sessions = Sessions()
    browser = await connect(gate)
    for _ in range(7):
        await browser.request(PREFIX + "/x", "User-Agent: counted")
    await until(lambda: sum(requests for requests, _, _ in noted) == 7)
    assert sum(sent for _, sent, _ in noted) == 35
    assert {agent for _, _, agent in noted} == {"counted"}


async def test_the_gates_own_paths_are_always_left_to_a_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    assert (await browser.request(PREFIX + "/x")).body == b"image"
    for path in ("/status", "/%73tatus", "/s%74at%75s"):  # the router compares decoded paths
        response = await browser.request(PREFIX + path)
        assert b'"connected":true' in response.body
    assert (await browser.request("/gate-page")).body == b"a page of the gate"
    assert forwarding_of(gate).served == 1
