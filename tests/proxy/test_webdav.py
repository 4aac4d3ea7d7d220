"""A WebDAV client at each mount reads and sends addresses, as litmus does with a server.

Every address that the client reads is one that it can use, and every one that it sends is the
server's (RFC 4918: hrefs 14.7, lock roots 14.12, Destination 10.3, If 10.4).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiohttp import ClientResponse, ClientSession

from tests.kit.proxy_gates import TOKEN, GateFactory, RunningGate
from tests.kit.webdav_server import webdav_server

DAV = "{DAV:}"
LOCK = """<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>
<D:locktype><D:write/></D:locktype><D:owner><D:href>mailto:x@example.org</D:href></D:owner>
</D:lockinfo>"""
PROPERTY = """<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>
<x:colour xmlns:x="urn:x">blue</x:colour></D:prop></D:set></D:propertyupdate>"""


@dataclass
class Client:
    """A WebDAV client at one mount: ``root`` is where it sees the upstream's root."""

    session: ClientSession
    gate: RunningGate
    headers: dict[str, str]
    root: str
    origin: str
    conditions: list[str]
    is_prefix: bool = False

    def address(self, path: str) -> str:
        """The address of a path of the upstream, as this client uses it."""
        return f"{self.root}{path}"

    async def ask(self, method: str, path: str, data: str = "", **headers: str) -> ClientResponse:
        """The response to a request for a path of the upstream."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        url = (self.gate.proxy_url if self.is_prefix else self.gate_url) + path
        async with self.session.request(
            method, url, headers=self.headers | sent, data=data or None, allow_redirects=False
        ) as response:
            await response.read()
            return response

    @property
    def gate_url(self) -> str:
        """Where requests for the root of this mount go."""
        return self.gate.proxy_url if "X-Device-ID" in self.headers else self.gate.url

    def path_of(self, href: str) -> str:
        """The upstream's path of an address that this client has read."""
        root_path = "/api/v1/proxy" if self.is_prefix else ""
        rooted = href.removeprefix(self.root.removesuffix(root_path))
        assert rooted.startswith(f"{root_path}/"), href
        return rooted.removeprefix(root_path)


@pytest.fixture(params=["prefix", "own", "client"])
async def client(
    request: pytest.FixtureRequest, start_gate: GateFactory, tmp_path: Path
) -> AsyncIterator[Client]:
    folder = tmp_path / "files"
    folder.mkdir()
    with webdav_server(folder) as (origin, conditions):
        gate = await start_gate(origin)
        headers = {"X-Access-Token": TOKEN}
        root = gate.proxy_url
        if request.param == "own":
            host = f"app.localhost:{gate.url.rpartition(':')[2]}"
            headers["Host"] = host
            root = f"http://{host}"
        elif request.param == "client":
            headers["X-Device-ID"] = "0123456789abcdef0123"
            root = "https://127.0.0.1:61000"
        async with ClientSession() as session:
            is_prefix = request.param == "prefix"
            yield Client(session, gate, headers, root, origin, conditions, is_prefix)


async def hrefs(response: ClientResponse, within: str = "response") -> list[str]:
    document = ElementTree.fromstring(await response.text())
    return [href.text or "" for href in document.iterfind(f".//{DAV}{within}/{DAV}href")]


async def test_every_address_of_a_listing_can_be_used(client: Client) -> None:
    assert (await client.ask("MKCOL", "/dav/box/")).status == 201
    for name in ("a.txt", "b%20%C3%A9.txt"):
        assert (await client.ask("PUT", f"/dav/box/{name}", "text")).status == 201
    listed = await client.ask("PROPFIND", "/dav/box/", Depth="1")
    assert listed.status == 207
    found = await hrefs(listed)
    assert len(found) == 3
    for href in found:
        assert (await client.ask("PROPFIND", client.path_of(href), Depth="0")).status == 207
    assert sorted(map(client.path_of, found)) == [
        "/dav/box/",
        "/dav/box/a.txt",
        "/dav/box/b%20%C3%A9.txt",
    ]


async def test_a_lock_and_its_conditions_hold(client: Client) -> None:
    await client.ask("PUT", "/dav/a.txt", "first")
    locked = await client.ask("LOCK", "/dav/a.txt", LOCK, Timeout="Second-60", Depth="0")
    assert locked.status == 200
    (root,) = await hrefs(locked, "lockroot")
    assert client.path_of(root) == "/dav/a.txt"
    (lock,) = await hrefs(locked, "locktoken")
    assert locked.headers["Lock-Token"] == f"<{lock}>"
    assert (await client.ask("PUT", "/dav/a.txt", "second")).status == 423
    address = client.address("/dav/a.txt")
    wrong = f'(<{lock}> ["another"])'
    assert (await client.ask("PUT", "/dav/a.txt", "x", If=wrong)).status == 412
    tagged = f"<{address}> (<{lock}>)"
    assert (await client.ask("PUT", "/dav/a.txt", "third", If=tagged)).status in (200, 204)
    # This server does not compare the address of a condition, so the test does.
    assert client.conditions[-1] == f"<{client.origin}/dav/a.txt> (<{lock}>)"
    assert (await client.ask("PUT", "/dav/a.txt", "third", If=f"(<{lock}>)")).status in (200, 204)
    assert (await client.ask("UNLOCK", "/dav/a.txt", Lock_Token=f"<{lock}>")).status == 204
    assert (await client.ask("PUT", "/dav/a.txt", "fourth")).status in (200, 204)


async def test_resources_are_copied_and_moved_to_mounted_addresses(client: Client) -> None:
    await client.ask("PUT", "/dav/a.txt", "text")
    await client.ask("MKCOL", "/dav/box/")
    copied = await client.ask(
        "COPY", "/dav/a.txt", Destination=client.address("/dav/box/b%20c.txt"), Overwrite="F"
    )
    assert copied.status == 201
    again = await client.ask(
        "COPY", "/dav/a.txt", Destination=client.address("/dav/box/b%20c.txt"), Overwrite="F"
    )
    assert again.status == 412
    moved = await client.ask("MOVE", "/dav/box/b%20c.txt", Destination=client.address("/dav/d.txt"))
    assert moved.status in (201, 204)
    assert await (await client.ask("GET", "/dav/d.txt")).text() == "text"
    assert (await client.ask("GET", "/dav/box/b%20c.txt")).status == 404
    elsewhere = "http://elsewhere.example/dav/e.txt"
    assert (await client.ask("COPY", "/dav/a.txt", Destination=elsewhere)).status == 502


async def test_properties_are_kept(client: Client) -> None:
    await client.ask("PUT", "/dav/a.txt", "text")
    patched = await client.ask("PROPPATCH", "/dav/a.txt", PROPERTY)
    assert [client.path_of(href) for href in await hrefs(patched)] == ["/dav/a.txt"]
    listed = await client.ask("PROPFIND", "/dav/a.txt", Depth="0")
    assert "blue" in await listed.text()


async def test_what_is_deleted_is_gone(client: Client) -> None:
    await client.ask("MKCOL", "/dav/box/")
    await client.ask("PUT", "/dav/box/a.txt", "text")
    assert (await client.ask("DELETE", "/dav/box/")).status == 204
    assert (await client.ask("PROPFIND", "/dav/box/", Depth="0")).status == 404
    assert (await client.ask("MKCOL", "/dav/none/box/")).status == 409
