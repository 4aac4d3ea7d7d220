"""Pipelined requests, cut anywhere and sent at any pace: the upstream receives the same sequence.

The model is the list of requests. An upstream with a separate parser records what it receives;
the browser's side checks that each request got its response, in order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kit.proxy_gates import GateFactory, RunningGate
from tests.kit.request_model import (
    DISGUISES,
    KNOWN,
    UNKNOWN,
    SentRequest,
    echo,
    read_request,
    response_to,
    responses,
)

pytestmark = pytest.mark.every_loop

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
"""``make fuzz`` sets more."""


@dataclass
class Recorder:
    """An upstream that records what it receives and says in each response what it was."""

    seen: list[tuple[str, str, bytes, tuple[str, ...]]] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"\r\nExpect: " in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen = await read_request(reader, head)
        fields = seen.fields
        values = tuple(fields[f"x-{i}"] for i in range(10) if f"x-{i}" in fields)
        self.seen.append((seen.method, seen.target, seen.content, values))
        await asyncio.sleep(float(fields.get("x-slow", "0")))
        writer.write(response_to(seen))
        await writer.drain()
        return True


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await recorder.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**20)
    recorder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield recorder
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def check(
    gate: RunningGate, recorder: Recorder, requests: list[SentRequest], cuts: list[tuple[int, int]]
) -> None:
    """Send ``requests`` in one stream. A cut: a number of bytes, and the pause after them."""
    stream = b"".join(
        request.wire(number, is_last=number == len(requests) - 1)
        for number, request in enumerate(requests)
    )
    recorder.seen.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=2**20)
    reading = asyncio.create_task(responses(reader, requests))
    try:
        async with asyncio.timeout(20):
            rest = stream
            for size, pause in cuts:
                piece, rest = rest[:size], rest[size:]
                if piece:
                    writer.write(piece)
                    for _ in range(pause):
                        await asyncio.sleep(0 if pause < 5 else 0.002)
            writer.write(rest)
            found = await reading
            after = await reader.read()
    finally:
        reading.cancel()
        writer.transport.abort()
        await asyncio.gather(reading, return_exceptions=True)
    sent = [
        (request.method, f"/{number}", request.content or b"")
        for number, request in enumerate(requests)
    ]
    assert [seen[:3] for seen in recorder.seen] == sent
    assert [seen[3] for seen in recorder.seen] == [
        tuple(value.strip() for value in request.values) for request in requests
    ]
    assert found == [(200, echo(method, target, content)) for method, target, content in sent]
    assert after == b""


CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"BREW /evil HTTP/1.1\r\n\r\n", b"GET /evil HTTP/1.1\r\n\r\n", b"z" * 70_000]),
)
REQUESTS = st.builds(
    SentRequest,
    method=st.one_of(st.just("GET"), st.sampled_from(KNOWN), st.sampled_from(UNKNOWN)),
    content=CONTENTS,
    chunks=st.lists(st.integers(1, 9), max_size=4).map(tuple),
    values=st.lists(st.sampled_from(DISGUISES), max_size=3).map(tuple),
    is_led_by_empty_lines=st.booleans(),
    expects=st.booleans(),
    slow=st.sampled_from([0.0, 0.0, 0.01]),
    is_rewritten=st.booleans(),
)
CUTS = st.lists(
    st.tuples(st.one_of(st.integers(1, 12), st.integers(1, 400)), st.integers(0, 6)), max_size=25
)
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


def behind_a_slow_one(cut: int) -> list[tuple[int, int]]:
    """The second request is cut ``cut`` bytes after its start, while the first is served."""
    first = len(SentRequest("GET", slow=0.05).wire(0, is_last=False))
    return [(first + cut, 6), (60_000, 6)]


@pytest.fixture
async def recorded_gate(start_gate: GateFactory, recorder: Recorder) -> RunningGate:
    return await start_gate(recorder.url)


@BOUNDED
@given(requests=st.lists(REQUESTS, min_size=1, max_size=6), cuts=CUTS)
@example(
    [SentRequest("GET", slow=0.05), SentRequest("GET", values=(DISGUISES[0],))],
    behind_a_slow_one(75),
)
@example(
    [SentRequest("GET", slow=0.05), SentRequest("BREW", values=(DISGUISES[0],))],
    behind_a_slow_one(2),
)
async def test_pipelined_requests_arrive_as_they_were_sent(
    recorded_gate: RunningGate,
    recorder: Recorder,
    requests: list[SentRequest],
    cuts: list[tuple[int, int]],
) -> None:
    await check(recorded_gate, recorder, requests, cuts)


SEQUENCES = {
    "get": [SentRequest("GET", values=tuple(DISGUISES[:2]))],
    "unknown": [SentRequest("BREW", values=tuple(DISGUISES[:2]))],
    "post": [SentRequest("POST", b"like /evil HTTP/1.1\r\n\r\n")],
    "chunked": [SentRequest("like", b"GET /evil", chunks=(3,)), SentRequest("GET")],
    "two": [SentRequest("GET", slow=0.01), SentRequest("GETS", b"ab")],
}


@pytest.mark.parametrize("requests", SEQUENCES.values(), ids=SEQUENCES)
async def test_a_stream_may_be_cut_at_every_byte(
    recorded_gate: RunningGate, recorder: Recorder, requests: list[SentRequest]
) -> None:
    length = sum(len(a.wire(n, is_last=n == len(requests) - 1)) for n, a in enumerate(requests))
    for cut in range(1, length):
        await check(recorded_gate, recorder, requests, [(cut, 4)])
