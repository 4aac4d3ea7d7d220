"""The rate limit middleware: 429 with Retry-After, separate counts, RateLimit headers."""

import json
from typing import Any

import pytest

from tests.kit import api
from tests.kit.gates import MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from zenzefi.observability.metrics import AUTH_ATTEMPTS
from zenzefi.rate_limits.networks import rate_limit_network


async def test_sign_in_beyond_the_limit_is_rejected_with_retry_after(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_login="10/hour")
    limited = AUTH_ATTEMPTS.labels("limited")
    before = limited._value.get()
    await api.sign_up(gate)
    wrong = {"email": api.ALICE["email"], "password": "wrong password"}
    for _ in range(9):
        assert (await api.call(gate, "POST", "/auth/login", json=wrong))[0] == 401
    async with gate.post("/api/v1/auth/login", json=wrong) as refused:
        assert refused.status == 429
        assert (await refused.json())["code"] == "rate_limited"
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["RateLimit"].startswith('"login";r=0;t=')
    assert limited._value.get() == before + 1


GUESS = {"email": "Alice@Example.com ", "password": "guess number one"}


@pytest.mark.parametrize(
    "sent",
    [
        {"json": GUESS},
        {"data": json.dumps(GUESS).encode(), "skip_auto_headers": ["Content-Type"]},
    ],
    ids=["labelled", "unlabelled"],
)
async def test_attempts_at_one_account_are_counted_over_all_addresses(
    make_gate: MakeGate, sent: dict[str, Any]
) -> None:
    gate = await make_gate(rate_limit_login_account="3/hour", trusted_proxies="127.0.0.0/8")
    statuses = []
    for number in range(5):
        status, _ = await api.call(
            gate,
            *("POST", "/auth/login"),
            **sent,
            headers={"X-Forwarded-For": f"198.51.100.{number}"},
        )
        statuses.append(status)
    assert statuses == [401, 401, 401, 429, 429]


async def test_forwarded_addresses_of_untrusted_clients_are_ignored(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(rate_limit_register="1/hour", rate_limit_login="off")
    await api.call(gate, "POST", "/auth/register", json=api.ALICE)
    status, _ = await api.call(
        gate,
        *("POST", "/auth/register"),
        json=api.BOB,
        headers={"X-Forwarded-For": "198.51.100.1"},
    )
    assert status == 429


async def test_a_whole_ipv6_network_has_one_count(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_register="2/hour", trusted_proxies="127.0.0.0/8")
    addresses = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2::3", "2001:db8:1:3::1"]
    statuses = []
    for number, address in enumerate(addresses):
        who = {
            "email": f"a{number}@example.com",
            "username": f"a{number}a",
            "password": "long one 1",
        }
        headers = {"X-Forwarded-For": address}
        status, _ = await api.call(gate, "POST", "/auth/register", json=who, headers=headers)
        statuses.append(status)
    assert statuses == [201, 201, 429, 201]


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::/64"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_the_network_that_counts_as_one_address(address: str, counted_as: str) -> None:
    assert rate_limit_network(address) == counted_as


async def test_calls_are_counted_per_user(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_api="3/hour")
    alice, bob = await api.sign_up(gate), await api.sign_up(gate, api.BOB)
    again = await api.sign_in(gate)  # a second bearer token of the same user shares the count
    bearers = [alice, again, alice, again, bob]
    statuses = [(await api.call(gate, "GET", "/users/me", bearer=one))[0] for one in bearers]
    assert statuses == [200, 200, 200, 429, 200]


async def test_every_response_has_ratelimit_headers(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_api="120/minute")
    bearer = await api.sign_up(gate)
    headers = {"Authorization": f"Bearer {bearer}"}
    async with gate.get("/api/v1/users/me", headers=headers) as response:
        assert response.headers["RateLimit-Policy"] == '"api";q=120;w=60'
        assert response.headers["RateLimit"].startswith('"api";r=119;')


@pytest.mark.parametrize("limit", ["rate_limit_login", "rate_limit_register", "rate_limit_api"])
async def test_each_limit_can_be_switched_off(make_gate: MakeGate, limit: str) -> None:
    gate = await make_gate(**{limit: "off"})
    bearer = await api.sign_up(gate)
    assert (await api.call(gate, "GET", "/users/me", bearer=bearer))[0] == 200


async def test_proxied_requests_are_counted_per_token(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(rate_limit_proxy="2/hour", zenzefi_target_url=upstream.origin)
    bearer = await api.sign_up(gate)
    first, second = await api.buy(gate, bearer), await api.buy(gate, bearer)
    statuses = []
    for token in (first, first, first, second):
        headers = {"X-Access-Token": str(token["token"])}
        async with gate.get("/api/v1/proxy/page", headers=headers) as response:
            statuses.append(response.status)
    assert statuses == [200, 200, 429, 200]
