"""The demo site keeps what it promises to those who test against it."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import AsyncIterator

import brotli
import pytest
import zstandard
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from zenzefi.demo import running_demo
from zenzefi.demo.bodies import CODINGS, download_bytes
from zenzefi.demo.pages import PAGES


@pytest.fixture
async def demo() -> AsyncIterator[ClientSession]:
    async with (
        running_demo() as origin,
        ClientSession(base_url=origin, auto_decompress=False) as session,
    ):
        yield session


@pytest.mark.parametrize("path", [*PAGES, "/cookies/", "/letter/"])
async def test_every_page_is_served_and_its_local_references_exist(
    demo: ClientSession, path: str
) -> None:
    async with demo.get(path) as response:
        assert response.status == 200
        page = await response.text()
    for reference in set(re.findall(r'(?:href|src)="(/[^"#]*)"', page)):
        async with demo.get(reference, allow_redirects=False) as response:
            assert response.status in (200, 302, 303), reference


async def test_absolute_links_name_the_host_that_the_client_named(demo: ClientSession) -> None:
    async with demo.get("/", headers={"Host": "lights.example:8080"}) as response:
        assert 'href="http://lights.example:8080/lights/"' in await response.text()


@pytest.mark.parametrize("coding", CODINGS)
async def test_each_content_coding_unpacks_to_the_same_page(
    demo: ClientSession, coding: str
) -> None:
    async with demo.get(f"/encodings/{coding}") as response:
        body, header = await response.read(), response.headers.get("Content-Encoding", "")
    unpack = {
        "": bytes,
        "gzip": gzip.decompress,
        "br": brotli.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
        "deflate": lambda data: zlib.decompress(data, -15 if coding == "raw-deflate" else 15),
    }[header]
    assert f"Sent as <code>{coding}</code>".encode() in unpack(body)


async def test_a_range_of_the_download_is_that_part_of_the_whole(demo: ClientSession) -> None:
    url = "/downloads/tides.bin?size=300000"
    async with demo.get(url) as response:
        whole, etag = await response.read(), response.headers["ETag"]
    assert len(whole) == 300000
    for header, part in (
        ("bytes=70000-140000", whole[70000:140001]),
        ("bytes=299990-", whole[299990:]),
        ("bytes=-10", whole[-10:]),
    ):
        async with demo.get(url, headers={"Range": header, "If-Range": etag}) as response:
            assert response.status == 206
            assert await response.read() == part
    async with demo.get(url, headers={"Range": "bytes=300000-"}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == "bytes */300000"
    async with demo.get(url, headers={"Range": "bytes=1-2", "If-Range": '"other"'}) as response:
        assert response.status == 200


async def test_the_download_is_the_same_at_every_offset() -> None:
    whole = download_bytes(0, 200_000)
    assert download_bytes(65_535, 65_537) == whole[65_535:65_537]
    assert download_bytes(131_000, 200_000) == whole[131_000:]


async def test_head_says_the_size_and_sends_nothing(demo: ClientSession) -> None:
    async with demo.head("/downloads/tides.bin?size=5000000000") as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == "5000000000"
        assert await response.read() == b""


@pytest.mark.parametrize("query", ["size=-1", "size=many", "size=99999999999999"])
async def test_an_impossible_size_is_refused(demo: ClientSession, query: str) -> None:
    async with demo.get(f"/downloads/tides.bin?{query}") as response:
        assert response.status == 400


async def test_a_known_etag_gets_304(demo: ClientSession) -> None:
    async with demo.get("/api/lights") as response:
        etag = response.headers["ETag"]
    async with demo.get("/api/lights", headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with demo.get("/api/nothing") as response:
        assert (response.status, await response.read()) == (204, b"")


async def test_six_cookies_are_set_at_once(demo: ClientSession) -> None:
    async with demo.get("/cookies/set", allow_redirects=False) as response:
        assert response.status == 303
        assert len(response.headers.getall("Set-Cookie")) == 6


@pytest.mark.parametrize("kind", ["absolute", "rooted", "relative", "scheme", "chain"])
async def test_every_redirect_ends_at_the_light(demo: ClientSession, kind: str) -> None:
    async with demo.get(f"/redirects/{kind}") as response:
        assert response.status == 200
        assert response.url.path == "/lights/north/skerry.html"


async def test_an_upload_is_counted(demo: ClientSession) -> None:
    from aiohttp import FormData

    form = FormData({"name": "Ada"})
    form.add_field("parcel", b"x" * 70_000, filename="parcel.bin")
    async with demo.post("/post/submit", data=form) as response:
        page = await response.text()
    assert "<td>Ada</td>" in page
    assert "parcel.bin, 70000 bytes" in page


async def test_the_echo_keeps_type_subprotocol_and_close_code(demo: ClientSession) -> None:
    async with demo.ws_connect("/live/echo", protocols=("echo.v1",)) as socket:
        assert socket.protocol == "echo.v1"
        await socket.send_str("ahoy")
        assert (await socket.receive()).data == "ahoy"
        await socket.send_bytes(b"\0\1")
        assert (await socket.receive()).data == b"\0\1"
        await socket.send_str("close:4123:goodbye")
        closed = await socket.receive()
        assert (closed.type, closed.data, closed.extra) == (WSMsgType.CLOSE, 4123, "goodbye")


async def test_the_echo_refuses_a_plain_request(demo: ClientSession) -> None:
    async with demo.get("/live/echo") as response:
        assert response.status == 400
    with pytest.raises(WSServerHandshakeError):
        await demo.ws_connect("/api/lights")


async def test_events_are_numbered_and_go_on_where_they_ended(demo: ClientSession) -> None:
    url = "/live/events?count=2&every=0.01"
    async with demo.get(url, headers={"Last-Event-ID": "7"}) as response:
        assert response.content_type == "text/event-stream"
        assert re.findall(r"^id: (\d+)$", await response.text(), re.M) == ["8", "9"]


async def test_the_old_charset_is_named_by_the_header_or_the_page(demo: ClientSession) -> None:
    for query, named in (("", True), ("?by=meta", False)):
        async with demo.get("/letter/" + query) as response:
            assert ("windows-1251" in response.headers["Content-Type"]) is named
            assert "Письмо смотрителя" in (await response.read()).decode("windows-1251")


async def test_echo_tells_what_arrived(demo: ClientSession) -> None:
    async with demo.request("PROPFIND", "/api/echo?a=%2f", data=b"body") as response:
        seen = await response.json()
    assert (seen["method"], seen["body"]["bytes"]) == ("PROPFIND", 4)
    assert seen["body"]["sha256"] == hashlib.sha256(b"body").hexdigest()
