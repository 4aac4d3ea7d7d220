"""A script plants the nonce of its author's sign-in, and leads the visitor to the ticket for it."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.kit.proxy_gates import GateFactory, RunningGate
from tests.kit.visiting_browser import AGENT, OTHER_TOKEN, VisitingBrowser, ticket_url
from zenzefi.gate_cookies import browser_of
from zenzefi.keys import Keyring
from zenzefi.proxy.tickets import ENTER_PATH, SpentInProcess, Tickets

OLD = AGENT.replace("156.0", "90.0")


@pytest.fixture
async def gate(start_gate: GateFactory, upstream: str) -> RunningGate:
    gate = await start_gate(upstream, trusted_proxies="127.0.0.1")
    gate.tokens.add(OTHER_TOKEN)
    return gate


@pytest.mark.parametrize("victims", ["203.0.113.200", "192.0.2.1"])
async def test_a_planted_nonce_does_not_sign_another_browser_in(
    gate: RunningGate, victims: str
) -> None:
    attacker = VisitingBrowser(gate, agent=OLD, address="203.0.113.9").sign_in(token=OTHER_TOKEN)
    url = await ticket_url(attacker)
    victim = replace(
        attacker,
        address=victims,
        cookies={"app.localhost": dict(attacker.cookies["app.localhost"])},
    )
    response = await victim.request(url)
    same_network = victims.startswith("203.0.113.")
    assert response.status == (303 if same_network else 401)
    assert any("zenzefi_access_token" in line for line in response.cookies) == same_network


async def test_a_ticket_for_a_hash_of_the_attackers_making_is_worth_nothing(
    gate: RunningGate,
) -> None:
    """The mark is made under a key of the gate: a gate with another key makes another one."""
    nonce = "n" * 43
    of_the_attackers = Tickets(Keyring("a key of the attacker's own gate"), SpentInProcess())
    for client in ("", f"192.0.2.0/24|{browser_of(OLD)}"):
        digest = of_the_attackers.mark(nonce, client)
        attacker = VisitingBrowser(gate, agent=OLD, address="203.0.113.9").sign_in(
            token=OTHER_TOKEN
        )
        issued = await attacker.request(f"{gate.url}{ENTER_PATH}?browser={digest}")
        victim = VisitingBrowser(gate, agent=OLD, address="192.0.2.1")
        victim.cookies["app.localhost"] = {f"zenzefi_enter_{digest[:16]}": nonce}
        response = await victim.request(issued.location)
        assert response.status == 401
        assert not any("zenzefi_access_token" in line for line in response.cookies)


async def test_a_sealed_nonce_goes_with_its_browser_to_another_network(gate: RunningGate) -> None:
    browser = VisitingBrowser(gate, address="203.0.113.9").sign_in()
    url = await ticket_url(browser)
    assert "browser" not in parse_qs(urlsplit(url).query)
    browser.address = "192.0.2.1"
    assert (await browser.request(url)).status == 303
