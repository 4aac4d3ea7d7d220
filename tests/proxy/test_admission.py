"""Admission: the order of the checks, and the gate's own paths under the proxy prefix."""

import ipaddress
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import PREFIX, TOKEN, BrowserMount, GateFactory, RunningGate
from zenzefi.http.client_address import resolve_client_address
from zenzefi.http.target import Target, token_parameters, without_token
from zenzefi.settings import DevicePolicy
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.devices import device_of
from zenzefi.tokens.errors import DeviceConflict, DeviceRequired, InvalidDeviceId, ScopeRefused
from zenzefi.tokens.scopes import Scopes


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


async def refusal(session: ClientSession, url: str, **headers: Any) -> tuple[Any, ...]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.get(url, headers=names) as response:
        body = await response.read()
        return response.status, json.loads(body)["code"] if response.status >= 400 else None


class Taken:
    async def claim(self, access: TokenAccess, device_id: str) -> None:
        raise DeviceConflict


async def test_checks_come_in_their_order_and_a_refusal_activates_nothing(
    start_gate: GateFactory, faulty: FaultyUpstream, browser: ClientSession
) -> None:
    gate = await start_gate(faulty.url, devices=Taken(), device_policy="required")
    gate.tokens.add()
    gate.tokens.add("S" * 64, "certificates_only")
    url = gate.proxy_url + "/outside"
    bad, good = "short", "d" * 20
    assert await refusal(browser, url, X_Device_ID=bad) == (401, "token_missing")
    assert await refusal(browser, url, X_Access_Token="no", X_Device_ID=bad) == (
        401,
        "token_invalid",
    )
    assert await refusal(browser, url, X_Access_Token="S" * 64, X_Device_ID=bad) == (
        403,
        "scope_refused",
    )
    assert await refusal(browser, url, X_Access_Token=TOKEN, X_Device_ID=bad) == (
        400,
        "invalid_device_id",
    )
    assert await refusal(browser, url, X_Access_Token=TOKEN) == (403, "device_required")
    assert await refusal(browser, url, X_Access_Token=TOKEN, X_Device_ID=good) == (
        409,
        "device_conflict",
    )
    assert faulty.connections == 0
    assert gate.tokens.activations == []


SCOPE = {"reader": ["GET,PUT,COPY /files/**", "POST /files/search"]}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", [], 200),
        ("DELETE", [], 403),
        ("GET", ["X-HTTP-Method-Override: DELETE"], 403),
        ("GET", ["x_http_method_override: delete"], 403),
        ("PUT", ["X-Method-Override: PATCH"], 403),
        ("PUT", ["X-HTTP-Method: GET"], 200),
        ("COPY", ["Destination: {origin}/api/v1/proxy/files/b"], 200),
        ("COPY", ["Destination: /api/v1/proxy/files/b"], 200),
        ("COPY", ["Destination: {origin}/api/v1/proxy/private"], 403),
        ("COPY", ["Destination: /api/v1/proxy/private"], 403),
        ("COPY", ["Destination: http://elsewhere.test/files/b"], 403),
        ("COPY", ["Destination: //elsewhere.test/files/b"], 403),
        ("COPY", ["Destination: {origin}/api/v1/proxy/files/../private"], 400),
        # The mount decides which header reaches the upstream, not the form of the address.
        ("COPY", ["X-Forwarded-Prefix: /files", "Destination: {origin}/files/private"], 403),
    ],
)
async def test_a_scope_covers_what_a_request_stands_for_too(
    start_gate: GateFactory, faulty: FaultyUpstream, method: str, headers: list[str], status: int
) -> None:
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n")
    gate = await start_gate(faulty.url, scopes=SCOPE)
    gate.tokens.add("S" * 64, "reader", activated=True)
    lines = [line.format(origin=gate.url) for line in headers]
    response = await gate.request(PREFIX + "/files/a", *lines, method=method, token="S" * 64)
    assert response[9:12] == str(status).encode(), response
    assert len(faulty.heads) == (status == 200)


async def test_an_overriding_method_is_checked_for_each_path_of_a_known_request(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    faulty.always(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 0\r\n\r\n")
    gate = await start_gate(faulty.url, scopes={"reader": ["GET /files/**", "PUT /files/mine/**"]})
    gate.tokens.add("S" * 64, "reader", activated=True)
    override = "X-HTTP-Method-Override: PUT"
    for path, status in (("mine/a", b"200"), ("mine/b", b"200"), ("a", b"403"), ("mine/c", b"200")):
        response = await gate.request(f"{PREFIX}/files/{path}", override, token="S" * 64)
        assert response[9:12] == status, (path, response)
    assert len(faulty.heads) == 3


async def test_the_missing_token_is_named_as_clients_expect(
    gate: RunningGate, browser: ClientSession
) -> None:
    async with browser.get(gate.proxy_url + "/x") as response:
        error = await response.json()
    assert error["detail"] == "Authentication required: provide X-Access-Token header"


async def test_the_cookie_is_admitted_and_a_planted_one_has_no_effect(
    browser_mount: BrowserMount, browser: ClientSession
) -> None:
    for cookie in (
        f"zenzefi_access_token={TOKEN}",
        f"zenzefi_access_token=planted; zenzefi_access_token={TOKEN}",
        f"zenzefi_access_token={TOKEN}; zenzefi_access_token=planted",
    ):
        status, _ = await refusal(
            browser, browser_mount.url + "/x", **browser_mount.host, Cookie=cookie
        )
        assert status == 200
    planted = "zenzefi_access_token=planted"
    status, _ = await refusal(
        browser, browser_mount.url + "/x", **browser_mount.host, Cookie=planted
    )
    assert status == 401


async def test_status_reports_the_token_and_does_not_activate_it(
    gate: RunningGate, client: ClientSession, browser: ClientSession
) -> None:
    gate.tokens.add()
    async with client.get(gate.url + PREFIX + "/status") as response:
        ready = await response.json()
    assert ready["connected"] is True
    assert (ready["status"], ready["is_activated"], ready["expires_at"]) == ("ready", False, None)
    assert ready["time_remaining_seconds"] == 24 * 3600
    assert gate.tokens.activations == []
    access = gate.tokens.known[TOKEN]
    began = datetime.now(UTC) - timedelta(hours=1)
    gate.tokens.known[TOKEN] = replace(access, activated_at=began)
    async with client.get(gate.url + PREFIX + "/status") as response:
        active = await response.json()
    assert active["status"] == "active"
    assert active["user_id"] == str(access.user_id)
    assert active["token_id"] == str(access.token_id)
    assert active["scope"] == "full"
    assert active["duration_hours"] == 24
    assert 23 * 3600 - 5 <= active["time_remaining_seconds"] <= 23 * 3600
    assert datetime.fromisoformat(active["expires_at"]) == began + timedelta(hours=24)
    async with browser.get(gate.url + PREFIX + "/status") as response:
        assert response.status == 401


async def test_authenticate_sets_the_cookie_and_logout_forgets_it(
    gate: RunningGate, browser: ClientSession
) -> None:
    gate.tokens.add()
    async with browser.post(gate.url + PREFIX + "/authenticate", json={"token": TOKEN}) as response:
        body = await response.json()
        cookie = response.headers["Set-Cookie"]
    assert body["authenticated"] is True
    assert body["cookie_set"] is True
    assert body["cookie_max_age"] == 24 * 3600
    assert TOKEN not in json.dumps(body)
    assert cookie.startswith(f"zenzefi_access_token={TOKEN};")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert gate.tokens.activations == []
    async with browser.delete(gate.url + PREFIX + "/logout") as response:
        assert response.status == 200
        assert "Max-Age=0" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"token": "unknown"}', 401),
        (b"{}", 422),
        (b'{"token": 5}', 422),
        (b'{"token": "a", "more": 1}', 422),
        (b"[]", 422),
        (b"no json", 422),
        (b"\xff", 422),
        (b"", 422),
    ],
)
async def test_authenticate_rejects_a_malformed_token(
    gate: RunningGate, browser: ClientSession, body: bytes, status: int
) -> None:
    async with browser.post(
        gate.url + PREFIX + "/authenticate",
        data=body,
        headers={"Content-Type": "application/json"},
    ) as response:
        assert response.status == status
        assert "Set-Cookie" not in response.headers


async def test_other_methods_on_the_gates_own_paths_are_the_upstreams(
    gate: RunningGate, client: ClientSession
) -> None:
    async with client.put(gate.url + PREFIX + "/status") as response:
        assert json.loads(await response.read())["method"] == "PUT"


@pytest.mark.parametrize(
    ("values", "policy", "expected"),
    [
        ([], DevicePolicy.OPTIONAL, None),
        (["d" * 8], DevicePolicy.OPTIONAL, "d" * 8),
        (["d" * 255], DevicePolicy.REQUIRED, "d" * 255),
        ([], DevicePolicy.OFF, None),
        ([], DevicePolicy.REQUIRED, DeviceRequired),
        (["d" * 7], DevicePolicy.OPTIONAL, InvalidDeviceId),
        (["d" * 256], DevicePolicy.OPTIONAL, InvalidDeviceId),
        (["d d d d d"], DevicePolicy.OPTIONAL, InvalidDeviceId),
        (["ddddddd\xe9"], DevicePolicy.OPTIONAL, InvalidDeviceId),
    ],
)
def test_device_ids(values: Any, policy: Any, expected: Any) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            device_of(values, policy)
    else:
        assert device_of(values, policy) == expected


SCOPES = Scopes({"docs": ["/docs", "/docs/**", "/file-*.txt"]})


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/a/b%20c", "/file-1.txt", "/d%6Fcs/x"])
def test_a_scope_covers_what_its_patterns_say(path: str) -> None:
    SCOPES.check("docs", path, "GET")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/Docs",
        "/docsx",
        "/x/docs",
        "/file-a/b.txt",
        "/docs//x",
        "/docs%2fx",
        "/docs/%252e",
        "/docs;x",
        "/docs/%3b",
        "/docs/%00",
        "/docs/%0a",
        "/docs/%zz",
        "/docs/%ff",
    ],
)
def test_a_scope_refuses_what_it_does_not_cover_or_could_mean_two_things(path: str) -> None:
    with pytest.raises(ScopeRefused):
        SCOPES.check("docs", path, "GET")


def test_full_covers_everything_and_an_unknown_scope_nothing() -> None:
    SCOPES.check("full", "/docs//%zz", "DELETE")
    with pytest.raises(ScopeRefused):
        SCOPES.check("sold once", "/", "GET")


@pytest.mark.parametrize(
    "path", ["/certificates", "/certificates/1", "/configurations/certificatesColumnOrder"]
)
def test_the_example_scope_covers_certificates_and_two_keys(path: str) -> None:
    Scopes({}).check("certificates_only", path, "POST")


@pytest.mark.parametrize("path", ["/", "/admin", "/configurations/", "/configurations/other"])
def test_the_example_scope_covers_nothing_else(path: str) -> None:
    with pytest.raises(ScopeRefused):
        Scopes({}).check("certificates_only", path, "GET")


def test_methods_in_front_of_a_pattern_limit_it_to_these() -> None:
    scopes = Scopes({"reader": ["GET /files/**", "/inbox", "PUT,DELETE /files/own/*"]})
    for method, path in [
        ("GET", "/files/a"),
        ("HEAD", "/files/a"),
        ("PURGE", "/inbox"),
        ("DELETE", "/files/own/x"),
    ]:
        scopes.check("reader", path, method)
    for method, path in [("POST", "/files/a"), ("DELETE", "/files/a"), ("get", "/files/a")]:
        with pytest.raises(ScopeRefused):
            scopes.check("reader", path, method)


@pytest.mark.parametrize(
    "rule", ["", "files/**", "GET", "GET  /x", "get /x", "GET,/x", "GET, POST /x"]
)
def test_an_invalid_scope_rule_is_rejected_when_declared(rule: str) -> None:
    with pytest.raises(ValueError, match="is not a rule"):
        Scopes({"mistaken": [rule]})


TRUSTED = [ipaddress.ip_network("10.0.0.0/8")]


@pytest.mark.parametrize(
    ("remote", "lines", "address", "trusted"),
    [
        ("203.0.113.1", ["6.6.6.6"], "203.0.113.1", False),
        ("10.0.0.1", [], "10.0.0.1", True),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1", True),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.1, 10.0.0.2"], "203.0.113.1", True),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.1:4711"], "203.0.113.1", True),
        ("10.0.0.1", ["6.6.6.6, nonsense"], "10.0.0.1", True),
        ("10.0.0.1", ['"[2001:db8::1]:80"'], "2001:db8::1", True),
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1", True),
        (None, ["6.6.6.6"], "", False),
    ],
)
def test_the_client_address_is_the_last_one_not_of_a_trusted_proxy(
    remote: str | None, lines: Any, address: str, trusted: bool
) -> None:
    peer = resolve_client_address(remote, lines, TRUSTED)
    assert (peer.address, peer.is_behind_trusted_proxy) == (address, trusted)


@pytest.mark.parametrize(
    ("query", "tokens", "rest"),
    [
        ("token=a", ["a"], None),
        ("token=a&b=%zz", ["a"], "b=%zz"),
        ("b&token=a", ["a"], "b"),
        ("b=1&token=a&c", ["a"], "b=1&c"),
        ("token=a&token=b", ["a", "b"], None),
        ("xtoken=a&Token=b", [], "xtoken=a&Token=b"),
        ("a=token=b", [], "a=token=b"),
        ("a&&token=x&&b", ["x"], "a&&&b"),
        ("", [], ""),
        (None, [], None),
    ],
)
def test_the_token_parameter_is_taken_out_and_the_rest_stays(
    query: str | None, tokens: Any, rest: str | None
) -> None:
    target = Target("/p", query)
    assert token_parameters(target) == tokens
    assert without_token(target, lambda _: True) == Target("/p", rest)


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("token=T", None),
        ("token=T&a=%zz&&b", "a=%zz&&b"),
        ("a=1&token=T", "a=1"),
        ("a=1&token=T&token=reset", "a=1&token=reset"),
        ("token=reset&token=T", "token=reset"),
        ("token=reset", "token=reset"),
        ("token=TT", "token=TT"),
        ("xtoken=T", "xtoken=T"),
    ],
)
def test_of_the_token_parameters_only_the_access_token_is_taken_out(
    query: str, rest: str | None
) -> None:
    assert without_token(Target("/p", query), "T".__eq__) == Target("/p", rest)


async def test_an_access_token_in_a_plain_query_or_referer_does_not_reach_the_upstream(
    gate: RunningGate,
) -> None:
    page = f"{gate.proxy_url}/page?a=1&token={TOKEN}"
    response = await gate.request(f"{PREFIX}/x?token={TOKEN}&token=reset", f"Referer: {page}")
    assert b'"target": "/x?token=reset"' in response
    assert b'/page?a=1"' in response
    assert TOKEN.encode() not in response
