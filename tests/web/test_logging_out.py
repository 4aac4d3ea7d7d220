"""Logging out ends the browser's sign-ins at the proxy, also at the application's origin."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from aiohttp import ClientResponse

from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import PASSWORD, Visitor
from zenzefi.gate_cookies import GATE_COOKIES, LANGUAGE, is_gate_cookie
from zenzefi.tokens.sign_ins import SIGN_INS

OWN = "app.localhost:8000"
GATE = "127.0.0.1:8000"


@pytest.fixture
async def gate(make_gate: MakeGate, upstream: RecordingUpstream) -> GateClient:
    return await make_gate(zenzefi_target_url=upstream.origin, backend_url=f"http://{GATE}")


class TwoHosts(Visitor):
    """A browser with separate cookies for the gate's host and the application's origin."""

    def __init__(self, gate: GateClient) -> None:
        super().__init__(gate)
        self.jars: dict[str, dict[str, str]] = {GATE: self.cookies, OWN: {}}

    async def visit(self, url: str) -> int:
        """Open an address and follow where it leads, over both hosts; the last status."""
        for _ in range(8):
            parts = urlsplit(url)
            host = parts.netloc or GATE
            self.cookies = self.jars[host]
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            await self.open(path, follow=False, Host=host)
            self.cookies = self.jars[GATE]
            if self.status != 303:
                break
            url = self.location if "://" in self.location else f"http://{host}{self.location}"
        return self.status

    async def enter(self) -> None:
        """Sign in, buy a token and open the application at its own origin."""
        path = await self.buy()
        await self.send(f"{path}/open", follow=False)
        assert await self.visit(self.location) == 200
        assert "zenzefi_access_token" in self.jars[OWN]


async def status(gate: GateClient, browser: TwoHosts) -> int:
    return await browser.visit(f"http://{OWN}/page")


async def test_logging_out_at_the_gate_ends_the_sign_in_at_the_own_origin(gate: GateClient) -> None:
    marta, other = TwoHosts(gate), TwoHosts(gate)
    await marta.register()
    await marta.enter()
    value = marta.jars[OWN]["zenzefi_access_token"]
    await other.login()
    await other.open("/account")
    tokens = [a["href"] for a in other.soup.select("main a[href^='/account/tokens/']")]
    await other.open(tokens[0].removesuffix("/revoke"))
    await other.send(f"{tokens[0].removesuffix('/revoke')}/open", follow=False)
    assert await other.visit(other.location) == 200

    kept = {host: dict(jar) for host, jar in marta.jars.items()}  # a thief's copy
    await marta.open("/account")
    await marta.send("/logout")
    assert "/login" in marta.html
    assert await status(gate, marta) == 401
    thief = TwoHosts(gate)
    thief.jars = kept
    thief.cookies = kept[GATE]
    assert await status(gate, thief) == 401

    # Another browser with the same token goes on, and so does a program.
    assert await status(gate, other) == 200
    response = await gate.get("/api/v1/proxy/page", headers={"X-Access-Token": value})
    assert response.status == 200


async def test_a_new_password_by_the_api_ends_what_other_page_sessions_opened(
    gate: GateClient,
) -> None:
    marta = TwoHosts(gate)
    await marta.register()
    await marta.enter()
    credentials = {"email": "marta@example.com", "password": PASSWORD}
    response = await gate.post("/api/v1/auth/login", json=credentials)
    bearer = {"Authorization": f"Bearer {(await response.json())['access_token']}"}
    change = {"password": "another correct horse", "current_password": PASSWORD}
    response = await gate.patch("/api/v1/users/me", json=change, headers=bearer)
    assert response.status == 200, await response.text()
    gate.app[SIGN_INS]._known.clear()  # as after the life of a cached entry
    assert await status(gate, marta) == 401


@pytest.mark.parametrize("how", ["delete", "end others", "sign in again"])
async def test_so_does_every_other_way_of_ending_a_session(gate: GateClient, how: str) -> None:
    marta = TwoHosts(gate)
    await marta.register()
    await marta.enter()
    if how == "delete":
        cookie = "; ".join(f"{name}={value}" for name, value in marta.jars[GATE].items())
        headers = {"Cookie": cookie, "Host": GATE, "Sec-Fetch-Site": "same-origin"}
        response = await gate.delete("/api/v1/proxy/logout", headers=headers)
        assert response.status == 200
    elif how == "end others":
        other = TwoHosts(gate)
        await other.login()
        await other.open("/account/profile")
        await other.send("/account/sign-ins/end-others")
    else:
        token = marta.csrf
        await marta.open("/account/profile")
        token = marta.csrf
        await marta.send(
            "/login", csrf=token, email="marta@example.com", password="correct horse battery"
        )
    assert await status(gate, marta) == 401


async def test_a_ticket_that_is_redeemed_after_logging_out_opens_nothing(gate: GateClient) -> None:
    marta = TwoHosts(gate)
    await marta.register()
    path = await marta.buy()
    await marta.send(f"{path}/open", follow=False)
    url = marta.location
    for _ in range(2):  # up to the ticket, which is not redeemed yet
        parts = urlsplit(url)
        marta.cookies = marta.jars[parts.netloc]
        await marta.open(f"{parts.path}?{parts.query}", follow=False, Host=parts.netloc)
        marta.cookies = marta.jars[GATE]
        url = marta.location
    assert "ticket=" in url
    await marta.open("/account")
    await marta.send("/logout")
    assert await marta.visit(url) == 401
    assert "zenzefi_access_token" not in marta.jars[OWN]


async def test_every_cookie_that_a_browser_gets_is_in_the_list(gate: GateClient) -> None:
    marta = TwoHosts(gate)
    seen: set[str] = set()
    note = marta._note

    async def noting(response: ClientResponse) -> None:
        seen.update(response.cookies)
        await note(response)

    marta._note = noting  # type: ignore[method-assign]
    await marta.register()
    await marta.enter()
    await marta.open("/account")
    await marta.send("/account/language", language="ru", next="/account")
    await marta.open("/account")
    await marta.send("/logout")
    assert LANGUAGE in seen
    assert len(seen) >= 7
    for name in seen:
        assert is_gate_cookie(name)
        assert any(
            name.removeprefix("__Host-Http-").startswith(kind.name) for kind in GATE_COOKIES
        ), name
