"""Heads beyond the limits: 414 and 431 (RFC 9110, 15.5.15; RFC 6585, 5), and the way out."""

from __future__ import annotations

import asyncio
import json
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.faulty_upstream import IMAGE_RESPONSE, FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import WEBSOCKET_UPGRADE
from zenzefi.http.cookie_reset import COOKIE_RESET_PATH, expired_cookies
from zenzefi.http.head_limits import (
    HEADER_LINES,
    HEADERS,
    LINE,
    MAX_HEAD,
    MAX_HEADER_LINES,
    MAX_LONG_HEADS,
    HeadLimits,
)

COOKIES = "Cookie: " + "; ".join(f"visit{n}={'v' * 4000}" for n in range(20))
"""80 kB, as a site with many cookies may leave them in a browser."""
NAVIGATION = ("Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


def split(response: bytes) -> tuple[bytes, list[str], bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    return start, [line.decode() for line in lines], body


async def test_twelve_kilobytes_of_cookies_pass(proxy_gate: RunningGate) -> None:
    cookies = "Cookie: " + "; ".join(f"c{n}={'v' * 4000}" for n in range(3))
    response = await proxy_gate.request(f"{PREFIX}/page", cookies)
    assert response.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [LINE - len(f"GET {PREFIX}/ HTTP/1.1"), 9000])
async def test_a_line_within_the_limit_passes(proxy_gate: RunningGate, size: int) -> None:
    response = await proxy_gate.request(f"{PREFIX}/{'a' * size}")
    assert response.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("extra", [1, 100_000, MAX_HEAD])
async def test_a_longer_line_gets_414(proxy_gate: RunningGate, extra: int) -> None:
    size = LINE - len(f"GET {PREFIX}/ HTTP/1.1") + extra
    start, lines, body = split(await proxy_gate.request(f"{PREFIX}/{'a' * size}"))
    assert start.split()[1] == b"414"
    assert "Connection: close" in lines or start.startswith(b"HTTP/1.0 ")
    assert json.loads(body)["code"] == "uri_too_long"


@pytest.mark.parametrize("size", [HEADERS, 300_000, MAX_HEAD])
async def test_larger_headers_get_431(proxy_gate: RunningGate, size: int) -> None:
    start, lines, body = split(await proxy_gate.request(f"{PREFIX}/", f"X-A: {'a' * size}"))
    assert start.split()[1] == b"431"
    assert "Connection: close" in lines or start.startswith(b"HTTP/1.0 ")
    error = json.loads(body)
    assert error["code"] == "headers_too_large"
    assert error["request_id"]


@pytest.mark.parametrize("line", ["X-A: b", "X-A-{n}: b", "Cookie: a{n}=b", "a:"])
@pytest.mark.parametrize("count", [HEADER_LINES + 1, 1000, MAX_HEADER_LINES - 1, 20_000])
async def test_more_header_lines_get_431(proxy_gate: RunningGate, line: str, count: int) -> None:
    given = (line.format(n=n) for n in range(count))
    start, lines, body = split(await proxy_gate.request(f"{PREFIX}/", *given))
    assert start.split()[1] == b"431"
    assert "Connection: close" in lines or start.startswith(b"HTTP/1.0 ")
    assert json.loads(body)["code"] == "headers_too_large"


async def test_the_number_of_header_lines_is_a_setting(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(IMAGE_RESPONSE)
    gate = await start_gate(faulty.url, request_header_lines_limit=300)
    ours = 3  # Host, X-Access-Token and Connection
    for count, status in [(100, b"200"), (300 - ours, b"200"), (301 - ours, b"431")]:
        response = await gate.request(f"{PREFIX}/", *(f"X-{n}: b" for n in range(count)))
        assert response.split()[1] == status


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", ()),
        ("POST", ("Content-Length: 1000000",)),
        ("POST", ("Transfer-Encoding: chunked",)),
        ("PUT", ("Content-Length: 10", "Expect: 100-continue")),
        ("PROPFIND", ()),
        ("GET", WEBSOCKET_UPGRADE),
    ],
)
@pytest.mark.parametrize("host", ["gate.test", "app.test:8000"])
@pytest.mark.parametrize(
    ("target", "extra", "status"),
    [
        ("a" * (LINE + 10), (), b"414"),
        ("", (f"X-A: {'a' * HEADERS}",), b"431"),
        ("", ("X-A: b",) * (HEADER_LINES + 1), b"431"),
    ],
)
async def test_the_same_response_everywhere_before_any_content(
    start_gate: GateFactory,
    host: str,
    method: str,
    headers: tuple[str, ...],
    target: str,
    extra: tuple[str, ...],
    status: bytes,
) -> None:
    """At the gate's host below the prefix and at that of the application; nothing follows."""
    gate = await start_gate("http://127.0.0.1:9", proxy_host="app.test:8000")
    prefix = PREFIX if host == "gate.test" else ""
    lines = [f"{method} {prefix}/{target} HTTP/1.1", f"Host: {host}", *headers, *extra, "", ""]
    response = await gate.raw("\r\n".join(lines).encode())
    assert response.split()[1] == status
    assert b"100 Continue" not in response


async def test_a_navigation_with_too_many_header_lines_gets_the_page(
    start_gate: GateFactory,
) -> None:
    gate = await start_gate("http://127.0.0.1:9", has_page_texts=True)
    many = (f"Cookie: visit{n}=1" for n in range(HEADER_LINES))
    response = await gate.request(f"{PREFIX}/page", *many, *NAVIGATION, token=None)
    assert response.startswith(b"HTTP/1.1 431 ")
    assert f'<form method="post" action="{COOKIE_RESET_PATH}">'.encode() in response


async def test_the_limits_are_settings(start_gate: GateFactory) -> None:
    gate = await start_gate(
        "http://127.0.0.1:9", request_line_limit=2048, request_headers_limit=8192
    )
    assert (await gate.request(f"{PREFIX}/{'a' * 2048}")).startswith(b"HTTP/1.1 414 ")
    assert (await gate.request(f"{PREFIX}/", f"X-A: {'a' * 8192}")).startswith(b"HTTP/1.1 431 ")


async def test_a_recognised_request_has_the_same_limit_of_its_line(
    proxy_gate: RunningGate,
) -> None:
    """The second request has the header block of the first, which is recognised."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy_gate.port, limit=2**20)
    block = f"Host: gate.test\r\nX-Access-Token: {TOKEN}\r\n\r\n"
    for size, status in [(9, b"200"), (9000, b"200"), (LINE, b"414")]:
        writer.write(f"GET {PREFIX}/{'a' * size} HTTP/1.1\r\n{block}".encode())
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        assert head.split()[1] == status
    writer.transport.abort()


async def test_a_navigation_with_too_many_cookies_gets_a_page_with_a_button(
    start_gate: GateFactory,
) -> None:
    gate = await start_gate("http://127.0.0.1:9", has_page_texts=True)
    response = await gate.request(f"{PREFIX}/a?b=%22&c", COOKIES, *NAVIGATION, token=None)
    start, lines, body = split(response)
    assert start.startswith(b"HTTP/1.1 431 ")
    assert "Content-Type: text/html; charset=utf-8" in lines
    assert b"Too many cookies" in body
    assert f'<form method="post" action="{COOKIE_RESET_PATH}">'.encode() in body
    assert f'name="path" value="{PREFIX}/a?b=%22&amp;c"'.encode() in body
    policy = next(line for line in lines if line.startswith("Content-Security-Policy"))
    assert "form-action 'self'" in policy


async def test_the_page_speaks_russian(start_gate: GateFactory) -> None:
    gate = await start_gate("http://127.0.0.1:9", has_page_texts=True)
    response = await gate.request(
        f"{PREFIX}/", "Accept-Language: ru", COOKIES, *NAVIGATION, token=None
    )
    assert "Слишком много cookie" in response.decode()
    assert "Удалить cookie" in response.decode()


async def test_the_button_removes_the_cookies_and_returns_to_the_page(
    proxy_gate: RunningGate,
) -> None:
    start, lines, _ = split(await press(proxy_gate, "Sec-Fetch-Site: same-origin"))
    assert start == b"HTTP/1.1 303 See Other"
    assert "Location: /page?a=1" in lines
    assert 'Clear-Site-Data: "cookies"' in lines
    removed = [line for line in lines if line.startswith("Set-Cookie: visit")]
    assert len(removed) == 20
    assert all("Max-Age=0; Path=/" in line for line in removed)


@pytest.mark.parametrize(
    "source",
    [
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: none",),
        ("Sec-Fetch-Site: cross-site", "Origin: http://127.0.0.1:{port}"),
        ("Origin: http://evil.example",),
        ("Origin: null",),
        ("Origin: http://[",),
        (),
    ],
)
async def test_another_site_cannot_remove_the_cookies(
    proxy_gate: RunningGate, source: tuple[str, ...]
) -> None:
    headers = [line.format(port=proxy_gate.port) for line in source]
    start, lines, _ = split(await press(proxy_gate, *headers))
    assert start.startswith(b"HTTP/1.1 403 ")
    assert not [line for line in lines if line.startswith(("Clear-Site-Data", "Set-Cookie"))]


async def test_a_browser_without_fetch_metadata_names_its_origin(proxy_gate: RunningGate) -> None:
    response = await press(proxy_gate, f"Origin: http://127.0.0.1:{proxy_gate.port}")
    assert response.startswith(b"HTTP/1.1 303 ")
    # Chromium ignores the Set-Cookie lines of a response with this header over plain HTTP.
    assert b"Clear-Site-Data" not in response
    assert b"Set-Cookie: visit3=;" in response


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example", "https://evil.example/", "", "/a b", "/%0D%0A "]
)
async def test_the_button_never_leads_to_another_site(proxy_gate: RunningGate, path: str) -> None:
    response = await press(proxy_gate, "Sec-Fetch-Site: same-origin", path=path)
    assert "Location: /" in split(response)[1]


async def test_the_address_of_the_button_cannot_be_opened(proxy_gate: RunningGate) -> None:
    response = await proxy_gate.request(COOKIE_RESET_PATH)
    assert response.startswith(b"HTTP/1.1 405 ")


async def test_the_button_works_at_the_origin_of_the_application(start_gate: GateFactory) -> None:
    gate = await start_gate("http://127.0.0.1:9", proxy_host="app.test:8000")
    page = await at_own_origin(gate, "GET /page HTTP/1.1", *NAVIGATION)
    assert page.startswith(b"HTTP/1.1 431 ")
    response = await at_own_origin(
        gate, f"POST {COOKIE_RESET_PATH} HTTP/1.1", "Sec-Fetch-Site: same-origin"
    )
    assert response.startswith(b"HTTP/1.1 303 ")
    assert b"\r\nSet-Cookie: visit3=; Max-Age=0; Path=/; Domain=app.test\r\n" in response


async def test_the_desktop_client_reaches_the_button_below_the_prefix(
    start_gate: GateFactory,
) -> None:
    gate = await start_gate("http://127.0.0.1:9", has_page_texts=True)
    page = await gate.request(f"{PREFIX}/page", COOKIES, *NAVIGATION)
    assert b'name="path" value="/page"' in page
    response = await press(gate, "Sec-Fetch-Site: same-origin", target=PREFIX + COOKIE_RESET_PATH)
    assert response.startswith(b"HTTP/1.1 303 ")


async def test_few_heads_beyond_the_limits_occupy_memory(proxy_gate: RunningGate) -> None:
    """More of them get their 431 before their end, and a visitor with less is not affected."""
    beginning = f"GET {PREFIX}/ HTTP/1.1\r\nHost: a\r\nX-A: {'a' * (LINE + HEADERS)}".encode()
    open_connections = []
    for _ in range(MAX_LONG_HEADS):
        connection = await asyncio.open_connection("127.0.0.1", proxy_gate.port)
        connection[1].write(beginning)
        open_connections.append(connection)
        await connection[1].drain()
    assert b" 431 " in (await proxy_gate.raw(beginning))[:20]
    assert (await proxy_gate.request(f"{PREFIX}/")).startswith(b"HTTP/1.1 200 ")
    for reader, writer in open_connections:
        writer.write(b"\r\n\r\n")
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
        writer.close()
    assert b'"headers_too_large"' in await proxy_gate.raw(beginning + b"\r\n\r\n")


def test_a_connection_that_ended_makes_room_for_another_long_head() -> None:
    limits = HeadLimits()
    size = LINE + HEADERS + 1
    assert [limits.may_read(number, size) for number in range(MAX_LONG_HEADS + 1)][-1] is False
    limits.end(0)
    assert limits.may_read("another", size)


@pytest.mark.parametrize(
    ("host", "domains"),
    [
        ("app.gate.example:8000", {"", "app.gate.example", "gate.example"}),
        ("127.0.0.1:8000", {""}),
        ("[::1]:8000", {""}),
        ("localhost", {""}),
    ],
)
def test_a_cookie_is_removed_for_each_domain_that_may_hold_it(host: str, domains: set[str]) -> None:
    parsed = [SimpleCookie(line)["a"] for line in expired_cookies("a=1", host)]
    assert {cookie["domain"] for cookie in parsed} == domains


def test_prefixed_names_are_removed_with_the_attributes_that_they_require() -> None:
    assert expired_cookies("__Host-Http-a=1", "localhost") == [
        "__Host-Http-a=; Max-Age=0; Path=/; Secure; HttpOnly"
    ]


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_cookie_header_adds_an_attribute_or_a_line(cookie: str, host: str) -> None:
    for line in expired_cookies(cookie, host):
        name, _, rest = line.partition("=")
        assert name.isascii()
        assert name.isprintable()
        assert rest.startswith("; Max-Age=0; Path=/")
        assert not set(name) & set(' ";,=')


def test_the_longest_cookies_are_removed_first_within_a_bound() -> None:
    cookie = "; ".join(f"{'n' * 400}{n}={'v' * n}" for n in range(400))
    lines = expired_cookies(cookie, "a.b.example")
    assert sum(map(len, lines)) <= 64 * 1024
    assert lines[0].startswith("n" * 400 + "399=")


async def press(
    gate: RunningGate, *headers: str, path: str = "/page?a=1", target: str = COOKIE_RESET_PATH
) -> bytes:
    """Send the form of the page with 80 kB of cookies."""
    from urllib.parse import urlencode

    body = urlencode({"path": path}).encode()
    return await gate.request(
        target,
        COOKIES,
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        *headers,
        method="POST",
        body=body,
        token=None,
    )


async def at_own_origin(gate: RunningGate, line: str, *headers: str) -> bytes:
    lines = [line, "Host: app.test:8000", COOKIES, *headers, "Connection: close", "", ""]
    return await gate.raw("\r\n".join(lines).encode())
