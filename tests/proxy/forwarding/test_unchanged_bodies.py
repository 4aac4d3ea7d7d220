"""Bodies of types that may be rewritten, in which nothing is to be mapped, pass as they came."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, GateFactory
from tests.kit.raw_connections import Connect, RawConnection, RawResponse, forwarding_of
from tests.kit.waiting import until
from zenzefi.proxy.forwarding import held_response

HEAD = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "abc"\r\n'
    b"Last-Modified: Mon, 05 Jan 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n"
)
BODY = b'{"next": "/page/2", "of": "https://elsewhere.example/"}'
TAG, DERIVED = b'ETag: "abc"', b'ETag: W/"abc~z'


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
def fast_lane(request: pytest.FixtureRequest) -> bool:
    """Both paths hold and search bodies."""
    return bool(request.param)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that come in pieces are complete in time, however busy the machine is."""
    monkeypatch.setattr(held_response, "SECONDS", 30.0)


def respond_in_pieces(faulty: FaultyUpstream, *pieces: bytes) -> None:
    """Each connection responds to all requests; the loop runs between the pieces."""

    async def script(wire: Wire) -> None:
        while True:
            for piece in pieces:
                await wire.send(piece)
                for _ in range(5):
                    await asyncio.sleep(0)
            await wire.read_head()

    faulty.script = script


def sized(body: bytes, *headers: bytes) -> bytes:
    return HEAD + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n" % len(body)


def tag(response: RawResponse) -> bytes:
    return next(line for line in response.headers if line.startswith(b"ETag"))


async def ask(start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect) -> RawResponse:
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    return await browser.request(f"{PREFIX}/data")


async def test_a_body_without_a_mention_leaves_as_it_came(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, fast_lane: bool
) -> None:
    respond_in_pieces(faulty, sized(BODY) + BODY)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        response = await browser.request(f"{PREFIX}/data")
        assert (response.body, tag(response)) == (BODY, TAG)
        assert b"Content-Length: %d" % len(BODY) in response.headers
        assert b"Accept-Ranges: bytes" in response.headers
    assert faulty.connections == 1
    if fast_lane:
        assert (forwarding_of(gate).served, forwarding_of(gate).handed_over) == (3, 0)


@pytest.mark.parametrize("has_mention", [False, True])
@pytest.mark.parametrize("kind", [b"text/html", b"text/css"])
async def test_a_page_without_a_mention_leaves_as_it_came_at_a_root_mount(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    fast_lane: bool,
    kind: bytes,
    has_mention: bool,
) -> None:
    body = b"<a href='/x'>x</a><style>@import '%b/y';</style>" % (
        faulty.url.encode() if has_mention else b""
    )
    head = sized(body).replace(b"application/json", kind)
    assert kind in head
    respond_in_pieces(faulty, head + body)
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    for _ in range(3):
        response = await browser.request(f"{PREFIX}/page", "X-Device-ID: desktop-1")
        mapped = body.replace(faulty.url.encode(), b"https://127.0.0.1:61000")
        script = response.body.removesuffix(mapped)
        assert response.body == script + mapped
        assert bool(script) is (has_mention and kind == b"text/html")  # the runtime's
        assert tag(response).startswith(DERIVED) is has_mention
        assert (b"Content-Length: %d" % len(body) in response.headers) is not has_mention
    if fast_lane:
        assert forwarding_of(gate).handed_over == 0


async def test_a_body_with_a_mention_is_mapped_and_its_tag_derived(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    body = b'{"next": "%b/page/2"}' % faulty.url.encode()
    respond_in_pieces(faulty, sized(body) + body)
    response = await ask(start_gate, faulty, connect)
    assert f"{PREFIX}/page/2".encode() in response.body
    assert faulty.url.encode() not in response.body
    assert tag(response).startswith(DERIVED)
    assert not any(line.startswith(b"Content-Length") for line in response.headers)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("has_mention", [False, True])
async def test_where_the_body_is_cut_into_pieces_does_not_matter(
    start_gate: GateFactory,
    faulty: FaultyUpstream,
    connect: Connect,
    fast_lane: bool,
    has_mention: bool,
) -> None:
    body = b'{"next": "%b/2"}' % (faulty.url.encode() if has_mention else b"")
    whole = sized(body) + body
    gate = await start_gate(faulty.url)
    expected = None
    for cut in range(len(HEAD), len(whole)):
        respond_in_pieces(faulty, whole[:cut], whole[cut:])
        browser = await connect(gate)
        response = await browser.request(f"{PREFIX}/data")
        assert response.is_whole
        expected = expected or response
        assert response.body == expected.body
        assert tag(response) == tag(expected)
        browser.close()
        faulty.hang_up()
    assert expected is not None
    assert (tag(expected) == TAG) is not has_mention
    if fast_lane:
        assert forwarding_of(gate).handed_over == 0


@pytest.mark.usefixtures("patience")
async def test_a_chunked_body_leaves_in_chunks(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(BODY), BODY)
    respond_in_pieces(faulty, head, chunk[:9], chunk[9:], chunk, b"0\r\n", b"\r\n")
    response = await ask(start_gate, faulty, connect)
    assert (response.body, response.is_whole, tag(response)) == (2 * BODY, True, TAG)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("has_mention", [False, True])
async def test_a_gzipped_body_is_searched_and_stays_gzipped(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, has_mention: bool
) -> None:
    body = gzip.compress(b'["%b/x"]' % (faulty.url.encode() if has_mention else b""))
    head = sized(body, b"Content-Encoding: gzip")
    respond_in_pieces(faulty, head + body[:7], body[7:])
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    response = await browser.request(f"{PREFIX}/data", "Accept-Encoding: gzip")
    assert b"Content-Encoding: gzip" in response.headers
    assert (response.body == body) is not has_mention
    assert (tag(response) == TAG) is not has_mention
    assert (PREFIX.encode() in gzip.decompress(response.body)) is has_mention


async def test_a_slow_body_is_held_for_a_moment_only_and_nothing_of_it_is_lost(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    got_head = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(sized(BODY * 50) + BODY * 25)
        await got_head.wait()
        await wire.send(BODY * 25)
        await wire.read_head()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(f"{PREFIX}/data")
    async with asyncio.timeout(30):
        await browser.reader.readuntil(b"\r\n\r\n")  # although the rest has not come
    got_head.set()
    body = await _chunks(browser)
    assert body == BODY * 50
    assert len(faulty.heads) == 1


async def _chunks(browser: RawConnection) -> bytes:
    body = b""
    async with asyncio.timeout(30):
        while size := int(await browser.reader.readline(), 16):
            body += await browser.reader.readexactly(size)
            await browser.reader.readexactly(2)
    return body


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("is_sized", [True, False])
async def test_a_long_body_is_not_held_until_its_end(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, is_sized: bool
) -> None:
    long = BODY * 8000
    if is_sized:
        respond_in_pieces(faulty, sized(long) + long)
    else:
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        respond_in_pieces(faulty, head, *[b"%x\r\n%b\r\n" % (len(long), long)] * 2, b"0\r\n\r\n")
    response = await ask(start_gate, faulty, connect)
    assert response.body == long * (1 if is_sized else 2)
    assert response.is_whole
    assert tag(response).startswith(DERIVED)


@pytest.mark.usefixtures("patience")
async def test_a_cut_body_is_cut_for_the_browser_too_and_its_beginning_delivered(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    async def script(wire: Wire) -> None:
        await wire.send(sized(BODY) + BODY[:20])
        for _ in range(5):
            await asyncio.sleep(0)
        await wire.send(BODY[20:40])

    faulty.script = script
    response = await ask(start_gate, faulty, connect)
    assert response.start.startswith(b"HTTP/1.1 200")
    assert BODY.startswith(response.body)
    assert not response.is_whole


@pytest.mark.usefixtures("patience")
async def test_a_browser_that_leaves_meanwhile_frees_the_upstream_connection(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    is_closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(sized(BODY) + BODY[:9])
        assert await wire.reader.read() == b""
        is_closed.set()

    faulty.script = script
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    browser.send(f"{PREFIX}/data")
    async with asyncio.timeout(30):
        await until(lambda: faulty.heads)
        for _ in range(50):
            await asyncio.sleep(0)
        browser.close()
        await is_closed.wait()


async def test_a_browser_revalidates_with_the_tag_that_it_got(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    gate = await start_gate(faulty.url)
    for body in (BODY, b'["%b/"]' % faulty.url.encode()):
        browser = await connect(gate)
        respond_in_pieces(faulty, sized(body) + body)
        got = tag(await browser.request(f"{PREFIX}/data"))
        browser.close()
        faulty.hang_up()
        faulty.heads.clear()
        faulty.always(b'HTTP/1.1 304 Not Modified\r\nETag: "abc"\r\n\r\n')
        browser = await connect(gate)
        condition = b"If-None-Match:" + got.partition(b":")[2]
        response = await browser.request(f"{PREFIX}/data", condition.decode())
        assert response.start.startswith(b"HTTP/1.1 304")
        assert tag(response) == got
        assert b'If-None-Match: "abc"' in faulty.heads[0].split(b"\r\n")
