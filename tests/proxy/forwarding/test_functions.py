"""Functions of the gate that need no task: rate limit, plugins, tracing."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.kit.contents import NOTHING, recording, request
from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream, Wire, write
from tests.kit.proxy_gates import PREFIX, GateFactory
from tests.kit.raw_connections import Connect, RawConnection, forwarding_of
from zenzefi.observability import tracing
from zenzefi.plugins import EarlyResponse, Needs, Plugin
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.settings import SETTINGS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


async def statuses(browser: RawConnection, count: int, path: str = "/a.png") -> list[int]:
    starts = [(await browser.request(PREFIX + path)).start for _ in range(count)]
    return [int(start.split()[1]) for start in starts]


@pytest.mark.parametrize("storage", ["memory", "redis"])
async def test_limited_requests_need_no_task(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    request: pytest.FixtureRequest,
    storage: str,
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    more = {} if storage == "memory" else {"redis_url": request.getfixturevalue("redis_url")}
    gate = await start_gate(faulty.url, rate_limit_proxy="3/hour", **more)
    assert await statuses(await connect(gate), 5) == [200, 200, 200, 429, 429]
    assert forwarding_of(gate).served == 3


@pytest.mark.parametrize("storage", ["memory", "redis"])
async def test_a_limited_request_with_content_arrives_whole(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    request: pytest.FixtureRequest,
    storage: str,
) -> None:
    seen = recording(faulty, NOTHING)
    more = {} if storage == "memory" else {"redis_url": request.getfixturevalue("redis_url")}
    gate = await start_gate(faulty.url, rate_limit_proxy="3/hour", **more)
    browser = await connect(gate)
    for sizes in ((), (), (7,)):
        write(browser.writer, post(b"c" * 1000, sizes))
        assert (await browser.read("POST")).start == b"HTTP/1.1 204 No Content"
    write(browser.writer, post(b"c" * 1000, ()))
    assert (await browser.read("POST")).start.startswith(b"HTTP/1.1 429")
    assert [received.content for received in seen] == [b"c" * 1000] * 3
    assert forwarding_of(gate).served == 3


def post(content: bytes, sizes: tuple[int, ...]) -> bytes:
    return request("POST", content, sizes=sizes)


async def test_a_limit_applies_at_once_when_it_is_enabled(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    assert await statuses(browser, 3) == [200, 200, 200]
    gate.app[SETTINGS].rate_limit_proxy = "1/hour"
    assert await statuses(browser, 2) == [200, 429]


async def test_a_request_that_fails_is_counted_once(
    start_gate: GateFactory, free_port: int, connect: Connect
) -> None:
    gate = await start_gate(f"http://127.0.0.1:{free_port}", rate_limit_proxy="3/hour")
    assert await statuses(await connect(gate), 4) == [502, 502, 502, 429]


@pytest.mark.parametrize("is_reused", [True, False])
async def test_a_part_of_a_page_is_requested_as_a_whole(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, is_reused: bool
) -> None:
    """A range of the upstream's page is not a range of the rewritten one (RFC 9110, 14)."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>a"
    part = page.replace(b"200 OK", b"206 Partial Content").replace(b"4\r", b"2\r")[:-2]

    async def script(wire: Wire) -> None:
        while True:
            await wire.send(part if b"\r\nRange:" in wire.head else page)
            faulty.heads.append(await wire.read_head())

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    if is_reused:
        assert await statuses(browser, 1, "/x.bin") == [200]
    lines = ("Range: bytes=0-1", "If-Range: Mon, 30 Nov 2026 12:00:00 GMT")
    got = await browser.request(PREFIX + "/x.bin", *lines)
    assert got.start == b"HTTP/1.1 200 OK"
    assert got.body.endswith(b"<p>a")
    assert await statuses(browser, 1, "/x.bin") == [200]
    forwarding = forwarding_of(gate)
    assert (forwarding.served, forwarding.handed_over) == (2 + is_reused, 0)
    assert len(faulty.heads) == 3 + is_reused


class Changing(Plugin):
    """Has every hook for heads; the results differ from request to request."""

    name = "changing"
    needs = Needs.HEADERS

    def request_headers(self, ctx: Any, headers: MutableMapping[str, str]) -> None:
        headers["X-Seen-Target"] = ctx.url.rpartition("/")[2]
        headers.pop("X-Removed", None)

    def response_headers(self, ctx: Any, headers: MutableMapping[str, str]) -> None:
        headers["X-Status"] = f"{ctx.status} {ctx.url.rpartition('/')[2]}"

    def early_response(self, ctx: Any) -> EarlyResponse | None:
        if "/early" not in ctx.url:
            return None
        return EarlyResponse(status=418, headers=[("X-Early", "yes")], body=b"teapot")


async def test_hooks_for_heads_have_the_same_effect_with_and_without_a_task(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    found = []
    token = None
    for is_fast in (True, False):
        engine = Engine(Registry(entry_points=False, classes=[Changing]))
        gate = await start_gate(
            faulty.url, fast_lane=is_fast, engine=engine, backend_url="http://gate.test:8000"
        )
        token = token or gate.tokens.known.copy()
        gate.tokens.known.update(token)
        faulty.heads.clear()
        faulty.keep_responding(IMAGE_RESPONSE, b"HTTP/1.1 204 No\r\n\r\n", IMAGE_RESPONSE)
        browser = await connect(gate)
        shapes = []
        for path in ("/a", "/b", "/c", "/early/d", "/e", "/early/f?x=1"):
            for method in ("GET", "HEAD", "DELETE"):
                lines = ("X-Removed: 1", "X-Request-ID: with-hooks-1")
                if method == "HEAD" and "early" not in path:
                    continue
                got = await browser.request(PREFIX + path, *lines, method=method)
                shapes.append(got.shape)
        found.append((shapes, list(faulty.heads)))
        if is_fast:
            assert forwarding_of(gate).served == len(shapes)
    assert found[0] == found[1]
    heads = b"".join(found[0][1])
    assert b"X-Seen-Target: b\r\n" in heads
    assert b"X-Removed" not in heads
    assert any(b"X-Status: 204 a" in shape[1] for shape in found[0][0])
    assert any(shape[2] == b"teapot" for shape in found[0][0])


async def test_hundreds_of_pipelined_early_responses_come_in_order(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    engine = Engine(Registry(entry_points=False, classes=[Changing]))
    gate = await start_gate(faulty.url, engine=engine)
    browser = await connect(gate)
    for _ in range(400):
        browser.send(PREFIX + "/early/x")
    for _ in range(400):
        assert (await browser.read()).body == b"teapot"
    assert forwarding_of(gate).served == 400


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    kept = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "exporter", lambda: kept)
    return kept


def pairs_of(spans: InMemorySpanExporter) -> list[tuple[ReadableSpan, ReadableSpan | None]]:
    """Server spans in order, each with the span of its request to the upstream."""
    made = spans.get_finished_spans()
    clients = [span for span in made if span.kind is SpanKind.CLIENT]
    below = {span.parent.span_id: span for span in clients if span.parent is not None}
    servers = [span for span in made if span.kind is SpanKind.SERVER]
    return [(span, below.get(span.context.span_id)) for span in servers]


async def test_spans_are_made_without_a_task(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    spans: InMemorySpanExporter,
) -> None:
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, tracing=True)
    browser = await connect(gate)
    for headers in ([], [], [CALLER]):
        assert (await browser.request(PREFIX + "/a.png?q=1", *headers)).body == b"image"
    assert forwarding_of(gate).served == 3
    faulty.keep_responding(b"garbage\r\n\r\n")
    faulty.hang_up()
    assert await statuses(browser, 1) == [502]
    gate.app[tracing.TRACING]._provider.force_flush()
    made = pairs_of(spans)
    assert len(made) == 4
    for (server, client), head in zip(made, faulty.heads, strict=False):
        assert client is not None
        attributes = server.attributes or {}
        assert server.name == "GET proxy"
        assert attributes["url.path"] == f"{PREFIX}/a.png"
        context = f"{client.context.trace_id:032x}-{client.context.span_id:016x}"
        assert head.lower().count(b"traceparent:") == 1
        assert f"traceparent: 00-{context}-0".encode() in head
    last = made[-1][0]
    assert last.status.status_code is StatusCode.ERROR
    assert made[-1][1] is not None
    assert made[-1][1].status.status_code is StatusCode.ERROR
    assert made[2][0].context.trace_id == int(TRACE, 16)


@pytest.mark.parametrize(
    ("sampler", "caller", "is_sampled"),
    [
        ("parentbased_always_on", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-00", False),
        ("parentbased_always_off", CALLER, True),
        ("parentbased_always_off", "X-No-Trace: 1", False),
        ("always_off", CALLER, False),
        ("always_on", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-00", True),
        ("traceidratio", CALLER, True),
    ],
)
async def test_the_sampler_decides_for_both_spans_of_a_request(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    caller: str,
    is_sampled: bool,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    faulty.keep_responding(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, tracing=True)
    assert (await (await connect(gate)).request(PREFIX + "/a.png", caller)).body == b"image"
    gate.app[tracing.TRACING]._provider.force_flush()
    assert len(spans.get_finished_spans()) == (2 if is_sampled else 0)
    (line,) = [x for x in faulty.heads[-1].split(b"\r\n") if x.startswith(b"traceparent: ")]
    assert line.endswith(b"-01" if is_sampled else b"-00")
