"""Bytes that no browser sends: every request gets a page, never a 5xx."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import pytest

from tests.kit.gates import GateClient
from tests.kit.visitors import PASSWORD, Visitor

RAW = [b"\xff\xfe" * 20, b"\xed\xa0\x80" * 12, b"a" * 30 + b"\x80", "ÿ".encode() * 30]
"""No UTF-8, half a surrogate pair, a broken end; the last is text, but no ASCII."""


async def raw(gate: GateClient, head: list[bytes], body: bytes = b"") -> tuple[int, bytes]:
    """The status and the whole response to a request that is written byte by byte."""
    reader, writer = await asyncio.open_connection(gate.host, gate.port)
    try:
        lines = [
            *head,
            f"Host: {gate.host}:{gate.port}".encode(),
            b"Accept: text/html",
            b"Connection: close",
        ]
        if body:
            lines += [
                b"Content-Type: application/x-www-form-urlencoded",
                b"Content-Length: %d" % len(body),
            ]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        response = await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
    return int(response.split(b" ", 2)[1]), response


@pytest.mark.parametrize("value", RAW, ids=["no text", "surrogates", "broken end", "no ascii"])
@pytest.mark.parametrize(
    "name",
    ["visit", "session", "flash", "halfway", "language", "zone", "known"],
)
async def test_a_cookie_of_any_bytes_is_no_cookie(
    gate: GateClient, name: str, value: bytes
) -> None:
    cookie = b"Cookie: zenzefi_" + name.encode() + b"=" + value
    for path in (b"/", b"/login", b"/login/code", b"/account"):
        status, _ = await raw(gate, [b"GET " + path + b" HTTP/1.1", cookie])
        assert status in (200, 303), path
    status, _ = await raw(gate, [b"POST /login HTTP/1.1", cookie], b"email=a&password=b&csrf=%ff")
    assert status == 403


@pytest.mark.parametrize("value", RAW, ids=["no text", "surrogates", "broken end", "no ascii"])
async def test_a_browsers_name_of_any_bytes_is_kept_or_dropped(
    gate: GateClient, value: bytes
) -> None:
    visitor = await Visitor(gate).register()
    await visitor.send("/logout")
    await visitor.open("/login")
    cookies = "; ".join(f"{name}={text}" for name, text in visitor.cookies.items())
    form = {"csrf": visitor.csrf, "email": "marta@example.com", "password": PASSWORD}
    status, _ = await raw(
        gate,
        [
            b"POST /login HTTP/1.1",
            b"Cookie: " + cookies.encode(),
            b"User-Agent: " + value,
            b"Accept-Language: " + value,
        ],
        urlencode(form).encode(),
    )
    assert status == 303


@pytest.mark.parametrize(
    "path",
    [
        "/login?next=%ff%fe",
        "/login?next=%ed%a0%80",
        "/register?next=%00",
        "/account/tokens/%ff",
        "/login/code?x=%ff",
    ],
)
async def test_an_address_of_any_bytes_gets_a_response(gate: GateClient, path: str) -> None:
    visitor = await Visitor(gate).register()
    status, _ = await raw(gate, [f"GET {path} HTTP/1.1".encode()])
    assert status < 500
    cookies = "; ".join(f"{name}={text}" for name, text in visitor.cookies.items())
    status, _ = await raw(gate, [f"GET {path} HTTP/1.1".encode(), b"Cookie: " + cookies.encode()])
    assert status < 500


@pytest.mark.parametrize("value", ["%00", "%ff", "%ed%a0%80", "%F0%9F%98%80", "a%0d%0ab"])
async def test_a_form_of_any_bytes_gets_a_response(gate: GateClient, value: str) -> None:
    visitor = await Visitor(gate).open("/register")
    cookies = "; ".join(f"{name}={text}" for name, text in visitor.cookies.items())
    for path, fields in (
        ("/login", ("email", "password", "next")),
        ("/register", ("email", "username", "password", "next")),
        ("/account/language", ("language", "next")),
    ):
        body = "&".join([f"csrf={visitor.csrf}", *(f"{name}={value}" for name in fields)])
        status, _ = await raw(
            gate, [f"POST {path} HTTP/1.1".encode(), b"Cookie: " + cookies.encode()], body.encode()
        )
        assert status in (303, 422), path
