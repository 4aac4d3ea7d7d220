"""Signing a browser in at its separate origin: every redirect, over sockets."""

import json
from urllib.parse import quote, urljoin, urlsplit

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import WEBSOCKET_UPGRADE
from tests.kit.visiting_browser import (
    NAVIGATION,
    VisitingBrowser,
    own_origin_of,
    signed_in,
    ticket_url,
)
from zenzefi.proxy.tickets import ENTER_PATH, address, local_path

PATHS = [
    "/",
    "/a/b?c=d&e=f",
    "/x?url=https%3A%2F%2Fa.example%2F%3Fq%3D1&b=1+2",
    "/%D0%BF%D1%83%D1%82%D1%8C?%zz&&=&token=theirs",
    "/search?folder=C:\\temp&b=\\\\share",
    "//evil.example/x?y",
    "///evil.example",
    "/a;b=c/d,e'(f)!$*~@:?g=%26%23%25",
    "/" + "long/" * 300 + "?q=" + "z" * 1000,
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_navigation_under_the_prefix_ends_at_the_separate_origin(
    own_origin_gate: RunningGate, path: str
) -> None:
    browser = signed_in(own_origin_gate)
    hops, response = await browser.follow(own_origin_gate.proxy_url + path)
    assert hops[-1] == own_origin_of(own_origin_gate) + path
    assert len(hops) == 5
    assert response.status == 200
    assert response.json()["target"] == path
    host = urlsplit(own_origin_of(own_origin_gate)).hostname or ""
    assert browser.cookies[host]["zenzefi_access_token"] == TOKEN
    assert not [name for name in browser.cookies[host] if "enter" in name]


async def test_only_the_final_page_is_forwarded_and_starts_the_clock(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url)
    gate.tokens.add()  # not activated
    browser = signed_in(gate)
    response = await browser.request(gate.proxy_url + "/page")
    for _ in range(3):
        assert response.status == 303
        assert dict(response.headers)["cache-control"] == "no-store"
        assert dict(response.headers)["referrer-policy"] == "no-referrer"
        assert TOKEN not in response.location
        response = await browser.request(response.location)
    assert (response.status, response.location) == (303, "/page")
    assert (faulty.connections, gate.tokens.activations) == (0, [])


async def test_flows_in_several_tabs_do_not_disturb_each_other(
    own_origin_gate: RunningGate,
) -> None:
    browser = signed_in(own_origin_gate)
    tickets = [await ticket_url(browser) for _ in range(4)]
    for url in reversed(tickets):
        assert (await browser.request(url)).location == "/"


async def test_begun_sign_ins_leave_a_bounded_number_of_cookies(
    own_origin_gate: RunningGate,
) -> None:
    browser = signed_in(own_origin_gate)
    for _ in range(40):
        await browser.request(f"{own_origin_of(own_origin_gate)}{ENTER_PATH}")
    host = urlsplit(own_origin_of(own_origin_gate)).hostname or ""
    assert len([name for name in browser.cookies[host] if "enter" in name]) == 16
    assert (await browser.request(await ticket_url(browser))).location == "/"


FOREIGN = [
    "https://evil.example",
    "//evil.example",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "{gate}.evil.example",
    "{gate}@evil.example",
    "{gate}/",
    "javascript:alert(1)",
    "{own}",
    "\r\nX: y",
    "",
]


@pytest.mark.parametrize("back", FOREIGN)
async def test_the_way_back_is_never_another_origin(
    own_origin_gate: RunningGate, back: str
) -> None:
    named = back.format(gate=own_origin_gate.url, own=own_origin_of(own_origin_gate))
    url = f"{own_origin_of(own_origin_gate)}{ENTER_PATH}?from={quote(named, safe='')}&path=/x"
    location = (await VisitingBrowser(own_origin_gate).request(url)).location
    assert location.startswith(f"{own_origin_gate.url}{ENTER_PATH}?browser=")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
async def test_a_browser_comes_back_to_the_name_of_this_machine_that_it_used(
    gate: RunningGate, name: str
) -> None:
    seen = f"http://{name}:{gate.port}"
    browser = VisitingBrowser(gate).sign_in(name)
    hops, response = await browser.follow(f"{seen}{PREFIX}/x")
    assert [hop.startswith(seen) for hop in hops] == [True, False, True, False, False]
    assert response.status == 200


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example",
        "/\\evil",
        "/a\r\nSet-Cookie: a=b",
        "\\\\evil",
        "/a\\evil?x",
        "/\t/evil.example",
        ENTER_PATH,
        ENTER_PATH + "?path=/x",
        "/" + "a" * 5000,
    ],
)
async def test_a_sign_in_never_ends_at_another_host_or_at_itself(
    own_origin_gate: RunningGate, path: str
) -> None:
    browser = signed_in(own_origin_gate)
    hops, response = await browser.follow(
        f"{own_origin_of(own_origin_gate)}{ENTER_PATH}?path={quote(path, safe='')}"
    )
    assert hops[-1] == own_origin_of(own_origin_gate) + "/"
    assert response.status == 200


@given(st.text(max_size=30))
def test_a_local_path_never_names_a_host(text: str) -> None:
    for path in (text, "/" + text):
        kept = local_path(path)
        assert kept in ("/", path)
        assert kept.startswith("/")
        assert "\\" not in kept.partition("?")[0]
        location = address("http://app.test:1", kept)
        assert urlsplit(urljoin("http://app.test:1/", location)).netloc == "app.test:1"
        assert kept.isascii()
        assert kept.isprintable()


async def test_a_browser_that_refuses_cookies_gets_a_page_and_no_loop(
    own_origin_gate: RunningGate,
) -> None:
    browser = signed_in(own_origin_gate, keeps_cookies=False)
    host = urlsplit(own_origin_of(own_origin_gate)).hostname or ""
    hops, response = await browser.follow(own_origin_gate.proxy_url + "/x")
    if host == "127.0.0.1":  # the shared cookie signs in at the second port by itself
        browser.cookies.clear()
    assert len(hops) == 4
    assert response.status == 401
    assert b"<!doctype html>" in response.body
    assert b"Allow cookies" in response.body


@pytest.mark.parametrize(
    "headers",
    [
        ("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"),
        ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
        ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"),
        ("Accept: */*",),
        ("Accept: application/json",),
    ],
)
async def test_a_request_other_than_a_navigation_gets_401_with_the_origin_to_use(
    own_origin_gate: RunningGate, headers: tuple[str, ...]
) -> None:
    response = await signed_in(own_origin_gate).request(own_origin_gate.proxy_url + "/x", *headers)
    assert response.status == 401
    assert response.json()["code"] == "own_origin_required"
    assert own_origin_of(own_origin_gate) in response.json()["detail"]
    assert response.cookies == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_change_under_the_prefix_is_never_redirected(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    gate = await start_gate(faulty.url)
    response = await signed_in(gate).request(gate.proxy_url + "/x", *NAVIGATION, method=method)
    assert response.status == 401
    assert b"<!doctype html>" in response.body
    assert faulty.connections == 0


async def test_streams_and_sockets_with_the_cookie_alone_are_refused(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url)
    browser = signed_in(gate)
    assert (await browser.request(gate.proxy_url + "/x", "Accept: text/event-stream")).status == 204
    assert (await browser.request(gate.proxy_url + "/x", *WEBSOCKET_UPGRADE)).status == 401
    assert faulty.connections == 0


@pytest.mark.parametrize(
    "header",
    ["X-Device-ID: 0123456789abcdef0123", "X-Forwarded-Prefix: /", "X-Forwarded-Host: a.example"],
)
async def test_no_header_of_a_browser_makes_the_cookie_good_under_the_prefix(
    gate: RunningGate, header: str
) -> None:
    response = await signed_in(gate).request(gate.proxy_url + "/x", "Accept: */*", header)
    assert response.status == 401


async def test_the_gates_own_calls_take_the_cookie_as_before(gate: RunningGate) -> None:
    browser = signed_in(gate)
    status = await browser.request(gate.url + PREFIX + "/status", "Accept: */*")
    assert (status.status, status.json()["connected"]) == (200, True)
    assert (await browser.request(gate.url + "/api/v1/auth/verify", "Accept: */*")).status == 204


async def test_a_gate_behind_a_replaced_host_header_does_not_redirect_forever(
    start_gate: GateFactory, upstream: str
) -> None:
    """A front that replaces the Host header: every request arrives at the gate's own name."""
    gate = await start_gate(upstream, proxy_host="app.test")
    browser = signed_in(gate)
    begun = await browser.request(gate.proxy_url + "/x")
    response = await browser.request(begun.location.replace("app.test", f"127.0.0.1:{gate.port}"))
    assert response.status == 403
    assert b"PROXY_HOST" in response.body


# --- where there is no own origin


async def test_a_public_gate_without_a_separate_origin_names_the_setting(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url, backend_url="http://gate.example")
    browser = VisitingBrowser(gate).sign_in("gate.example")
    page = await browser.request(f"http://gate.example{PREFIX}/x")
    assert page.status == 403
    assert b"PROXY_PORT" in page.body
    call = await browser.request(f"http://gate.example{PREFIX}/x", "Accept: application/json")
    assert (call.status, call.json()["code"]) == (401, "own_origin_required")
    assert (await browser.request(f"http://gate.example{ENTER_PATH}")).status == 404
    assert faulty.connections == 0


async def test_a_browser_of_another_machine_is_not_sent_to_its_own_loopback(
    gate: RunningGate,
) -> None:
    browser = VisitingBrowser(gate).sign_in("192.0.2.7")
    response = await browser.request(f"http://192.0.2.7:{gate.port}{PREFIX}/x")
    assert (response.status, response.location) == (403, "")


async def test_with_the_prefix_mount_the_cookie_is_good_under_the_prefix(
    prefix_gate: RunningGate,
) -> None:
    browser = signed_in(prefix_gate)
    assert (await browser.request(prefix_gate.proxy_url + "/x")).json()["target"] == "/x"
    assert (await browser.request(prefix_gate.url + ENTER_PATH)).status == 404
    assert prefix_gate.gate.mounts.own_origin is None


async def test_the_prefix_mount_and_a_separate_origin_work_together(
    start_gate: GateFactory, upstream: str
) -> None:
    gate = await start_gate(upstream, browser_mount="prefix", proxy_host="app.test")
    browser = signed_in(gate)
    assert (await browser.request(gate.proxy_url + "/x")).json()["target"] == "/x"
    hops, response = await browser.follow(f"http://app.test{ENTER_PATH}?path=/y")
    assert (hops[-1], response.json()["target"]) == ("http://app.test/y", "/y")


async def test_a_header_client_uses_the_prefix_whatever_the_browsers_do(
    own_origin_gate: RunningGate, client: ClientSession
) -> None:
    async with client.get(own_origin_gate.proxy_url + "/x", headers={"Accept": "text/html"}) as r:
        assert json.loads(await r.read())["target"] == "/x"
