"""The number of the gate's function calls per request, which grows if work is added to each one.

``python -m bench.calls`` prints the same counts, and the functions that are called.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.kit.contents import NOTHING, recording, request
from tests.kit.counted_calls import CallCounter
from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream, write
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import Connect, RawConnection, forwarding_of

_REQUESTS = 20
_PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: Mon, 05 Jan 2026 00:00:00 GMT\r\n"
    b'ETag: "1"\r\nContent-Length: 26\r\n\r\n<a href="/next">next</a>  '
)
_JSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    b'Content-Length: 16\r\n\r\n{"answer": "42"}'
)


async def calls_per_request(
    gate: RunningGate, browser: RawConnection, data: Callable[[], bytes], method: str = "GET"
) -> float:
    """The calls for requests of one kind without a task, after the first ones."""
    counter = CallCounter()
    served = forwarding_of(gate).served
    for number in range(_REQUESTS + 3):
        if number == 3:
            counter.__enter__()
        write(browser.writer, data())
        response = await browser.read(method)
        assert response.start.startswith(b"HTTP/1.1 20")
    counter.__exit__()
    assert forwarding_of(gate).served == served + _REQUESTS + 3
    assert counter.total, "nothing was counted"
    return counter.total / _REQUESTS


def get(*lines: str) -> bytes:
    head = [f"GET {PREFIX}/a.png HTTP/1.1", "Host: gate.test:8000", f"X-Access-Token: {TOKEN}"]
    return "\r\n".join([*head, *lines, "", ""]).encode()


async def test_a_recognised_request_needs_few_calls(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    assert await calls_per_request(gate, await connect(gate), get) < 45


async def test_a_json_response_needs_few_calls_more(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(_JSON)
    gate = await start_gate(faulty.url)
    assert await calls_per_request(gate, await connect(gate), get) < 65


async def test_a_page_seen_before_needs_few_calls_more(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(_PAGE)
    gate = await start_gate(faulty.url)
    assert await calls_per_request(gate, await connect(gate), get) < 110


async def test_a_request_with_content_needs_few_calls_more(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    recording(faulty, NOTHING)
    gate = await start_gate(faulty.url)

    def post() -> bytes:
        return request("POST", b"c" * 1000)

    assert await calls_per_request(gate, await connect(gate), post, "POST") < 60


async def test_a_header_block_never_seen_before_costs_a_bounded_number_of_calls(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    numbers = itertools.count()

    def new() -> bytes:
        return get(f"X-Page-View: {next(numbers)}")

    assert await calls_per_request(gate, await connect(gate), new) < 130
