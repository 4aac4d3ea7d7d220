"""Pages for administrators over HTTP: who may, what they see, what they do."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.kit.gates import GateClient, MakeGate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor, promote
from zenzefi.accounts.models import users
from zenzefi.db.engine import DATABASE

PAGES = (
    *("", "/reports", "/users", "/tokens", "/sessions", "/payments", "/audit", "/plugins"),
    "/strays",
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
    assert "healthy" in root.text or "degraded" in root.text


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
    assert [field["id"] for field in root.soup.select("[aria-invalid]")] == ["f-reason"]
    assert root.soup.find(id="f-reason").has_attr("autofocus")
    await root.send(f"{path}/credit", amount="12,50", reason="sorry", transaction_type="purchase")
    assert root.status == 422
    assert [field["id"] for field in root.soup.select("[aria-invalid]")] == ["f-transaction_type"]
    sorry: dict[str, Any] = {"amount": "12,50", "reason": "sorry", "transaction_type": "bonus"}
    for _ in range(2):  # sent twice, it credits once
        await root.send(f"{path}/credit", once="one", **sorry)
        assert "credited" in root.text
    await user.open("/account/money")
    assert "12.50" in user.text
    assert "25.00" not in user.text
    assert "sorry" in user.text
    await root.send(f"{path}/change", change="deactivate")
    assert root.soup.h1.get_text() == f"Deactivate {hostile}?"
    assert "<img" not in root.html
    await user.open("/account", follow=False)
    assert user.status == 200  # asked only
    await root.send(f"{path}/change", change="deactivate", sure="yes")
    assert "deactivated" in root.text
    await user.open("/account", follow=False)
    assert user.location.startswith("/login")


SCRIPTS = [
    "<script>steal()</script>",
    '"><img src=x onerror=steal()>',
    "'><svg/onload=steal()>",
    "</title><script>steal()//",
]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_no_text_of_a_person_becomes_markup(
    gate: GateClient, root: Visitor, script: str
) -> None:
    """Names of a user, a token and a browser, and a reason, on every page that shows one."""
    user = await Visitor(gate).open("/register")
    await user.send(
        "/register", email="marta@example.com", username=script, password="correct horse"
    )
    token = await user.buy()
    await user.send(f"{token}/name", name=script)
    await user.open("/logout")
    await user.send("/login", email="marta@example.com", password="wrong horse")
    path = f"/admin/users/{await id_of(gate, script)}"
    await root.open(path, User_Agent=script)
    credit: dict[str, Any] = {"amount": "1.00", "reason": script, "transaction_type": "bonus"}
    await root.send(f"{path}/credit", once="one", **credit)
    pages = [path, *(f"/admin{page}" for page in PAGES)]
    owned = ["/account", token, "/account/money", "/account/profile"]
    shown = 0
    for visitor, paths in ((root, pages), (user, owned)):
        for page in paths:
            await visitor.open(page)
            shown += script in visitor.soup.get_text()
            for element in visitor.soup.find_all(True):
                assert not [name for name in element.attrs if name.startswith("on")], page
                if element.name == "script":
                    assert "steal" not in element.get_text(), page
            assert not visitor.soup.find("img", src="x"), page
    assert shown >= 3


async def test_the_last_administrator_stays(gate: GateClient, root: Visitor) -> None:
    me = await id_of(gate, "root")
    await root.open(f"/admin/users/{me}")
    await root.send(f"/admin/users/{me}/change", change="demote", sure="yes")
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
    action = root.soup.select_one('form[action$="/revoke"]')["action"]
    await root.send(action)
    assert f"Revoke the token {value[:8]}… of marta?" in root.text
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 200
    await root.send(action, sure="yes")
    status = await gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert status.status == 401
    await root.open("/admin/tokens?user=MARTA@example.com")
    assert "Revoked" in root.text
    await root.open("/admin/tokens?user=nobody-of-this-name")
    assert "No user with that name, e-mail or ID." in root.text
    assert not root.soup.select("tbody tr")


async def test_a_session_is_listed_and_ended(
    gate: GateClient, root: Visitor, upstream: RecordingUpstream
) -> None:
    from zenzefi.tokens.sessions import SESSION_TRACKER

    user = await Visitor(gate).register("marta")
    await user.buy()
    value = user.soup.find(id="token-value").get_text()
    await gate.get("/api/v1/proxy/x", headers={"X-Access-Token": value, "User-Agent": "<b>curl/1"})
    await gate.app[SESSION_TRACKER].flush()
    await root.open("/admin/sessions")
    assert "<b>" not in root.html
    assert f"{value[:8]}…" in root.soup.select_one("tbody tr").get_text()
    assert value not in root.html
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
    await admin.send(action)
    assert "Has the payment of marta arrived?" in admin.text
    for _ in range(2):
        await admin.send(action, sure="yes")
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
    await root.open("/admin/audit?offset=zzz")
    assert root.status == 200


@pytest.mark.parametrize("agent", ["=1+1", "+1", "-1+1", "@A1", "x;=1+1", "x\t-1", "=HYPERLINK(1)"])
async def test_a_cell_of_the_audit_export_is_no_formula(
    gate: GateClient, root: Visitor, agent: str
) -> None:
    await gate.post(
        "/api/v1/auth/login",
        json={"email": "root@example.com", "password": "a guess;=1+1"},
        headers={"User-Agent": agent},
    )
    await root.open("/admin/audit.csv?action=user.sign_in_failed")
    for divider in ",;\t":
        rows = list(csv.reader(io.StringIO(root.html), delimiter=divider))
        assert len(rows) >= 2
        for cell in (cell for row in rows for cell in row):
            assert not cell.lstrip(' "').startswith(("=", "+", "-", "@")), rows
    (row,) = csv.DictReader(io.StringIO(root.html))
    assert row["user_agent"].replace("'", "") == agent


async def test_the_audit_log_is_filtered_by_user_and_days(gate: GateClient, root: Visitor) -> None:
    marta = await Visitor(gate).register("marta")
    await Visitor(gate).login("marta", "wrong")
    for who in ("marta", "MARTA@example.com", await id_of(gate, "marta")):
        await root.open(f"/admin/audit?who={who}")
        said = [row.th.get_text(strip=True) for row in root.soup.select("tbody tr")]
        # Actions on the account are listed too: no user was signed in when the guess failed.
        assert said == ["Sign-in failed", "Registered"], who
    assert marta.soup
    row = root.soup.select_one("tbody tr").get_text(" ", strip=True)
    assert re.search(r"Request [0-9a-f]{8,}", row)
    assert "127.0.0.1" in row
    await root.open("/admin/audit?who=somebody-else")
    assert "No user with that name, e-mail or ID." in root.text
    assert not root.soup.select("tbody tr")
    today = datetime.now(UTC).date()
    for since, until, is_there in (
        (today, today, True),
        (today + timedelta(days=1), "", False),
        ("", today - timedelta(days=1), False),
    ):
        await root.open(f"/admin/audit?who=marta&since={since}&until={until}")
        assert bool(root.soup.select("tbody tr")) is is_there, (since, until)
        export = root.soup.select_one('a[href*="audit.csv"]')
        if is_there:
            await root.open(export["href"])
            assert len(list(csv.DictReader(io.StringIO(root.html)))) == 2
    for broken in ("yesterday", "2026-02-31", "0001-01-01", "9999-12-31"):
        await root.open(f"/admin/audit?since={broken}")
        assert "such as 2026-11-23" in root.text
        assert root.soup.find(id="f-since")["value"] == broken


async def test_the_overview_says_what_waits_for_somebody(make_gate: MakeGate) -> None:
    gate = await make_gate(payment_providers=["manual"])
    admin = await Visitor(gate).register("root")
    await promote(gate)
    await admin.open("/admin")
    assert "Needs attention" not in admin.text
    await admin.open("/account/money")
    await admin.send("/account/money/top-up", amount="10", provider="manual", once="x")
    await admin.open("/admin")
    assert "1 payment is awaiting confirmation" in admin.text
    assert admin.soup.select_one('main a[href="/admin/payments?status=pending"]')


async def test_administration_can_insist_on_the_second_step(
    make_gate: MakeGate, upstream: RecordingUpstream
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
