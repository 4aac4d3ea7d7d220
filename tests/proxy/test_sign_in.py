"""Signing a browser in at its separate origin: every redirect, over sockets, on both paths."""

import json
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from tests.kit.raw_connections import WEBSOCKET_UPGRADE
from tests.kit.visiting_browser import (
    NAVIGATION,
    OTHER_TOKEN,
    VisitingBrowser,
    own_origin_of,
    ticket_url,
)
from zenzefi.origin import MountKind, Origin
from zenzefi.proxy.mount import Mounts, parse_forwarded
from zenzefi.proxy.tickets import ENTER_PATH, address, local_path
from zenzefi.settings.own_origin import BrowserMount, is_loopback, own_origin

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


def signed_in(gate: RunningGate, token: str = TOKEN, **options: Any) -> Any:
    """A browser that holds the proxy cookie at the gate's host."""
    return VisitingBrowser(gate, **options).sign_in(token=token)


@pytest.fixture(params=["another-name", "another-host", "second-port"])
async def own_origin_gate(
    request: pytest.FixtureRequest, start_gate: GateFactory, upstream: str
) -> Any:
    """A gate with a separate origin of each kind; cookies are shared on the second port."""
    kinds: dict[str, dict[str, Any]] = {
        "another-name": {},
        "another-host": {"proxy_host": "app.test"},
        "second-port": {"proxy_port": unused_port()},
    }
    gate = await start_gate(upstream, **kinds[request.param])
    gate.tokens.add(OTHER_TOKEN)
    return gate


@pytest.mark.parametrize("path", PATHS)
async def test_a_navigation_under_the_prefix_ends_at_the_own_origin(
    own_origin_gate: RunningGate, path: str
) -> None:
    browser = signed_in(own_origin_gate)
    hops, response = await browser.follow(own_origin_gate.proxy_url + path)
    assert hops[-1] == own_origin_of(own_origin_gate) + path
    assert len(hops) == 5
    assert response.status == 200
    assert response.json()["target"] == path
    host = urlsplit(own_origin_of(own_origin_gate)).hostname
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
    host = urlsplit(own_origin_of(own_origin_gate)).hostname
    assert len([name for name in browser.cookies[host] if "enter" in name]) == 16
    assert (await browser.request(await ticket_url(browser))).location == "/"


async def test_a_ticket_works_in_the_browser_that_asked_and_once(
    own_origin_gate: RunningGate,
) -> None:
    """A second use fails even with the nonce of the first, which a thief may have copied."""
    browser = signed_in(own_origin_gate)
    url = await ticket_url(browser)
    before = {host: dict(jar) for host, jar in browser.cookies.items()}
    assert (await browser.request(url)).status == 303
    browser.cookies = before
    again = await browser.request(url)
    assert (again.status, again.cookies) == (401, [])


@pytest.mark.parametrize("state", ["fresh", "flow in progress", "signed in"])
async def test_a_foreign_ticket_signs_nobody_in(own_origin_gate: RunningGate, state: str) -> None:
    """Login CSRF: an attacker sends a state to the ticket of the attacker's own account."""
    attacker, victim = signed_in(own_origin_gate, OTHER_TOKEN), signed_in(own_origin_gate)
    if state == "fresh":
        victim.cookies.clear()
    if state == "flow in progress":
        await ticket_url(victim)
    if state == "signed in":
        await victim.follow(own_origin_gate.proxy_url + "/")
    before = {host: dict(jar) for host, jar in victim.cookies.items()}
    url = await ticket_url(attacker)
    response = await victim.request(url)
    assert response.status == 401
    assert response.cookies == []
    assert {host: jar for host, jar in victim.cookies.items() if jar} == before
    # A ticket that reached another browser is spent: reading its address there is useless.
    assert (await attacker.request(url)).status == 401


async def test_a_stolen_ticket_opens_nothing_elsewhere(own_origin_gate: RunningGate) -> None:
    victim, thief = signed_in(own_origin_gate), VisitingBrowser(own_origin_gate)
    await thief.request(f"{own_origin_of(own_origin_gate)}{ENTER_PATH}")
    url = await ticket_url(victim)
    assert (await thief.request(url)).status == 401


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
async def test_no_other_method_than_get_spends_a_ticket(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str
) -> None:
    gate = await start_gate(faulty.url)
    browser = signed_in(gate)
    url = await ticket_url(browser)
    for target in (
        url,
        f"{own_origin_of(gate)}{ENTER_PATH}",
        f"{gate.url}{ENTER_PATH}?browser={'a' * 64}",
    ):
        refused = await browser.request(target, *NAVIGATION, method=method)
        assert refused.status == 405
        assert dict(refused.headers)["allow"] == "GET"
        assert refused.cookies == []
    assert faulty.connections == 0
    assert (await browser.request(url)).status == 303


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
    own_origin_gate: RunningGate, path: Any
) -> None:
    browser = signed_in(own_origin_gate)
    hops, response = await browser.follow(
        f"{own_origin_of(own_origin_gate)}{ENTER_PATH}?path={quote(path, safe='')}"
    )
    assert hops[-1] == own_origin_of(own_origin_gate) + "/"
    assert response.status == 200


@given(st.text(max_size=30))
def test_a_local_path_never_names_a_host(text: Any) -> None:
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
    host = urlsplit(own_origin_of(own_origin_gate)).hostname
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
async def test_what_is_no_navigation_learns_where_to_go(
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


@pytest.mark.parametrize("destination", ["iframe", "frame", "embed", "object", "empty", "image"])
async def test_a_ticket_is_issued_to_a_window_only(
    own_origin_gate: RunningGate, destination: str
) -> None:
    response = await signed_in(own_origin_gate).request(
        f"{own_origin_gate.url}{ENTER_PATH}?browser={'a' * 64}", f"Sec-Fetch-Dest: {destination}"
    )
    assert (response.status, response.location) == (403, "")


@pytest.mark.parametrize("browser", ["", "a" * 63, "a" * 65, "g" * 64, "A" * 64, "a" * 64 + "%0a"])
async def test_a_ticket_is_issued_for_a_nonce_only(
    own_origin_gate: RunningGate, browser: str
) -> None:
    response = await signed_in(own_origin_gate).request(
        f"{own_origin_gate.url}{ENTER_PATH}?browser={browser}"
    )
    assert (response.status, response.location) == (401, "")


async def test_without_the_proxy_cookie_no_ticket_is_issued(gate: RunningGate) -> None:
    hops, response = await VisitingBrowser(gate).follow(
        f"{own_origin_of(gate)}{ENTER_PATH}?path=/x"
    )
    assert len(hops) == 2
    assert response.status == 401


async def test_a_gate_that_does_not_recognise_its_own_origin_does_not_loop(
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


async def test_a_public_gate_without_an_own_origin_says_what_to_set(
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


async def test_the_prefix_mount_and_an_own_origin_go_together(
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


# --- the nonce and the upstream


async def test_the_application_neither_sees_nor_sets_the_nonce(
    own_origin_gate: RunningGate,
) -> None:
    browser = signed_in(own_origin_gate)
    await ticket_url(browser)
    host = urlsplit(own_origin_of(own_origin_gate)).hostname
    await browser.follow(own_origin_gate.proxy_url + "/x")
    await ticket_url(browser)
    assert any("zenzefi_enter_" in name for name in browser.cookies[host])
    echoed = await browser.request(own_origin_of(own_origin_gate) + "/x", "Accept: */*")
    assert "zenzefi" not in json.dumps(echoed.json()["headers"])


# --- the rule and the derivation, pure

HOSTS = ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "gate.localhost", "app.localhost"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_on_loopback_the_own_origin_needs_no_set_up(scheme: str, host: str) -> None:
    public = Origin(scheme, host, 8000)
    found = own_origin(
        public, proxy_host=None, proxy_port=None, browser_mount=BrowserMount.OWN_ORIGIN
    )
    assert found is not None
    assert (found.scheme, found.port) == (scheme, 8000)
    assert is_loopback(found.host)
    assert found.host != host
    assert (
        own_origin(public, proxy_host=None, proxy_port=None, browser_mount=BrowserMount.PREFIX)
        is None
    )


@pytest.mark.parametrize(
    "host", ["gate.example", "localhost.example", "127.0.0.1.example", "192.168.0.1", "[::2]"]
)
def test_elsewhere_it_must_be_set(host: str) -> None:
    public = Origin("https", host, 443)

    def found(proxy_host: Any = None, proxy_port: Any = None) -> Any:
        return own_origin(
            public,
            proxy_host=proxy_host,
            proxy_port=proxy_port,
            browser_mount=BrowserMount.OWN_ORIGIN,
        )

    assert not is_loopback(host)
    assert found() is None
    assert found(proxy_port=8443) == Origin("https", host, 8443)
    assert found(proxy_port=443) is None
    assert found(proxy_host="app.example") == Origin("https", "app.example", 443)
    assert found(proxy_host="[::1]:81") == Origin("https", "[::1]", 81)


@pytest.mark.parametrize("at_prefix", [False, True])
@pytest.mark.parametrize(
    ("forwarded", "is_allowed"),
    [
        ({}, False),
        ({"X-Forwarded-Host": "front.example"}, False),
        ({"X-Forwarded-Prefix": PREFIX, "X-Forwarded-Host": "front.example"}, False),
        ({"X-Forwarded-Prefix": "/app"}, False),
        ({"X-Forwarded-Prefix": "/app", "X-Forwarded-Host": "gate.example"}, False),
        ({"X-Forwarded-Prefix": "/app", "X-Forwarded-Host": "front.example"}, True),
        ({"X-Forwarded-Prefix": "/", "X-Forwarded-Host": "front.example"}, True),
        ({"X-Forwarded-Prefix": "/", "X-Forwarded-Host": "app.example"}, True),
        ({"X-Forwarded-Host": "app.example"}, True),
    ],
)
def test_the_cookie_is_good_wherever_the_gates_own_pages_are_not(
    forwarded: Any, is_allowed: bool, at_prefix: bool
) -> None:
    mounts = Mounts(
        Origin("https", "gate.example", 443), "app.example", browsers_at_prefix=at_prefix
    )
    parsed = parse_forwarded(CIMultiDict(forwarded))
    mount = mounts.decide("gate.example", forwarded=parsed, is_device=False)
    assert mounts.may_use_cookie(mount) == (is_allowed or at_prefix)


def test_a_device_is_not_authenticated_by_a_cookie() -> None:
    mounts = Mounts(Origin("https", "gate.example", 443), "app.example")
    mount = mounts.decide("gate.example", forwarded=None, is_device=True)
    assert mount.kind is MountKind.CLIENT
    assert not mounts.may_use_cookie(mount)
