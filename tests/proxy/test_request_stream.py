"""Pipelined requests, cut anywhere and sent at any pace: the upstream receives the same sequence.

The model is the list of requests. An upstream with a parser of its own records what it receives;
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

from tests.proxy.conftest import PREFIX, TOKEN, RunningGate

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
"""``make fuzz`` sets more."""

KNOWN = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "REPORT", "QUERY"]
UNKNOWN = ["BREW", "get", "GETS", "P", "like", "PLAY", "SOURCE", "DESCRIBE", "X!#$%&'*+.^_`|~9"]
# Header values and contents that look like something else when they are read from the wrong place.
DISGUISES = [
    "Mozilla (KHTML, like Gecko) Chrome",
    "GET /evil HTTP/1.1",
    "like Gecko",
    "BREW /evil HTTP/1.1",
    "",
    "\t tab \t",
    "a" * 3000,
]


@dataclass(frozen=True)
class Asked:
    """One request of the model."""

    method: str
    content: bytes | None = None
    chunks: tuple[int, ...] = ()  # sizes, for chunked content; empty: by length
    values: tuple[str, ...] = ()
    is_led_by_empty_lines: bool = False
    expects: bool = False
    slow: float = 0.0
    is_rewritten: bool = False

    def wire(self, number: int, *, is_last: bool) -> bytes:
        lines = [f"{self.method} {PREFIX}/{number} HTTP/1.1", "Host: gate.test"]
        lines += [f"X-{i}:{value}" for i, value in enumerate(self.values)]
        lines += [f"X-Access-Token: {TOKEN}"]
        if self.slow:
            lines.append(f"X-Slow: {self.slow}")
        if self.is_rewritten:
            lines.append("X-Rewritten: yes")
        if self.expects and self.content:
            lines.append("Expect: 100-continue")
        if is_last:
            lines.append("Connection: close")
        content = self.content or b""
        if self.content is not None and self.chunks:
            lines.append("Transfer-Encoding: chunked")
            content = b""
            rest, sizes = self.content, list(self.chunks)
            while rest:
                size = sizes.pop(0) if sizes else len(rest)
                piece, rest = rest[:size], rest[size:]
                content += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
            content += b"000\r\nX-Trailer: BREW /x HTTP/1.1\r\n\r\n"
        elif self.content is not None:
            lines.append(f"Content-Length: {len(self.content)}")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return b"\r\n\r\n" * self.is_led_by_empty_lines + head + content


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
        start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ")
        fields = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        values = tuple(fields[f"x-{i}"] for i in range(10) if f"x-{i}" in fields)
        if "expect" in fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = b""
        if "transfer-encoding" in fields:
            while size := int((await reader.readline()).split(b";")[0], 16):
                content += await reader.readexactly(size)
                await reader.readexactly(2)
            while await reader.readline() != b"\r\n":
                pass
        elif "content-length" in fields:
            content = await reader.readexactly(int(fields["content-length"]))
        self.seen.append((method, target, content, values))
        await asyncio.sleep(float(fields.get("x-slow", "0")))
        body = f"{method} {target} {len(content)}".encode()
        kind = b"text/html" if "x-rewritten" in fields else b"a/b"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (kind, len(body)) + (b"" if method == "HEAD" else body))
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


async def responses(reader: asyncio.StreamReader, asked: list[Asked]) -> list[tuple[int, bytes]]:
    """The final responses, as the methods that they answer let them be read."""
    found = []
    for request in asked:
        status = 100
        while status < 200:
            start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
            status = int(start.split(b" ")[1])
        fields = {name.lower(): value for name, _, value in (x.partition(b":") for x in lines)}
        body = b""
        if request.method != "HEAD":
            if b"transfer-encoding" in fields:
                while size := int(await reader.readline(), 16):
                    body += await reader.readexactly(size)
                    await reader.readexactly(2)
                await reader.readexactly(2)
            else:
                body = await reader.readexactly(int(fields[b"content-length"]))
        found.append((status, body))
    return found


async def check(
    gate: RunningGate, recorder: Recorder, asked: list[Asked], cuts: list[tuple[int, int]]
) -> None:
    """Send ``asked`` in one stream. Each cut: how many bytes, and how long to wait behind them."""
    stream = b"".join(
        request.wire(number, is_last=number == len(asked) - 1)
        for number, request in enumerate(asked)
    )
    recorder.seen.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=2**20)
    reading = asyncio.create_task(responses(reader, asked))
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
        for number, request in enumerate(asked)
    ]
    assert [seen[:3] for seen in recorder.seen] == sent
    assert [seen[3] for seen in recorder.seen] == [
        tuple(value.strip() for value in request.values) for request in asked
    ]
    assert found == [
        (200, b"" if m == "HEAD" else f"{m} {target} {len(content)}".encode())
        for m, target, content in sent
    ]
    assert after == b""


CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"BREW /evil HTTP/1.1\r\n\r\n", b"GET /evil HTTP/1.1\r\n\r\n", b"z" * 70_000]),
)
ASKED = st.builds(
    Asked,
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
    first = len(Asked("GET", slow=0.05).wire(0, is_last=False))
    return [(first + cut, 6), (60_000, 6)]


@pytest.fixture
async def gate(start_gate, recorder):
    return await start_gate(recorder.url)


@BOUNDED
@given(asked=st.lists(ASKED, min_size=1, max_size=6), cuts=CUTS)
@example([Asked("GET", slow=0.05), Asked("GET", values=(DISGUISES[0],))], behind_a_slow_one(75))
@example([Asked("GET", slow=0.05), Asked("BREW", values=(DISGUISES[0],))], behind_a_slow_one(2))
async def test_pipelined_requests_arrive_as_they_were_sent(gate, recorder, asked, cuts):
    await check(gate, recorder, asked, cuts)


SEQUENCES = {
    "get": [Asked("GET", values=DISGUISES[:2])],
    "unknown": [Asked("BREW", values=DISGUISES[:2])],
    "post": [Asked("POST", b"like /evil HTTP/1.1\r\n\r\n")],
    "chunked": [Asked("like", b"GET /evil", chunks=(3,)), Asked("GET")],
    "two": [Asked("GET", slow=0.01), Asked("GETS", b"ab")],
}


@pytest.mark.parametrize("asked", SEQUENCES.values(), ids=SEQUENCES)
async def test_a_stream_may_be_cut_at_every_byte(gate, recorder, asked):
    length = sum(len(a.wire(n, is_last=n == len(asked) - 1)) for n, a in enumerate(asked))
    for cut in range(1, length):
        await check(gate, recorder, asked, [(cut, 4)])
