import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar
from multidict import CIMultiDict

from tests.kit.proxy_gates import (
    PREFIX,
    TOKEN,
    BrowserMount,
    GateFactory,
    RunningGate,
    body_of,
    sent_headers,
)
from tests.kit.raw_connections import WEBSOCKET_UPGRADE
from zenzefi.http.errors import AmbiguousRequest
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.mount import CLIENT, Mounts, parse_forwarded
from zenzefi.proxy.unmounted_requests import (
    UnmountedRequests,
    origin_page,
    reloads_front_page,
)

PUBLIC = Origin("https", "gate.example", 443)
COOKIE = {"Cookie": f"zenzefi_access_token={TOKEN}"}


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


def decide(
    headers: Any = None,
    *,
    host: str = "gate.example",
    believed: bool = True,
    device: bool = False,
    proxy_host: str | None = None,
) -> Any:
    mounts = Mounts(PUBLIC, proxy_host)
    forwarded = parse_forwarded(CIMultiDict(headers or {})) if believed else None
    return mounts.decide(host, forwarded=forwarded, is_device=device)


def test_the_prefix_is_the_mount_when_nothing_else_says_so() -> None:
    assert decide() == Mount(MountKind.PREFIX, PUBLIC, PREFIX)
    assert decide(host="evil.example") == Mount(MountKind.PREFIX, PUBLIC, PREFIX)


def test_a_device_without_a_forwarded_prefix_is_the_desktop_client() -> None:
    assert decide(device=True) == CLIENT
    assert decide({"X-Forwarded-Proto": "https"}, device=True) == CLIENT
    mount = decide({"X-Forwarded-Prefix": "/app"}, device=True)
    assert (mount.kind, mount.prefix) == (MountKind.PREFIX, "/app")


def test_the_proxy_host_is_a_separate_root() -> None:
    mount = decide(host="app.example:8443", proxy_host="app.example:8443", device=True)
    assert mount == Mount(MountKind.ORIGIN, Origin("https", "app.example", 8443))


@pytest.mark.parametrize(
    ("proxy_host", "host", "is_own"),
    [
        ("app.example", "app.example", True),
        ("app.example", "APP.example:443", True),
        ("app.example", "app.example.", True),
        ("app.example:443", "app.example", True),
        ("app.example:8443", "app.example.:8443", True),
        ("app.example", "app.example:80", False),
        ("app.example", "app.example:444", False),
        ("app.example", "app.example:", False),
        ("app.example", "app.example..", False),
        ("app.example", "evil-app.example", False),
        ("app.example", "", False),
        ("app.example", None, False),
    ],
)
def test_every_spelling_of_the_proxy_host_is_it(
    proxy_host: str, host: str | None, is_own: bool
) -> None:
    assert Mounts(PUBLIC, proxy_host).is_own_origin(host) == is_own


def test_trusted_forwarded_headers_name_the_browsers_origin() -> None:
    headers = {
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "front.example:81",
        "X-Forwarded-Prefix": "/up/",
    }
    assert decide(headers) == Mount(MountKind.PREFIX, Origin("http", "front.example", 81), "/up")
    assert decide(headers, believed=False) == Mount(MountKind.PREFIX, PUBLIC, PREFIX)
    root = decide({"X-Forwarded-Prefix": "/", "X-Forwarded-Host": "front.example"})
    assert root.is_root


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Proto": "https, http"},
        {"X-Forwarded-Host": "a, b"},
        {"X-Forwarded-Host": "evil.example/path"},
        {"X-Forwarded-Host": 'a"><script>'},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "/a/../b"},
        {"X-Forwarded-Prefix": '/"><script>'},
        {"X-Forwarded-Prefix": "a"},
        {"X-Forwarded-Prefix": "/" + "a" * 100},
        [("X-Forwarded-Prefix", "/a"), ("x-forwarded-prefix", "/a")],
        [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Host", "front.example")],
    ],
)
def test_forwarded_headers_that_are_not_plain_are_refused(
    headers: dict[str, str] | list[tuple[str, str]],
) -> None:
    with pytest.raises(AmbiguousRequest):
        parse_forwarded(CIMultiDict(headers))


def test_the_names_of_this_machine_stay_apart() -> None:
    mounts = Mounts(Origin("http", "127.0.0.1", 8000), None)
    assert str(mounts.decide("localhost:8000", forwarded=None, is_device=False).public) == (
        "http://localhost:8000"
    )
    assert str(mounts.decide("evil.example:8000", forwarded=None, is_device=False).public) == (
        "http://127.0.0.1:8000"
    )


async def test_forwarded_headers_of_untrusted_peers_are_ignored(
    browser_mount: BrowserMount, browser: ClientSession
) -> None:
    forged = {"X-Forwarded-Prefix": "/evil", "X-Forwarded-Host": "evil.example"}
    async with browser.get(
        browser_mount.url + "/cookies", headers={**browser_mount.headers, **forged}
    ) as response:
        assert f"one=1; Path={browser_mount.prefix}/; HttpOnly" in response.headers.getall(
            "Set-Cookie"
        )


async def test_forwarded_headers_next_to_a_token_header_are_trusted(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.get(
        gate.proxy_url + "/redirect?to=/there",
        headers={"X-Forwarded-Prefix": "/app", "X-Forwarded-Host": "front.example"},
        allow_redirects=False,
    ) as response:
        location = response.headers["Location"]
    assert location in ("/app/there", "http://front.example/app/there")


async def test_forwarded_headers_of_a_trusted_proxy_are_accepted(
    start_gate: GateFactory, upstream: str, browser: ClientSession
) -> None:
    gate = await start_gate(
        upstream,
        trusted_proxies="127.0.0.0/8",
        browser_mount="prefix",
        upstream_view="public",
    )
    async with browser.get(
        gate.proxy_url + "/x",
        headers={
            **COOKIE,
            "X-Forwarded-For": "6.6.6.6, 203.0.113.9",
            "X-Forwarded-Host": "front.example",
            "X-Forwarded-Proto": "https",
        },
    ) as response:
        headers = dict(sent_headers(json.loads(await response.read())))
    assert headers["x-forwarded-for"] == "203.0.113.9"
    assert headers["x-forwarded-host"] == "front.example"
    assert headers["forwarded"] == "for=203.0.113.9;host=front.example;proto=https"


async def test_the_separate_origin_serves_the_upstream_at_its_root(
    start_gate: GateFactory, upstream: str
) -> None:
    gate = await start_gate(upstream, proxy_host="app.gate.test")
    host = "Host: app.gate.test"

    async def request(target: str, *headers: str) -> bytes:
        lines = [f"GET {target} HTTP/1.1", host, f"X-Access-Token: {TOKEN}", *headers]
        return await gate.raw("\r\n".join([*lines, "Connection: close"]).encode() + b"\r\n\r\n")

    assert json.loads(body_of(await request("/gate-page?x")))["target"] == "/gate-page?x"
    assert json.loads(body_of(await request("/api/v1/proxy/y")))["target"] == "/y"
    assert b"one=1; Path=/; HttpOnly" in await request("/cookies")
    assert b"\r\nLocation: /there\r\n" in await request("/redirect?to=/there")
    assert b"a page of the gate" in await gate.request("/gate-page")


async def test_an_unmounted_request_with_a_mounted_referer_is_redirected_and_recorded(
    prefix_gate: RunningGate, browser: ClientSession
) -> None:
    gate = prefix_gate
    for _ in range(2):
        async with browser.get(
            gate.url + "/made/up?x=%zz",
            headers={"Referer": gate.proxy_url + "/page?secret=1"},
            allow_redirects=False,
        ) as response:
            assert response.status == 307
            assert response.headers["Location"].startswith(PREFIX + "/made/up?x=%")
    assert [(row.page, row.path, row.count) for row in gate.gate.unmounted_requests.rows()] == [
        (PREFIX + "/page", "/made/up", 2)
    ]


@pytest.mark.parametrize(
    ("page", "path", "compares"),
    [
        (PREFIX + "/lights", "/lights", True),
        (PREFIX + "/", "/", True),
        (PREFIX + "/lights", "/api", False),
        ("", "/lights", False),
    ],
)
def test_a_page_that_requests_its_own_address_compares_addresses(
    page: str, path: str, compares: bool
) -> None:
    requests = UnmountedRequests()
    requests.count(PREFIX + "/other", "/lights")
    requests.count(page, path)
    assert requests.has_pages_that_compare_addresses() == compares


@pytest.mark.parametrize(
    ("headers", "method", "raw", "reloads"),
    [
        ({"Sec-Fetch-Dest": "document", "Cache-Control": "max-age=0"}, "GET", "/", True),
        ({"Sec-Fetch-Dest": "document", "Cache-Control": "no-cache"}, "GET", "/", True),
        ({"Sec-Fetch-Dest": "document"}, "GET", "/", False),
        ({"Sec-Fetch-Dest": "empty", "Cache-Control": "no-cache"}, "GET", "/", False),
        ({"Sec-Fetch-Dest": "document", "Cache-Control": "max-age=0"}, "POST", "/", False),
        ({"Sec-Fetch-Dest": "document", "Cache-Control": "max-age=0"}, "GET", "/health", False),
    ],
)
def test_only_a_reload_of_the_front_page_may_mean_the_applications(
    headers: dict[str, str], method: str, raw: str, reloads: bool
) -> None:
    assert reloads_front_page(headers, method, raw) == reloads


async def test_an_unmounted_request_keeps_its_method_and_content(
    prefix_gate: RunningGate, browser: ClientSession
) -> None:
    async with browser.post(
        prefix_gate.url + "/made/up", headers=COOKIE, data=b"kept", allow_redirects=True
    ) as response:
        echoed = json.loads(await response.read())
    assert (echoed["method"], echoed["body"], echoed["target"]) == ("POST", "kept", "/made/up")


async def test_an_unmounted_request_of_a_header_client_is_redirected(
    gate: RunningGate, client: ClientSession
) -> None:
    headers = {"Referer": gate.proxy_url + "/page"}
    async with client.get(gate.url + "/made/up", headers=headers) as response:
        assert json.loads(await response.read())["target"] == "/made/up"


@pytest.mark.parametrize(
    "evidence", [COOKIE, {"Referer": "{proxy}/page"}, {**COOKIE, "Referer": "{proxy}/page"}]
)
async def test_browsers_send_no_unmounted_requests_at_a_separate_origin(
    gate: RunningGate, browser: ClientSession, evidence: Any
) -> None:
    headers = {name: text.format(proxy=gate.proxy_url) for name, text in evidence.items()}
    async with browser.get(
        gate.url + "/made/up", headers=headers, allow_redirects=False
    ) as response:
        assert response.status == 404
    assert gate.gate.unmounted_requests.rows() == []


async def test_an_unmounted_websocket_is_served_without_a_redirect(
    prefix_gate: RunningGate,
) -> None:
    response = await prefix_gate.raw(
        (
            "GET /socket HTTP/1.1\r\nHost: h\r\n" + "\r\n".join(WEBSOCKET_UPGRADE) + "\r\n"
            f"Cookie: zenzefi_access_token={TOKEN}\r\n\r\n"
        ).encode(),
        timeout=0.7,
    )
    assert response.startswith(b"HTTP/1.1 101")


async def test_an_unmounted_request_without_evidence_stays_404(
    browser_mount: BrowserMount, browser: ClientSession
) -> None:
    gate = browser_mount.gate
    async with browser.get(gate.url + "/made/up", allow_redirects=False) as response:
        assert response.status == 404
    async with browser.get(
        gate.url + "/made/up",
        headers={**COOKIE, "Sec-Fetch-Site": "cross-site"},
        allow_redirects=False,
    ) as response:
        assert response.status == 404
    async with browser.get(gate.url + "/gate-page", headers=COOKIE) as response:
        assert await response.text() == "a page of the gate"


async def test_the_way_back_from_a_sign_in_provider_is_recovered(
    prefix_gate: RunningGate, browser: ClientSession
) -> None:
    """``redirect_uri = location.origin + "/callback"``: a link of another site."""
    link = {
        **COOKIE,
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Referer": "https://provider.example/",
    }
    url = prefix_gate.url + "/callback?code=1"
    async with browser.get(url, headers=link, allow_redirects=False) as response:
        assert response.status == 307
        assert response.headers["Location"] == PREFIX + "/callback?code=1"
    changes = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "iframe"}
    others = [{**link, name: value} for name, value in changes.items()]
    others.append({name: value for name, value in link.items() if name != "Cookie"})
    for headers in others:
        async with browser.get(url, headers=headers, allow_redirects=False) as response:
            assert response.status == 404
    async with browser.post(url, headers=link, allow_redirects=False) as response:
        assert response.status == 404


def test_evidence_of_an_unmounted_request() -> None:
    host = "gate.example"
    mounted = {"Referer": f"https://gate.example{PREFIX}/a?b"}
    elsewhere = {"Referer": f"https://evil.example{PREFIX}/a"}
    assert origin_page(mounted, host, has_cookie=False) == PREFIX + "/a"
    assert origin_page(elsewhere, host, has_cookie=False) is None
    assert origin_page({"Referer": "http://["}, host, has_cookie=False) is None
    assert origin_page({"Referer": f"http://[x]:9{PREFIX}/a"}, host, has_cookie=False) is None
    assert origin_page({}, host, has_cookie=True) == ""
    assert origin_page({}, host, has_cookie=False) is None


def test_the_table_of_unmounted_requests_is_bounded_and_drops_the_oldest() -> None:
    table = UnmountedRequests(max_rows=3)
    for i in range(10):
        table.count("page", f"/{i}")
        table.count("page", "/always")
    assert len(table.rows()) == 3
    assert (table.rows()[0].path, table.rows()[0].count) == ("/always", 10)
    assert table.total == 20


async def test_the_mounts_root_without_its_slash_gets_it(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.get(gate.url + PREFIX + "?a=1", allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Location"] == PREFIX + "/?a=1"


async def test_concurrent_requests_in_all_mounts_get_their_own_responses(
    gate: RunningGate, client: ClientSession
) -> None:
    async def request(i: int) -> str:
        headers = {"X-Device-ID": "d" * 20} if i % 2 else {}
        async with client.get(f"{gate.proxy_url}/n{i}", headers=headers) as response:
            return str(json.loads(await response.read())["target"])

    targets = await asyncio.gather(*(request(i) for i in range(40)))
    assert targets == [f"/n{i}" for i in range(40)]
