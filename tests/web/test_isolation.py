"""Pages on the origin of the application's scripts (``BROWSER_MOUNT=prefix``)."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests.kit.gates import MakeGate
from tests.kit.visitors import PASSWORD, Visitor
from zenzefi.keys import Signer
from zenzefi.proxy.tickets import SpentInProcess
from zenzefi.web import isolation
from zenzefi.web.isolation import CookiesNeeded

OPENER = "Cross-Origin-Opener-Policy"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
KEY = Signer([b"k" * 32])


async def prefix_gate(make_gate: MakeGate, **settings: Any) -> Any:
    return await make_gate(browser_mount="prefix", **settings)


async def test_a_navigation_takes_two_steps_with_two_policies(make_gate: MakeGate) -> None:
    gate = await prefix_gate(make_gate)
    marta = await Visitor(gate).register()
    for path in ("/account", "/account/buy?hours=1", "/account/money?a=%2F&b", "/", "/login"):
        await marta.open(path, follow=False)
        assert marta.status == 303
        assert marta.headers[OPENER] == "same-origin"
        assert marta.location.partition("?")[0] == path.partition("?")[0]
        assert marta.headers["Cache-Control"] == "no-store"
    await marta.open("/account/buy?hours=1")
    assert marta.status == 200
    assert marta.headers[OPENER] == "noopener-allow-popups"
    assert "isolated=" not in marta.html


async def test_with_an_own_origin_a_page_comes_at_once(make_gate: MakeGate) -> None:
    gate = await make_gate()
    marta = await Visitor(gate).register()
    await marta.open("/account/buy", follow=False)
    assert (marta.status, marta.headers[OPENER]) == (200, "same-origin")


async def test_a_ticket_is_worth_nothing_in_another_browser_or_later(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await prefix_gate(make_gate)
    marta, boris = await Visitor(gate).register(), await Visitor(gate).register("boris")
    await boris.open("/account/buy", follow=False)
    stolen = boris.location
    await marta.open(stolen, follow=False)
    assert marta.status == 303
    own = marta.location
    await marta.open(own, follow=False)
    assert marta.status == 200
    for later, status in ((29, 200), (32, 303), (86400, 303), (-32, 303)):
        await marta.open("/account/buy", follow=False)
        clock = SimpleNamespace(time=lambda later=later: time.time() + later)
        with monkeypatch.context() as patch:
            patch.setattr(isolation, "time", clock)
            await marta.open(marta.location, follow=False)
        assert marta.status == status, later


async def test_a_ticket_is_worth_nothing_in_another_network(make_gate: MakeGate) -> None:
    gate = await prefix_gate(make_gate, trusted_proxies="127.0.0.0/8")
    marta = await Visitor(gate).register()
    home, same, other = (
        {"X_Forwarded_For": address} for address in ("192.0.2.1", "192.0.2.200", "192.0.3.1")
    )
    for elsewhere, status in ((same, 200), (other, 303), ({"User_Agent": "Another/1"}, 303)):
        await marta.open("/account/buy", follow=False, **home)
        await marta.open(marta.location, follow=False, **{**home, **elsewhere})
        assert marta.status == status, elsewhere


async def test_a_ticket_works_once(make_gate: MakeGate) -> None:
    """A script may learn of an address once its window shows it, and not before."""
    gate = await prefix_gate(make_gate)
    marta = await Visitor(gate).register()
    await marta.open("/account/buy", follow=False)
    used = marta.location
    await marta.open("/account/buy", follow=False)
    assert marta.location != used  # two windows at once do not take each other's
    for number, address in enumerate((used, marta.location)):
        await marta.open(address, follow=False)
        assert marta.status == 200, number
    for path in (used, used.replace("/account/buy", "/account"), used + "&a=b"):
        await marta.open(path, follow=False)
        assert marta.status == 303
        assert "isolated=" in marta.location
        assert marta.location != path
        await marta.open(marta.location, follow=False)
        assert marta.status == 200


@pytest.mark.parametrize(
    "ticket", ["", "x", "-", "1-", "9" * 40 + "-x", "١٢٣-x", "0-" + "a" * 40, "-1-a", "1-é"]
)
async def test_a_ticket_of_any_form_is_no_error(make_gate: MakeGate, ticket: str) -> None:
    gate = await prefix_gate(make_gate)
    marta = await Visitor(gate).register()
    async with gate.get(
        "/account",
        params={"isolated": ticket},
        headers=marta._headers({}),
        allow_redirects=False,
    ) as response:
        assert response.status == 303


async def test_a_browser_without_cookies_is_not_sent_round_in_circles(
    make_gate: MakeGate,
) -> None:
    gate = await prefix_gate(make_gate)
    visitor = await Visitor(gate).open("/login", follow=False)
    visitor.cookies.clear()
    await visitor.open(visitor.location, follow=False)
    assert visitor.status == 403
    assert "cookies" in visitor.text


async def test_a_browser_that_says_nothing_of_where_it_comes_from_gets_no_page(
    make_gate: MakeGate,
) -> None:
    gate = await prefix_gate(make_gate)
    marta = await Visitor(gate).register()
    cookie = "; ".join(f"{name}={value}" for name, value in marta.cookies.items())
    for headers in ({}, {"Sec-Fetch-Mode": "navigate"}, {"User-Agent": "Mozilla/5.0"}):
        for method in ("GET", "POST"):
            given_ = {**headers, "Cookie": cookie, "Accept": "text/html"}
            async with gate.request(
                method, "/account/buy", headers=given_, allow_redirects=False
            ) as response:
                assert response.status == 403
                assert "marta" not in await response.text()
    for name in ("Sec-Purpose", "Purpose"):
        prefetching: dict[str, Any] = {name: "prefetch;prerender"}
        await marta.open("/account/buy", **prefetching)
        assert marta.status == 403
        assert marta.location == ""


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/account/buy", {}),
        ("/account/buy", {"csrf": "x"}),
        ("/admin/users", {"csrf": "x"}),
        ("/account/profile", {"csrf": ""}),
        ("/logout", {"csrf": "0" * 80}),
    ],
)
async def test_a_form_without_its_token_gets_a_page_without_a_user(
    make_gate: MakeGate, path: str, fields: dict[str, str]
) -> None:
    gate = await prefix_gate(make_gate)
    marta = await Visitor(gate).register()
    await marta.send(path, follow=False, csrf=fields.get("csrf", ""))
    assert marta.status in (403, 404, 405, 413)
    assert 'action="/logout"' not in marta.html
    got = marta.csrf
    await marta.send("/account/buy", follow=False, csrf=got, duration_hours="1", once="x")
    assert marta.status == 403


async def test_a_page_without_a_user_shows_no_message_and_keeps_it(
    make_gate: MakeGate,
) -> None:
    """A message may name the e-mail address; a script can send such a form into a window."""
    gate = await prefix_gate(make_gate)
    marta = Visitor(gate)
    await marta.open("/register")
    await marta.send(
        "/register", follow=False, email="m@example.com", username="marta", password=PASSWORD
    )
    assert marta.status == 303
    for path in ("/account/buy", "/logout", "/login"):
        await marta.send(path, follow=False, csrf="x")
        assert marta.status == 403
        assert "Welcome" not in marta.html
    assert "Welcome" in (await marta.open("/account")).html


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_plain_http_elsewhere_than_on_loopback_gets_a_page_that_says_what_to_do(
    make_gate: MakeGate, language: str
) -> None:
    gate = await prefix_gate(make_gate, backend_url="http://gate.example:8000")
    visitor = Visitor(gate, language)
    for path in ("/", "/login", "/register", "/account", "/account/buy", "/admin", "/admin/users"):
        await visitor.open(path, follow=False)
        assert visitor.status == 403
        assert "BACKEND_URL" in visitor.text
        assert "PROXY_HOST" in visitor.text
    await visitor.send("/login", follow=False, email="a@example.com", password="x" * 12)
    assert visitor.status == 403
    async with gate.post("/api/v1/auth/login", json={}) as response:
        assert response.status == 422
    async with gate.get("/api/v1/proxy/", headers={"X-Access-Token": "t" * 64}) as response:
        assert (await response.json())["code"] == "token_invalid"


async def test_plain_http_is_no_matter_with_an_own_origin(make_gate: MakeGate) -> None:
    gate = await make_gate(backend_url="http://gate.example:8000", proxy_host="app.example:8000")
    visitor = await Visitor(gate).open("/login", follow=False)
    assert visitor.status == 200


PAIRS = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=4)


@given(PAIRS, st.booleans())
async def test_the_second_step_has_the_address_of_the_first(
    pairs: list[tuple[str, str]], has_old: bool
) -> None:
    url = URL("/account/buy").with_query([*pairs, *([("isolated", "1-old")] if has_old else [])])
    request = make_mocked_request("GET", str(url))
    response = isolation.redirect(request, KEY, "secret")
    second = make_mocked_request("GET", response.headers["Location"])
    spent = SpentInProcess()
    assert not await isolation.is_second_step(second, KEY, "another", spent)
    assert not await isolation.is_second_step(second, Signer([b"x" * 32]), "secret", spent)
    assert await isolation.is_second_step(second, KEY, "secret", spent)
    assert not await isolation.is_second_step(second, KEY, "secret", spent)
    with pytest.raises(CookiesNeeded):
        await isolation.is_second_step(second, KEY, "", spent)
    kept = [pair for pair in pairs if pair[0] != "isolated"]
    asked = parse_qsl(urlsplit(isolation.address(second)).query, keep_blank_values=True)
    assert asked == kept
