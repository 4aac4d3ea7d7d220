"""Spans: the caller's trace goes on through the gate to the upstream, and tells no secret."""

import sys
from collections.abc import Iterator

import pytest
from aiohttp import WSMsgType, web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.kit import api
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from zenzefi.observability import tracing
from zenzefi.settings import SettingsError

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "shop=1"}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "exporter", lambda: kept)
    yield kept
    kept.clear()


@pytest.fixture
async def traced(
    spans: InMemorySpanExporter, make_gate: MakeGate, upstream: RecordingUpstream
) -> tuple[GateClient, str]:
    """A gate that makes spans, and an access token."""
    gate = await make_gate(tracing=True, zenzefi_target_url=upstream.origin)
    token = await api.buy(gate, await api.sign_up(gate))
    return gate, str(token["token"])


async def finished(gate: GateClient, spans: InMemorySpanExporter) -> list[ReadableSpan]:
    """All spans once the gate has stopped: it exports the rest."""
    await gate.close()
    return list(spans.get_finished_spans())


def named(spans: list[ReadableSpan], kind: SpanKind, path: str = "") -> ReadableSpan:
    (found,) = [
        span
        for span in spans
        if span.kind is kind
        and span.context.trace_id == int(TRACE, 16)
        and (not path or (span.attributes or {}).get("url.path") == path)
    ]
    return found


async def test_a_trace_continues_from_the_caller_through_the_gate_to_the_upstream(
    traced: tuple[GateClient, str], spans: InMemorySpanExporter, upstream: RecordingUpstream
) -> None:
    gate, token = traced
    headers = {"X-Access-Token": token, **CALLER}
    async with gate.get(f"/api/v1/proxy/page?q={token}", headers=headers) as response:
        assert response.status == 200
    made = await finished(gate, spans)
    server = named(made, SpanKind.SERVER, "/api/v1/proxy/page")
    client = named(made, SpanKind.CLIENT)
    assert (server.name, client.name) == ("GET proxy", "GET")
    assert server.parent is not None
    assert server.parent.span_id == int(PARENT, 16)
    assert client.parent is not None
    assert client.parent.span_id == server.context.span_id
    arrived = upstream.requests[-1]
    assert arrived.headers.getall("traceparent") == [f"00-{TRACE}-{client.context.span_id:016x}-01"]
    assert arrived.headers["tracestate"] == "shop=1"
    assert (server.attributes or {})["http.response.status_code"] == 200
    assert server.resource.attributes["service.name"] == "zenzefi"
    said = " ".join(span.to_json() for span in made)
    for secret in (token, api.ALICE["password"], "q="):
        assert secret not in said


async def test_what_fails_is_marked(
    traced: tuple[GateClient, str], upstream: RecordingUpstream, spans: InMemorySpanExporter
) -> None:
    gate, token = traced

    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=503)

    upstream.handlers["/broken"] = fail
    headers = {"X-Access-Token": token, **CALLER}
    async with gate.get("/api/v1/proxy/broken", headers=headers) as response:
        assert response.status == 503
    made = await finished(gate, spans)
    for kind in (SpanKind.SERVER, SpanKind.CLIENT):
        span = named(made, kind)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "503"


async def test_a_refusal_has_no_span_below_it(
    traced: tuple[GateClient, str], spans: InMemorySpanExporter
) -> None:
    gate, _ = traced
    async with gate.get("/api/v1/proxy/page", headers=CALLER) as response:
        assert response.status == 401
    async with gate.get("/api/v1/users/me") as response:
        assert response.status == 403
    async with gate.get("/readyz", headers=CALLER) as response:
        await response.read()
    made = await finished(gate, spans)
    assert [s for s in made if s.kind is SpanKind.CLIENT] == []
    names = {span.name for span in made}
    assert "GET /api/v1/users/me" in names
    assert "GET /readyz" not in names


async def test_a_websocket_is_one_span_from_its_handshake_to_its_end(
    traced: tuple[GateClient, str], spans: InMemorySpanExporter, upstream: RecordingUpstream
) -> None:
    gate, token = traced

    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(request.headers["traceparent"])
        await socket.receive()
        return socket

    upstream.handlers["/live"] = echo
    headers = {"X-Access-Token": token, **CALLER}
    async with gate.ws_connect("/api/v1/proxy/live", headers=headers) as socket:
        message = await socket.receive()
        assert message.type is WSMsgType.TEXT
    made = await finished(gate, spans)
    client = named(made, SpanKind.CLIENT)
    assert message.data == f"00-{TRACE}-{client.context.span_id:016x}-01"
    assert (client.attributes or {})["http.response.status_code"] == 101


async def test_without_the_extra_it_says_what_to_install(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"pip install 'zenzefi\[opentelemetry\]'"):
        await make_gate(tracing=True)


async def test_without_spans_of_its_own_the_trace_passes_as_it_came(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin)
    token = await api.buy(gate, await api.sign_up(gate))
    headers = {"X-Access-Token": str(token["token"]), **CALLER}
    async with gate.get("/api/v1/proxy/page", headers=headers) as response:
        assert response.status == 200
    assert upstream.requests[-1].headers["traceparent"] == CALLER["traceparent"]
    assert upstream.requests[-1].headers["tracestate"] == "shop=1"
