"""The plugin ``request-addresses``: what a page sends reaches the upstream with its addresses."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import ClientSession, FormData, web

from tests.kit.proxy_gates import TOKEN, GateFactory
from zenzefi.plugins import Exchange, Plugin
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

LONG = (1 << 20) + 1
MOUNTS = ("prefix", "own", "client")


@dataclass
class Received:
    """One request, as the upstream got it."""

    body: str
    fields: dict[str, str]
    length: str | None
    coding: str | None


@pytest.fixture
def received() -> list[Received]:
    return []


@pytest.fixture
def upstream_app(received: list[Received]) -> web.Application:
    async def store(request: web.Request) -> web.Response:
        body, fields = "", {}
        if request.content_type == "multipart/form-data":
            for name, value in (await request.post()).items():
                is_file = isinstance(value, web.FileField)
                fields[name] = value.file.read().decode() if is_file else str(value)  # type: ignore[union-attr]
        else:
            body = (await request.read()).decode()
        headers = request.headers
        coding = headers.get("Transfer-Encoding")
        received.append(Received(body, fields, headers.get("Content-Length"), coding))
        return web.Response()

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", store)
    return app


@dataclass
class Page:
    """A page at one mount, which reads addresses that begin with ``root``."""

    root: str
    upstream: str
    send: Callable[..., Any]
    """Sends content; returns what the upstream has received."""


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as opened:
        yield opened


@pytest.fixture
def open_page(
    start_gate: GateFactory, upstream: str, session: ClientSession, received: list[Received]
) -> Callable[..., Any]:
    async def open_page(mount: str = "prefix", **options: Any) -> Page:
        given = {"request-addresses": {"enabled": True, **options}}
        registry = Registry([bundled("plugins")], entry_points=False, options=given)
        gate = await start_gate(upstream, engine=Engine(registry))
        headers, url, root = {"X-Access-Token": TOKEN}, gate.proxy_url, gate.proxy_url
        if mount == "own":
            headers["Host"] = f"app.localhost:{gate.url.rpartition(':')[2]}"
            url, root = gate.url, f"http://{headers['Host']}"
        elif mount == "client":
            headers["X-Device-ID"] = "0123456789abcdef0123"
            root = "https://127.0.0.1:61000"

        async def send(data: Any, path: str = "/save", **more: str) -> Received:
            sent = headers | {name.replace("_", "-"): value for name, value in more.items()}
            if isinstance(data, str):
                sent["Content-Length"] = str(len(data.encode()))
                data = io.BytesIO(data.encode())
            async with session.post(url + path, headers=sent, data=data) as response:
                assert response.status == 200, await response.text()
            return received[-1]

        return Page(root, upstream, send)

    return open_page


@pytest.mark.parametrize("mount", MOUNTS)
async def test_what_an_editor_sends_is_stored_with_the_upstreams_addresses(
    open_page: Callable[..., Any], mount: str
) -> None:
    page = await open_page(mount)
    html = f'<p><img src="{page.root}/i.png"> <a href="https://other.example/x">é</a></p>'
    own = html.replace(page.root, page.upstream)

    said = await page.send(html, Content_Type="text/html; charset=utf-8")
    assert (said.body, said.length) == (own, str(len(own.encode())))
    said = await page.send(json.dumps({"h": html}), Content_Type="application/json")
    assert json.loads(said.body) == {"h": own}
    said = await page.send(FormData({"html": html}))
    assert parse_qs(said.body) == {"html": [own]}

    form = FormData(default_to_multipart=True)
    form.add_field("html", html)
    form.add_field("file", html.encode(), filename="a.html", content_type="text/html")
    said = await page.send(form)
    assert said.fields == {"html": own, "file": html}


async def test_a_long_content_passes_or_is_mapped_on_its_way(
    open_page: Callable[..., Any],
) -> None:
    for longer in ("pass", "stream"):
        page = await open_page(longer=longer)
        html = f'<a href="{page.root}/x">' + "y" * LONG + f'<a href="{page.root}/z">'
        said = await page.send(html, Content_Type="text/html")
        if longer == "pass":
            assert (said.body, said.length) == (html, str(len(html)))
        else:
            assert said.body == html.replace(page.root, page.upstream)
            assert (said.length, said.coding) == (None, "chunked")
        said = await page.send(html[:100], Content_Type="text/html")
        assert said.length == str(len(said.body)), "a short one keeps its framing"


async def test_the_order_of_long_and_short_contents_does_not_matter(
    open_page: Callable[..., Any],
) -> None:
    page = await open_page(longer="stream")
    for size in (1, 1100, 1, 1100):
        html = f"<a href=/api/v1/proxy/x>{'y' * 1000}" * size
        said = await page.send(html, Content_Type="text/html")
        assert said.body == html.replace("/api/v1/proxy", "")


@pytest.mark.parametrize(
    "more",
    [
        {"Content_Type": "image/svg+xml"},
        {"Content_Type": "text/html; charset=utf-16le"},
        {"Content_Type": "text/html", "Content_Digest": "sha-256=:AAAA:"},
        {"Content_Type": "text/html", "X_Hub_Signature_256": "sha256=00"},
        {"Content_Type": "text/html", "Content_Encoding": "gzip"},
        {"Content_Type": "text/html", "path": "/hooks/payment"},
    ],
)
async def test_a_content_that_may_not_change_passes(
    open_page: Callable[..., Any], more: dict[str, str]
) -> None:
    page = await open_page(paths=["/save*"])
    html = "<a href=/api/v1/proxy/x>"
    sent = await page.send(html, **({"Content_Type": "text/html"} | more | {"path": "/save"}))
    assert (sent.body == html) is ("path" not in more)
    sent = await page.send(html, **more)
    assert (sent.body, sent.length) == (html, str(len(html)))


async def test_without_the_option_nothing_changes(open_page: Callable[..., Any]) -> None:
    page = await open_page(enabled=False)
    assert (await page.send("/api/v1/proxy/x", Content_Type="text/html")).body == "/api/v1/proxy/x"


async def test_a_plugin_gets_only_contents_of_the_types_that_it_reads(
    start_gate: GateFactory, upstream: str, session: ClientSession, received: list[Received]
) -> None:
    class Json(Plugin):
        name = "json-only"
        longest_body = 10
        request_types = ("application/json", "*/*+json")
        on_failure = "refuse"

        def request_body(self, exchange: Exchange, body: bytes) -> bytes:
            return body.upper()

        def request_chunk(self, exchange: Exchange, data: bytes, final: bool) -> bytes:
            return data.replace(b"1", b"2")

    gate = await start_gate(upstream, engine=Engine(Registry(entry_points=False, classes=[Json])))
    for content_type, data, expected in (
        ("application/json; charset=utf-8", b"a1", "A2"),
        ("application/problem+json", b"a1", "A2"),
        ("text/plain", b"a1", "a1"),
        ("x", b"a1", "a1"),
        ("text/plain", b"a1" * 6, "a1" * 6),
        ("application/json", b"a1" * 6, None),
    ):
        headers = {"X-Access-Token": TOKEN, "Content-Type": content_type}
        async with session.post(gate.proxy_url + "/x", headers=headers, data=data) as response:
            assert response.status == (413 if expected is None else 200)
        assert expected is None or received[-1].body == expected
