"""The pages of access tokens: buying, naming, opening, using and revoking one."""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from tests.kit.api import give, user_id_of
from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING
from zenzefi.tokens.models import access_tokens, device_claims
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.tokens.token_records import insert_token

HOSTILE = '"><script>alert(1)</script>{{7*7}}'


async def test_a_token_is_bought_shown_named_and_revoked(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy(24)
    assert "Token bought." in visitor.text
    value = visitor.soup.find(id="token-value").get_text()
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", value)
    await visitor.send(f"{path}/name", name=HOSTILE)
    assert visitor.soup.h1.get_text() == HOSTILE
    assert "<script>alert" not in visitor.html
    await visitor.open("/account")
    assert "<script>alert" not in visitor.html
    assert "Ready" in visitor.text
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 200
    await visitor.open(f"{path}/revoke")
    await visitor.send(f"{path}/revoke")
    assert "The token is revoked." in visitor.text
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 401


async def test_the_refund_is_announced_before_the_token_is_revoked(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, token_price_24h="18.00")
    visitor = await Visitor(gate).register("alice")
    await visitor.open("/account/buy")
    await visitor.send("/account/buy", duration_hours="24", scope="full", once="x")
    assert "Missing 18.00 ZNC" in visitor.text.replace("\xa0", " ")
    await give(gate, "20.00")
    path = await visitor.buy(24)
    await visitor.open(f"{path}/revoke")
    assert "18.00 ZNC will be refunded. Your balance will be 20.00 ZNC." in visitor.text.replace(
        "\xa0", " "
    )
    await visitor.send(f"{path}/revoke")
    assert "18.00 ZNC has been refunded" in visitor.text.replace("\xa0", " ")


async def test_the_same_purchase_sent_twice_buys_once(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    await visitor.open("/account/buy")
    for _ in range(2):
        await visitor.send(
            "/account/buy", follow=False, duration_hours="1", scope="full", once="one-and-only"
        )
        await visitor.open("/account/buy")
    await visitor.open("/account")
    assert len(visitor.soup.select(".ticket")) == 1


async def test_open_leads_a_browser_to_the_application(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, browser_mount="prefix")
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    await visitor.send(f"{path}/open", follow=False)
    assert visitor.status == 303
    assert visitor.location == "/api/v1/proxy/"
    response = await gate.get(
        "/api/v1/proxy/hello",
        headers={"Cookie": f"zenzefi_access_token={visitor.cookies['zenzefi_access_token']}"},
    )
    assert response.status == 200
    assert (await response.json())["path"] == "/hello"
    await visitor.open("/account")
    assert "Active" in visitor.text


async def test_open_signs_a_browser_in_at_the_applications_origin(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    await visitor.send(f"{path}/open", follow=False)
    start = "http://app.localhost:8000/.well-known/zenzefi/enter?"
    assert (visitor.status, visitor.location) == (
        303,
        f"{start}from=http://127.0.0.1:8000&path=/",
    )
    other = Visitor(gate)  # the same browser's cookies of the other host
    await other.open(visitor.location[21 + 5 :], follow=False, Host="app.localhost:8000")
    assert other.location.startswith("http://127.0.0.1:8000/.well-known/zenzefi/enter?browser=")
    await visitor.open(other.location[21:], follow=False)
    assert visitor.location.startswith(f"{start}ticket=")
    await other.open(visitor.location[26:], follow=False, Host="app.localhost:8000")
    assert (other.status, other.location) == (303, "/")
    await visitor.open("/account")
    assert "Active" not in visitor.text
    response = await other.open("/hello", Host="app.localhost:8000")
    assert '"path": "/hello"' in response.html
    await visitor.open("/account")
    assert "Active" in visitor.text


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_without_an_origin_of_its_own_open_names_the_settings(
    make_gate: MakeGate, language: str
) -> None:
    gate = await make_gate(backend_url="http://gate.example")
    visitor = await Visitor(gate, language).register()
    path = await visitor.buy()
    await visitor.send(f"{path}/open", follow=False)
    assert visitor.status == 403
    assert "zenzefi_access_token" not in visitor.cookies
    assert {"PROXY_HOST", "PROXY_PORT"} <= set(visitor.text.replace(",", "").split())
    await visitor.open("/account/connect")
    assert "PROXY_HOST" in visitor.text
    assert visitor.soup.select('form[action$="/open"]') == []


async def test_the_owner_sees_who_uses_the_token_and_ends_it(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    headers = {"X-Access-Token": value, "User-Agent": "curl/8.0", "X-Device-ID": "d" * 20}
    assert (await gate.get("/api/v1/proxy/x", headers=headers)).status == 200
    await gate.app[SESSION_TRACKER].flush()
    await visitor.open(path)
    assert "A device is using this token" in visitor.text
    (form,) = visitor.soup.select("form[action$='/end']")
    other = await Visitor(gate).register("boris")
    await other.send(form["action"], follow=False)
    assert other.status == 404
    await visitor.send(form["action"])
    assert "The session has ended" in visitor.text
    assert visitor.soup.select("form[action$='/end']") == []
    assert (await gate.get("/api/v1/proxy/x", headers=headers)).status == 200  # it stays good


async def test_a_device_that_has_long_been_idle_is_not_said_to_hold_the_token(
    gate: GateClient,
) -> None:
    visitor = await Visitor(gate).register()
    path = await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    headers = {"X-Access-Token": value, "X-Device-ID": "d" * 20}
    assert (await gate.get("/api/v1/proxy/x", headers=headers)).status == 200
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(device_claims).values(last_seen_at=datetime.now(UTC) - timedelta(minutes=6))
        )
    await visitor.open(path)
    assert "No device is using this token" in visitor.text


async def test_the_connect_page_has_commands_and_no_token(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    await visitor.open("/account/connect")
    assert "You need a token first." in visitor.text
    path = await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    await visitor.open("/account/connect")
    for block in ("c-client", "c-curl", "c-powershell", "c-status", "c-status-powershell", "c-ws"):
        assert "://" in visitor.soup.find(id=block).get_text(), block
    assert value not in visitor.html
    assert f"{path}/open" in visitor.html
    assert visitor.soup.select_one(f'main a[href="{path}"]')
    assert visitor.soup.select_one(".qr svg")


async def test_the_command_for_scripts_keeps_the_token_out_of_arguments(
    gate: GateClient, upstream: RecordingUpstream
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    visitor = await Visitor(gate).register()
    await visitor.buy()
    value = visitor.soup.find(id="token-value").get_text()
    await visitor.open("/account/connect")
    written = visitor.soup.find(id="c-curl").get_text()
    address = f"http://{gate.host}:{gate.port}/api/v1/proxy/"
    command = re.sub(r"'https?://[^']+'", f"'{address}'", written)
    assert value not in command
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", command.replace("stty -echo; ", "").replace("stty echo; ", "")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await shell.communicate(f"{value}\n".encode())
    assert b'"path": "/"' in output
    assert [request.path for request in upstream.requests] == ["/"]


async def test_another_users_token_does_not_exist(gate: GateClient) -> None:
    owner = await Visitor(gate).register("marta")
    path = await owner.buy()
    other = await Visitor(gate).register("boris")
    for action in ("", "/revoke"):
        await other.open(path + action)
        assert other.status == 404
    await other.open("/account")
    for action in ("/name", "/release", "/revoke", "/open"):
        await other.send(path + action, follow=False, csrf=other.csrf)
        assert other.status == 404, action
        await other.open("/account")
    await owner.open("/account")
    assert "Ready" in owner.text


async def _many(gate: GateClient, count: int) -> None:
    keyring, user_id = gate.app[KEYRING], await user_id_of(gate, {"username": "alice"})
    async with gate.app[DATABASE].begin() as connection:
        for number in range(count):
            token = await insert_token(
                connection,
                keyring,
                user_id=user_id,
                duration_hours=24,
                scope="full",
                cost=Decimal(0),
                name=f"Ноутбук {number}" if number % 10 == 0 else f"Box {number} 100%",
            )
            changes: dict[str, Any] = {"created_at": datetime.now(UTC) - timedelta(days=9)}
            if number % 4 == 1:
                changes["activated_at"] = datetime.now(UTC) - timedelta(hours=1 + number / 100)
            elif number % 4 == 2:
                changes["activated_at"] = datetime.now(UTC) - timedelta(days=2)
            elif number % 4 == 3:
                changes["revoked_at"] = datetime.now(UTC)
            await connection.execute(
                update(access_tokens).where(access_tokens.c.id == token.id).values(**changes)
            )


def _titles(visitor: Visitor) -> list[str]:
    return [link.get_text() for link in visitor.soup.select(".ticket__name")]


async def test_many_tokens_are_paged_searched_and_filtered_without_their_values(
    gate: GateClient,
) -> None:
    visitor = await Visitor(gate).register("alice")
    await _many(gate, 60)
    values = [
        token.plaintext
        for token in await gate.app[TOKENS].of_user(await user_id_of(gate, {"username": "alice"}))
    ]
    await visitor.open("/account")
    assert len(_titles(visitor)) == 20
    # Active ones first, those that end first at the top.
    states = [state.get_text() for state in visitor.soup.select(".ticket .state")]
    assert states == ["Active"] * 15 + ["Ready"] * 5
    assert _titles(visitor)[0] == "Box 57 100%"
    await visitor.open(visitor.soup.select_one('a[rel="next"]')["href"])
    assert len(_titles(visitor)) == 10 + 4
    assert "Ended" in visitor.text
    for query, count in (
        ("search=ноутбук", 3),
        ("search=НОУТБУК&state=all", 6),
        ("search=100%25&state=ended", 20),
        ("search=box 7 &state=all", 1),
        ("search=B_x 9", 0),
        ("state=ready", 15),
        ("state=active", 15),
        ("state=nonsense", 20),
        (f"search={values[0]}&state=all", 1),
    ):
        await visitor.open(f"/account?{query}")
        shown = min(count, 20)
        assert len(_titles(visitor)) == shown, query
        found = [value for value in values if value and value in visitor.html]
        assert not found, [visitor.html[visitor.html.index(one) - 120 :][:200] for one in found]
    await visitor.open("/account?search=nothing")
    assert "No tokens match this filter." in visitor.text
    # The details of every token can be reached on every screen.
    await visitor.open("/account")
    assert len(visitor.soup.select('.ticket .row a[href^="/account/tokens/"]')) == 20
