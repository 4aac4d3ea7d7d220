"""A web server in front asks whether it may pass a request on."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import TOKEN, GateFactory
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import DeviceConflict

LIMITED = "L" * 64


@pytest.fixture
async def verify(start_gate: GateFactory, faulty: FaultyUpstream) -> AsyncIterator[Any]:
    gate = await start_gate(faulty.url, trusted_proxies="127.0.0.1/32")
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:

        async def request(**headers: Any) -> tuple[Any, ...]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            url = f"{gate.url}/api/v1/auth/verify"
            async with session.get(url, headers=named) as response:
                return response.status, response.headers

        request.gate = gate  # type: ignore[attr-defined]
        yield request


async def test_a_good_token_passes_with_the_ids_and_is_activated(verify: Any) -> None:
    access = verify.gate.tokens.add()
    status, headers = await verify(X_Access_Token=TOKEN)
    assert status == 204
    assert headers["X-User-Id"] == str(access.user_id)
    assert headers["X-Token-Id"] == str(access.token_id)
    assert verify.gate.tokens.activations == [access.token_id]


async def test_the_cookie_authenticates_as_well(verify: Any) -> None:
    verify.gate.tokens.add()
    status, _ = await verify(Cookie=f"zenzefi_access_token={TOKEN}")
    assert status == 204


async def test_no_token_and_an_unknown_one_are_401(verify: Any) -> None:
    assert (await verify())[0] == 401
    assert (await verify(X_Access_Token="no"))[0] == 401


async def test_a_rejected_event_source_does_not_get_204(verify: Any) -> None:
    status, _ = await verify(Accept="text/event-stream")
    assert status == 401


async def test_the_scope_is_checked_against_the_path_that_a_trusted_proxy_names(
    verify: Any,
) -> None:
    verify.gate.tokens.add(LIMITED, "certificates_only")
    for header in ("X_Forwarded_Uri", "X_Original_URI"):
        inside = {header: "/certificates/list?page=2", "X_Access_Token": LIMITED}
        assert (await verify(**inside))[0] == 204
        mounted = {header: "/api/v1/proxy/certificates/1", "X_Access_Token": LIMITED}
        assert (await verify(**mounted))[0] == 204
        outside = {header: "/admin", "X_Access_Token": LIMITED}
        assert (await verify(**outside))[0] == 403


async def test_the_method_counts_too_where_a_trusted_proxy_names_it(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(
        faulty.url, trusted_proxies="127.0.0.1/32", scopes={"reader": ["GET /files/**"]}
    )
    gate.tokens.add(LIMITED, "reader")
    for method, status in (("GET", b"204"), ("HEAD", b"204"), ("DELETE", b"403")):
        response = await gate.request(
            "/api/v1/auth/verify",
            "X-Forwarded-Uri: /files/1",
            f"X-Forwarded-Method: {method}",
            token=LIMITED,
        )
        assert response.startswith(b"HTTP/1.1 " + status)


async def test_a_path_that_means_two_things_is_refused(verify: Any) -> None:
    verify.gate.tokens.add(LIMITED, "certificates_only")
    status, _ = await verify(X_Forwarded_Uri="/certificates/../admin", X_Access_Token=LIMITED)
    assert status == 400
    status, _ = await verify(
        X_Forwarded_Uri="/certificates/", X_Original_URI="/admin", X_Access_Token=LIMITED
    )
    assert status == 400


async def test_without_a_path_only_the_full_scope_passes(verify: Any) -> None:
    verify.gate.tokens.add(LIMITED, "certificates_only")
    assert (await verify(X_Access_Token=LIMITED))[0] == 403
    assert verify.gate.tokens.activations == []


async def test_the_path_header_of_an_untrusted_peer_is_ignored(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url)
    gate.tokens.add(LIMITED, "certificates_only")
    response = await gate.request(
        "/api/v1/auth/verify", "X-Forwarded-Uri: /certificates/", token=LIMITED
    )
    assert response.startswith(b"HTTP/1.1 403 ")


class Taken:
    async def claim(self, access: TokenAccess, device_id: str) -> None:
        raise DeviceConflict


async def test_another_devices_token_is_409(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url, devices=Taken())
    gate.tokens.add()
    response = await gate.request("/api/v1/auth/verify", "X-Device-ID: 0123456789abcdef0123")
    assert response.startswith(b"HTTP/1.1 409 ")
    assert gate.tokens.activations == []


async def test_forward_auth_counts_as_a_request_of_the_token(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    gate = await start_gate(faulty.url, rate_limit_proxy="2/hour")
    responses = [await gate.request("/api/v1/auth/verify") for _ in range(3)]
    assert [int(response.split()[1]) for response in responses] == [204, 204, 429]


@pytest.mark.parametrize("header", ["X-Forwarded-Uri", "X-Original-URI"])
async def test_a_request_for_the_separate_origin_is_checked_too(
    start_gate: GateFactory, upstream: str, header: str
) -> None:
    """Caddy and Traefik send the host of the original request: PROXY_HOST in their recipes."""
    gate = await start_gate(upstream, trusted_proxies="127.0.0.1/32", proxy_host="app.test")
    gate.tokens.add(LIMITED, "certificates_only", activated=True)
    host = "X-Forwarded-Host: app.test"
    for path, status in (("/certificates/1", b"204"), ("/admin", b"403")):
        for _ in range(2):  # the second request might be recognised by its headers
            target = f"{header}: {path}"
            response = await gate.request("/api/v1/auth/verify", host, target, token=LIMITED)
            assert response.startswith(b"HTTP/1.1 " + status)
    assert (await gate.request("/api/v1/auth/verify", host, f"{header}: /", token=None)).startswith(
        b"HTTP/1.1 401 "
    )


async def test_at_the_own_origin_the_applications_own_path_of_that_name_is_proxied(
    start_gate: GateFactory, upstream: str
) -> None:
    gate = await start_gate(upstream, trusted_proxies="127.0.0.1/32", proxy_host="app.test")
    response = await gate.request("/api/v1/auth/verify", "X-Forwarded-Host: app.test")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"/api/v1/auth/verify" in response
    untrusting = await start_gate(upstream, proxy_host="app.test")
    lines = ("Host: app.test", "X-Forwarded-Uri: /", f"X-Access-Token: {TOKEN}")
    head = "\r\n".join(("GET /api/v1/auth/verify HTTP/1.1", *lines, "Connection: close", "", ""))
    response = await untrusting.raw(head.encode())
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"/api/v1/auth/verify" in response
