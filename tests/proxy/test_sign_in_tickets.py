"""Tickets of a sign-in: to whom they are issued, and in which browser they work, once."""

import json
from urllib.parse import urlsplit

import pytest

from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.proxy_gates import GateFactory, RunningGate
from tests.kit.visiting_browser import (
    NAVIGATION,
    OTHER_TOKEN,
    VisitingBrowser,
    own_origin_of,
    signed_in,
    ticket_url,
)
from zenzefi.proxy.tickets import ENTER_PATH


async def test_a_ticket_works_once_and_in_the_browser_that_requested_it(
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
async def test_a_ticket_of_another_browser_is_rejected(
    own_origin_gate: RunningGate, state: str
) -> None:
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


# --- the nonce and the upstream


async def test_the_application_neither_sees_nor_sets_the_nonce(
    own_origin_gate: RunningGate,
) -> None:
    browser = signed_in(own_origin_gate)
    await ticket_url(browser)
    host = urlsplit(own_origin_of(own_origin_gate)).hostname or ""
    await browser.follow(own_origin_gate.proxy_url + "/x")
    await ticket_url(browser)
    assert any("zenzefi_enter_" in name for name in browser.cookies[host])
    echoed = await browser.request(own_origin_of(own_origin_gate) + "/x", "Accept: */*")
    assert "zenzefi" not in json.dumps(echoed.json()["headers"])
