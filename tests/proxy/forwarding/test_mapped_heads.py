"""The mapped head of a page that comes again is kept, and only what may repeat is taken from it."""

from __future__ import annotations

import pytest

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate, shared_engine
from tests.kit.raw_connections import Connect, RawResponse, forwarding_of

OTHER = "o" * len(TOKEN)
BODY = b'<!doctype html><title>Guide</title><a href="/next">next</a><script>1</script>'
_POLICY = b"Content-Security-Policy: script-src 'self'"


def page(
    *lines: bytes, body: bytes = BODY, date: bytes = b"Mon, 05 Jan 2026 00:00:00 GMT"
) -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: %b\r\n%bContent-Length: %d\r\n\r\n%b"
        % (date, head, len(body), body)
    )


def field(response: RawResponse, name: bytes) -> bytes | None:
    found = [line for line in response.headers if line.lower().startswith(name.lower() + b":")]
    assert len(found) < 2
    return found[0].partition(b":")[2].strip() if found else None


def dates(response: RawResponse) -> list[bytes]:
    return [line for line in response.headers if line.startswith(b"Date:")]


def shape(response: RawResponse) -> tuple[object, ...]:
    """All of a response but its Date and its ID."""
    start, headers, body, is_whole = response.shape
    named = [line for line in headers if not line.startswith(b"X-Request-ID:")]
    return start, named, body, is_whole


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the bodies that the engine has planned."""
    engine, urls = shared_engine(), []
    plan = engine.plan

    def counted(exchange: object) -> object:
        urls.append(exchange.url)  # type: ignore[attr-defined]  # it is a head
        return plan(exchange)  # type: ignore[arg-type]  # as above

    monkeypatch.setattr(engine, "plan", counted)
    return urls


async def test_a_page_with_an_equal_head_is_planned_once(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, planned: list[str]
) -> None:
    dates = [b"Mon, 05 Jan 2026 00:00:%02d GMT" % second for second in range(4)]
    faulty.keep_responding(*[page(b'ETag: "1"', date=date) for date in dates])
    browser = await connect(await start_gate(faulty.url))
    responses = [await browser.request(f"{PREFIX}/guide") for _ in dates]
    assert [field(response, b"Date") for response in responses] == dates
    assert all(shape(response) == shape(responses[0]) for response in responses)
    assert f'href="{PREFIX}/next"'.encode() in responses[0].body
    assert {response.body for response in responses} == {responses[0].body}
    # The first request of a header block is parsed; its headers are those of the next ones.
    assert len(planned) == 1


@pytest.mark.parametrize(
    "changed",
    [
        page(b'ETag: "2"'),
        page(b'ETag: "1"', b"X-Page: 2"),
        page(b'ETag: "1"', body=BODY + b"<p>more"),
        page(b'ETag: "1"', b"Set-Cookie: a=b; Path=/"),
        page(b'ETag: "1"').replace(b"200 OK", b"200 Fine"),
        page(b'ETag: "1"').replace(b"200 OK", b"404 Not Found"),
        page(b'ETag: "1"').replace(b"Date: Mon, 05 Jan 2026 00:00:00 GMT\r\n", b""),
        page(b'ETag: "1"', b"Date: Tue, 06 Jan 2026 00:00:00 GMT"),
    ],
)
async def test_another_head_is_mapped_as_if_it_came_first(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, changed: bytes
) -> None:
    gate = await start_gate(faulty.url)
    browser = await connect(gate)
    faulty.keep_responding(page(b'ETag: "1"'), page(b'ETag: "1"'), changed, changed)
    first, _, third, fourth = [await browser.request(f"{PREFIX}/guide") for _ in range(4)]
    faulty.hang_up()
    faulty.keep_responding(changed)
    alone = await browser.request(f"{PREFIX}/guide", "X-Another: block")
    assert shape(third) == shape(fourth) == shape(alone)
    assert dates(third) == dates(fourth) == dates(alone)
    assert (shape(first), dates(first)) != (shape(alone), dates(alone))


async def test_a_target_and_a_header_block_have_their_own_heads(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, planned: list[str]
) -> None:
    faulty.keep_responding(page(b"Link: </style.css>; rel=preload"))
    browser = await connect(await start_gate(faulty.url))
    for _ in range(2):
        for target in ("/a/guide", "/b/guide?q"):
            for headers in ((), ("X-Another: block",)):
                response = await browser.request(f"{PREFIX}{target}", *headers)
                mapped = f"<{PREFIX}/style.css>; rel=preload"
                assert field(response, b"Link") == mapped.encode()
    assert len(planned) == len(set(planned)) * 2 == 4


async def test_a_nonce_is_used_once(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, planned: list[str]
) -> None:
    faulty.keep_responding(page(_POLICY))
    browser = await connect(await start_gate(faulty.url))
    responses = [await browser.request(f"{PREFIX}/guide") for _ in range(3)]
    policies = {field(response, b"Content-Security-Policy") for response in responses}
    assert len(planned) == 3
    assert len(policies) == 3


async def test_plugins_that_were_loaded_again_map_the_next_head(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect, planned: list[str]
) -> None:
    faulty.keep_responding(page())
    gate: RunningGate = await start_gate(faulty.url)
    browser = await connect(gate)
    forwarding = forwarding_of(gate)
    for _ in range(2):
        await browser.request(f"{PREFIX}/guide")
    assert (len(planned), len(forwarding.mapped_heads)) == (1, 1)
    shared_engine().registry.generation += 1
    forwarding._sweep()
    assert not len(forwarding.mapped_heads)
    await browser.request(f"{PREFIX}/guide")
    assert len(planned) == 2


async def test_two_users_do_not_share_a_mapped_head(
    start_gate: GateFactory, faulty: FaultyUpstream, connect: Connect
) -> None:
    """A derived tag is for one user: the page may depend on who asks."""
    faulty.keep_responding(page(b'ETag: "1"'))
    gate: RunningGate = await start_gate(faulty.url)
    gate.tokens.add(OTHER)
    browser = await connect(gate)
    tags = {
        token: {
            field(await browser.request(f"{PREFIX}/guide", token=token), b"ETag") for _ in range(3)
        }
        for token in (TOKEN, OTHER)
    }
    assert all(len(found) == 1 for found in tags.values())
    assert tags[TOKEN] != tags[OTHER]
