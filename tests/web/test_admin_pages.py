"""Pages for administrators over HTTP: who may, what they see, what they do."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import select, update

from tests.conftest import GateClient, MakeGate, Upstream
from tests.web.visitor import Visitor
from zenzefi.accounts.models import users
from zenzefi.db.engine import DATABASE

PAGES = ("", "/users", "/tokens", "/sessions", "/payments", "/audit", "/plugins", "/strays")


async def promote(gate: GateClient, name: str = "root") -> None:
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).where(users.c.username == name).values(is_superuser=True)
        )


async def id_of(gate: GateClient, name: str) -> str:
    async with gate.app[DATABASE].read() as connection:
        found = await connection.execute(select(users.c.id).where(users.c.username == name))
        return str(found.scalar_one())


@pytest.fixture
async def root(gate: GateClient) -> Visitor:
    """An administrator, signed in."""
    visitor = await Visitor(gate).register("root")
    await promote(gate)
    return await visitor.open("/admin")


async def test_users_and_strangers_see_nothing_of_it(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    for path in PAGES:
        await visitor.open(f"/admin{path}")
        assert visitor.status == 403, path
        assert "For administrators only" in visitor.text
    await visitor.open("/account")
    assert "/admin" not in visitor.html
    me = await id_of(gate, "marta")
    await visitor.send(f"/admin/users/{me}/credit", amount="100", reason="me")
    assert visitor.status == 403
    stranger = await Visitor(gate).open("/admin", follow=False)
    assert stranger.location == "/login?next=/admin"


async def test_every_page_opens(root: Visitor) -> None:
    for path in PAGES:
        await root.open(f"/admin{path}")
        assert root.status == 200, path
    await root.open("/admin")
    assert "all is well" in root.text or "limited" in root.text


async def test_a_user_is_found_credited_and_deactivated(gate: GateClient, root: Visitor) -> None:
    hostile = '"><img src=x>'
    user = await Visitor(gate).open("/register")
    await user.send(
        "/register", email="marta@example.com", username=hostile, password="correct horse"
    )
    await root.open("/admin/users?search=MARTA")
    assert hostile in root.text
    assert "<img" not in root.html
    path = root.soup.select_one("tbody a")["href"]
    await root.open(path)
    await root.send(f"{path}/credit", amount="12,50", reason="", transaction_type="bonus")
    assert root.status == 422
    assert root.soup.find(id="f-amount")["value"] == "12,50"
    assert root.soup.find(id="e-reason").get_text(strip=True) == "Please fill this in."
    await root.send(f"{path}/credit", amount="12,50", reason="sorry", transaction_type="purchase")
    assert root.status == 422
    await root.send(f"{path}/credit", amount="12,50", reason="sorry", transaction_type="bonus")
    assert "credited" in root.text
    await user.open("/account/money")
    assert "12.50" in user.text
    assert "sorry" in user.text
    await root.send(f"{path}/change", change="deactivate")
    assert "deactivated" in root.text
    await user.open("/account", follow=False)
    assert user.location.startswith("/login")


async def test_the_last_administrator_stays(gate: GateClient, root: Visitor) -> None:
    me = await id_of(gate, "root")
    await root.open(f"/admin/users/{me}")
    await root.send(f"/admin/users/{me}/change", change="demote")
    assert "This is the last administrator." in root.text
    await root.send(f"/admin/users/{me}/change", change="explode")
    assert root.status == 404


async def test_a_token_is_revoked_and_never_shown_whole(gate: GateClient, root: Visitor) -> None:
    user = await Visitor(gate).register("marta")
    await user.buy()
    value = user.soup.find(id="token-value").get_text()
    await root.open("/admin/tokens?state=active")
    assert value not in root.html
    assert value[:8] in root.text
    await root.send(root.soup.select_one('form[action$="/revoke"]')["action"])
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 401


async def test_a_session_is_listed_and_ended(
    gate: GateClient, root: Visitor, upstream: Upstream
) -> None:
    from zenzefi.tokens.usage import USAGE

    user = await Visitor(gate).register("marta")
    await user.buy()
    value = user.soup.find(id="token-value").get_text()
    await gate.get("/api/v1/proxy/x", headers={"X-Access-Token": value, "User-Agent": "<b>curl/1"})
    await gate.app[USAGE].flush()
    await root.open("/admin/sessions")
    assert "<b>" not in root.html
    await root.send(root.soup.select_one('form[action$="/end"]')["action"])
    assert "The session has ended" in root.text
    await user.open(user.soup.select_one('a[href^="/account/connect"]')["href"])
    await user.open("/account")
    await user.open(user.soup.select_one(".ticket__name")["href"])
    assert "127.0.0.1" in user.text


async def test_a_manual_payment_is_confirmed_once(make_gate: MakeGate) -> None:
    gate = await make_gate(payment_providers=["manual"])
    user = await Visitor(gate).register("marta")
    await user.open("/account/money")
    await user.send("/account/money/top-up", amount="10", provider="manual", once="x")
    admin = await Visitor(gate).register("root")
    await promote(gate)
    await admin.open("/admin/payments?status=pending")
    action = admin.soup.select_one('form[action$="/confirm"]')["action"]
    for _ in range(2):
        await admin.send(action)
    await user.open("/account/money")
    assert "10.00" in user.soup.select_one(".figure-big").get_text()


async def test_the_audit_log_is_filtered_and_exported_safely(
    gate: GateClient, root: Visitor
) -> None:
    await Visitor(gate).login("root", "wrong")
    await root.open("/admin/audit?action=user.sign_in_failed")
    assert len(root.soup.select("tbody tr")) == 1
    me = await id_of(gate, "root")
    await root.open(f"/admin/users/{me}")
    await root.send(
        f"/admin/users/{me}/credit", amount="1", reason="=1+1", transaction_type="bonus"
    )
    await root.open("/admin/audit.csv?action=user.credited")
    rows = list(csv.DictReader(io.StringIO(root.html)))
    assert [row["action"] for row in rows] == ["user.credited"]
    assert "=1+1" in rows[0]["details"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in rows[0].values())
    await root.open("/admin/audit?user=not-a-number&offset=zzz")
    assert root.status == 200


async def test_administration_can_insist_on_the_second_step(
    make_gate: MakeGate, upstream: Upstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, admin_two_factor=True)
    visitor = await Visitor(gate).register("root")
    await promote(gate)
    await visitor.open("/admin", follow=False)
    assert visitor.location == "/account/two-factor"


async def test_the_audit_log_names_the_visitor_and_not_the_proxy_in_front(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate(trusted_proxies="127.0.0.0/8")
    root = await Visitor(gate).register("root")
    await promote(gate)
    stranger = await Visitor(gate).open("/login")
    await stranger.send(
        "/login",
        headers={"X-Forwarded-For": "203.0.113.9"},
        email="root@example.com",
        password="a wrong guess",
    )
    await root.open("/admin/audit.csv?action=user.sign_in_failed")
    rows = list(csv.DictReader(io.StringIO(root.html)))
    assert "203.0.113.9" in rows[0].values()
