"""Where scripts may write cookies, a page session acts for its user in one place only."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:{}.0) Gecko/20100101 Firefox/{}.0"
HOME = {"User-Agent": AGENT.format(100, 100), "X-Forwarded-For": "192.0.2.10"}
PRESSED = {"Sec-Fetch-User": "?1"}
SHARED: list[dict[str, Any]] = [{"browser_mount": "prefix"}, {"proxy_port": 8899}]


class Client(Visitor):
    """A visitor in some network, with some browser, who presses the buttons."""

    here: dict[str, str] = HOME

    def _headers(self, extra: dict[str, str]) -> dict[str, str]:
        return {**super()._headers(extra), **self.here, **PRESSED, **extra}


def copy_of(visitor: Visitor, gate: GateClient, **here: str) -> Client:
    """Another browser into which the cookies of this one were planted."""
    named = {name.replace("_", "-"): value for name, value in here.items()}
    planted = Client(gate, cookies=dict(visitor.cookies))
    planted.here = {**HOME, **named}
    return planted


@pytest.fixture(params=SHARED, ids=["prefix", "second port"])
async def shared(
    request: pytest.FixtureRequest, make_gate: MakeGate, upstream: RecordingUpstream
) -> Any:
    return await make_gate(
        zenzefi_target_url=upstream.origin,
        backend_url="http://127.0.0.1:8000",
        trusted_proxies="127.0.0.1",
        **request.param,
    )


ELSEWHERE = [
    {"X_Forwarded_For": "192.0.3.10"},
    {"X_Forwarded_For": "2001:db8::1"},
    {"User_Agent": "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15"},
    {"User_Agent": ""},
]


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
async def test_a_planted_session_shows_nothing_and_does_nothing_before_it_is_taken(
    shared: GateClient, elsewhere: dict[str, str]
) -> None:
    marta = await Client(shared).register()
    token_page = await marta.buy()
    planted = copy_of(marta, shared, **elsewhere)
    for path in ("/account", "/account/profile", token_page, "/", "/login", "/register", "/admin"):
        await planted.open(path)
        assert planted.status == 200
        assert "m•••a" in planted.text
        assert "marta" not in planted.html
        assert marta.soup.find(id="token-value").get_text() not in planted.html
    before = planted.csrf
    for path in (
        f"{token_page}/open",
        "/account/profile",
        "/logout",
        "/account/sign-ins/end-others",
    ):
        await planted.send(path, follow=False, csrf=before)
        assert planted.status == 403
        assert "Set-Cookie" not in planted.headers
    assert (await marta.open("/account")).status == 200
    assert "m•••a" not in marta.text


async def test_the_signed_in_visitor_continues_by_a_button_and_another_leaves(
    shared: GateClient,
) -> None:
    marta = await Client(shared).register()
    moved = copy_of(marta, shared, X_Forwarded_For="198.51.100.7")
    await moved.open("/account")
    await moved.send("/login/continue")
    assert moved.status == 200
    assert "m•••a" not in moved.text
    assert "marta" in (await moved.open("/account/profile")).html
    # It has moved: where it was before, the question comes.
    assert "m•••a" in (await marta.open("/account")).text

    stranger = copy_of(marta, shared, X_Forwarded_For="203.0.113.1")
    await stranger.open("/account")
    await stranger.send("/login/leave")
    assert stranger.status == 200
    assert stranger.soup.find(id="f-password") is not None
    assert not any("session" in name for name in stranger.cookies)
    # It has ended: a cookie under another path, which can't be dropped, asks no more.
    assert (await moved.open("/account")).soup.find(id="f-password") is not None


async def test_the_same_network_and_a_newer_browser_need_no_confirmation(
    shared: GateClient,
) -> None:
    marta = await Client(shared).register()
    same = copy_of(marta, shared, X_Forwarded_For="192.0.2.200", User_Agent=AGENT.format(101, 101))
    assert "marta" in (await same.open("/account/profile")).html


async def test_of_several_session_cookies_the_one_of_this_browser_counts(
    shared: GateClient,
) -> None:
    mallory = Client(shared)
    mallory.here = {**HOME, "X-Forwarded-For": "203.0.113.9"}
    await mallory.register("mallory")
    marta = await Client(shared).register()
    (name,) = [name for name in marta.cookies if "session" in name]
    own, theirs = marta.cookies.pop(name), mallory.cookies[name]
    junk = "; ".join(f"{name}={number:043d}" for number in range(40))
    for line in (
        f"{theirs}; {name}={own}",
        f"{own}; {name}={theirs}",
        f"{theirs}; {junk}; {name}={own}",
    ):
        marta.cookies[name] = line
        assert "marta" in (await marta.open("/account/profile")).html


async def test_a_form_token_from_another_network_is_worth_nothing(shared: GateClient) -> None:
    """A script plants the visit cookie of its author, who has got a form token for it."""
    mallory = Client(shared)
    mallory.here = {**HOME, "X-Forwarded-For": "203.0.113.9"}
    await mallory.register("mallory")
    mallory.cookies.clear()
    await mallory.open("/login")
    victim = copy_of(mallory, shared, X_Forwarded_For="192.0.2.10")
    fields: dict[str, Any] = {"email": "mallory@example.com", "password": "correct horse battery"}
    await victim.send("/login", follow=False, csrf=mallory.csrf, **fields)
    assert victim.status == 403
    assert not any("session" in name for name in victim.cookies)
    await mallory.send("/login", follow=False, **fields)
    assert mallory.status == 303


async def test_a_form_is_sent_by_a_press(shared: GateClient) -> None:
    marta = await Client(shared).register()
    await marta.open("/account/profile")
    for headers in ({"Sec-Fetch-User": "?0"}, {"Sec-Fetch-User": ""}):
        await marta.send("/account/profile", follow=False, headers=headers, full_name="X")
        assert marta.status == 403
    await marta.open("/account/profile")
    await marta.send("/account/profile", follow=False, full_name="Marta")
    assert marta.status == 303


async def test_without_shared_cookies_no_confirmation_is_needed(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(
        zenzefi_target_url=upstream.origin,
        backend_url="https://gate.example",
        proxy_host="app.example.net",
        trusted_proxies="127.0.0.1",
    )
    marta = Client(gate)
    marta.here = {**HOME, "Host": "gate.example"}
    await marta.register()
    for elsewhere in ELSEWHERE:
        moved = copy_of(marta, gate, **elsewhere, Host="gate.example")
        assert "marta" in (await moved.open("/account/profile", Sec_Fetch_User="?0")).html
