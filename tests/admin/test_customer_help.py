"""Help for customers, on the page, over the API and from the command line; all audited."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from tests.kit.api import ALICE, BOB, buy, call, give, sign_in, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient, MakeGate, Stores
from tests.kit.visitors import PASSWORD, Visitor, enable_two_factor, last_link, promote
from zenzefi.accounts.identity import IDENTITIES
from zenzefi.accounts.links import LINKS, RESET_HOLD, Purpose
from zenzefi.accounts.models import one_time_links
from zenzefi.admin.customer_help import CUSTOMER_HELP
from zenzefi.audit.models import audit_logs
from zenzefi.cli import main
from zenzefi.db.engine import DATABASE
from zenzefi.errors import NotFound
from zenzefi.maintenance.reconciliation import reconcile

CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "reset-password", {}),
    ("POST", "reset-two-step", {}),
    ("PATCH", "email", {"email": "new@example.com"}),
    ("POST", "end-sign-ins", {}),
    ("GET", "note", {}),
    ("PATCH", "note", {"note": "x"}),
    ("POST", "debit", {"amount": "1", "reason": "x"}),
    ("POST", "tokens", {"duration_hours": 1, "reason": "x"}),
)


@pytest.fixture
async def mailing(make_gate: MakeGate, caplog: pytest.LogCaptureFixture) -> GateClient:
    """A gate that writes its e-mails to the log."""
    caplog.set_level("INFO", logger="zenzefi.mail")
    return await make_gate(mail_url="log:", debug=True, rate_limit_login="off")


async def _actions(gate: GateClient) -> list[str]:
    async with gate.app[DATABASE].read() as connection:
        rows = await connection.execute(select(audit_logs.c.action))
        return list(rows.scalars())


async def test_only_administrators_help(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    for method, name, body in CALLS:
        for user_id in (await user_id_of(gate), uuid4()):
            path = f"/admin/users/{user_id}/{name}"
            assert (await call(gate, method, path, bearer=bearer, json=body))[0] == 403, name
    assert (await call(gate, "POST", f"/admin/tokens/{uuid4()}/refund", bearer=bearer))[0] == 403
    admin = await sign_up_admin(gate)
    for method, name, body in CALLS[2:]:
        path = f"/admin/users/{uuid4()}/{name}"
        assert (await call(gate, method, path, bearer=admin, json=body))[0] == 404, name
    status, refused = await call(
        gate, "POST", f"/admin/users/{await user_id_of(gate)}/reset-password", bearer=admin
    )
    assert (status, refused["code"]) == (409, "mail_not_configured")


async def test_debits_notes_and_free_tokens_have_their_rows(gate: GateClient) -> None:
    admin = await sign_up_admin(gate)
    bearer = await sign_up(gate)
    await give(gate, "10.00")
    base = f"/admin/users/{await user_id_of(gate)}"
    body = {"amount": "4.00", "reason": "chargeback fee"}
    headers = {"Idempotency-Key": "one"}
    both = await asyncio.gather(
        *(
            call(gate, "POST", f"{base}/debit", bearer=admin, json=body, headers=headers)
            for _ in range(2)
        )
    )
    assert {status for status, _ in both} <= {200, 409}
    status, refused = await call(
        gate, "POST", f"{base}/debit", bearer=admin, json={"amount": "7", "reason": "x"}
    )
    assert (status, refused["code"]) == (402, "insufficient_balance")
    for wrong in ({"amount": "0", "reason": "x"}, {"amount": "1", "reason": " "}, {"amount": "1"}):
        assert (await call(gate, "POST", f"{base}/debit", bearer=admin, json=wrong))[0] == 422
    _, ledger = await call(gate, "GET", "/currency/transactions", bearer=bearer)
    assert (ledger["items"][0]["amount"], ledger["items"][0]["description"]) == (
        "-4.00",
        "chargeback fee",
    )
    await call(gate, "PATCH", f"{base}/note", bearer=admin, json={"note": "calls\nback"})
    assert (await call(gate, "GET", f"{base}/note", bearer=admin))[1] == {"note": "calls\nback"}
    _, me = await call(gate, "GET", "/users/me", bearer=bearer)
    assert "note" not in me
    issue = {"duration_hours": 24, "scope": "full", "reason": "outage"}
    status, issued = await call(gate, "POST", f"{base}/tokens", bearer=admin, json=issue)
    assert status == 201
    assert "token" not in issued
    status, _ = await call(
        gate, "POST", f"{base}/tokens", bearer=admin, json=issue | {"scope": "nothing"}
    )
    assert status == 422
    _, mine = await call(gate, "GET", "/tokens/my-tokens", bearer=bearer)
    assert [token["id"] for token in mine] == [issued["token_id"]]
    assert Decimal(mine[0]["cost_znc"]) == 0
    found = await _actions(gate)
    assert found.count("user.debited") == 1
    assert {"user.note_changed", "token.issued"} <= set(found)
    assert (await reconcile(gate.app[DATABASE])).wrong == 0


async def test_a_token_is_refunded_once(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="5.00")
    admin = await sign_up_admin(gate)
    bearer = await sign_up(gate)
    await give(gate, "5.00")
    token = await buy(gate, bearer)
    path = f"/admin/tokens/{token['id']}/refund"
    status, refunded = await call(gate, "POST", path, bearer=admin)
    assert (status, refunded) == (200, {"refund_amount": "5.00", "new_balance": "5.00"})
    assert (await call(gate, "POST", path, bearer=admin))[1]["refund_amount"] == "0.00"
    assert (await reconcile(gate.app[DATABASE])).wrong == 0


async def test_sign_ins_end_everywhere_and_tokens_stay(gate: GateClient) -> None:
    admin = await sign_up_admin(gate)
    bearer = await sign_up(gate)
    token = await buy(gate, bearer)
    visitor = await Visitor(gate).open("/login")
    await visitor.send("/login", email=ALICE["email"], password=ALICE["password"])
    base = f"/admin/users/{await user_id_of(gate)}"
    assert (await call(gate, "POST", f"{base}/end-sign-ins", bearer=admin))[0] == 200
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] == 401
    await visitor.open("/account", follow=False)
    assert visitor.location.startswith("/login")
    status, _ = await call(gate, "GET", "/proxy/status", headers={"X-Access-Token": token["token"]})
    assert status == 200
    await sign_in(gate)


async def test_an_address_is_corrected_and_the_old_links_die(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    gate = mailing
    admin = await sign_up_admin(gate)
    await sign_up(gate)
    await sign_up(gate, BOB)
    base = f"/admin/users/{await user_id_of(gate)}"
    await call(gate, "POST", f"{base}/reset-password", bearer=admin)
    link = await last_link(gate, caplog, "/login/reset")
    taken = await call(
        gate, "PATCH", f"{base}/email", bearer=admin, json={"email": "BOB@example.com"}
    )
    assert (taken[0], taken[1]["code"]) == (400, "email_taken")
    caplog.clear()
    body = {"email": "alice@new.example"}
    assert (await call(gate, "PATCH", f"{base}/email", bearer=admin, json=body))[0] == 200
    visitor = await Visitor(gate).open(link)
    await visitor.send("/login/reset", link=link.partition("=")[2], password="a new password")
    assert "expired or was already used" in visitor.html
    await last_link(gate, caplog, "/none")
    assert "e-mail to=alice@example.com" in caplog.text, "the old address is told"
    user = await gate.app[IDENTITIES].find(await user_id_of(gate))
    assert user is not None
    assert (user.email, user.email_verified_at) == ("alice@new.example", None)
    await sign_in(gate, ALICE | {"email": "alice@new.example"})


async def test_password_and_second_step_are_reset_by_links_only(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    gate = mailing
    root = await Visitor(gate).register("root")
    await promote(gate)
    visitor = await Visitor(gate).register("marta")
    await enable_two_factor(visitor)
    user_id = await user_id_of(gate, {"username": "marta"})
    path = f"/admin/users/{user_id}/help"
    await root.open(path)
    await root.send(path, action="reset-two-step")
    assert "A link is on its way to marta@example.com." in root.text
    link = await last_link(gate, caplog, "/login/reset-two-step")
    secret = link.partition("=")[2]
    assert secret
    assert secret not in root.html
    stranger = await Visitor(gate).register("eve")
    await stranger.open(link)
    fields: dict[str, Any] = {"link": secret}
    await stranger.send(
        "/login/reset-two-step", email="marta@example.com", current="wrong", **fields
    )
    assert stranger.status == 422, "the mailbox alone is not enough"
    await stranger.send(
        "/login/reset-two-step", email="eve@example.com", current=PASSWORD, **fields
    )
    assert "expired or was already used" in stranger.html, "the link is for one user"
    await stranger.open(link)
    await stranger.send(
        "/login/reset-two-step", email="marta@example.com", current=PASSWORD, **fields
    )
    assert "Two-step sign-in is off." in stranger.html
    await root.open(path)
    await root.send(path, action="reset-password")
    reset = await last_link(gate, caplog, "/login/reset")
    assert reset.partition("=")[2] not in root.html
    assert {"user.second_factor_link_sent", "user.reset_link_sent"} <= set(await _actions(gate))


async def test_a_mailbox_alone_never_ends_two_step_sign_in(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A thief of the mailbox has every link, but neither the password nor the authenticator app."""
    gate = mailing
    root = await Visitor(gate).register("root")
    await promote(gate)
    victim = await Visitor(gate).register("marta")
    await enable_two_factor(victim)
    help_page = f"/admin/users/{await user_id_of(gate, {'username': 'marta'})}/help"
    thief, mine = await Visitor(gate).open("/login/forgotten"), "a password of the thief"
    await thief.send("/login/forgotten", email="marta@example.com")
    reset = await last_link(gate, caplog, "/login/reset")
    await root.open(help_page)
    await root.send(help_page, action="reset-two-step")
    two_step = await last_link(gate, caplog, "/login/reset-two-step")
    await thief.open(reset)
    await thief.send("/login/reset", link=reset.partition("=")[2], password=mine)
    assert "The new password is set." in thief.html
    await thief.open(two_step)
    secret = two_step.partition("=")[2]
    await thief.send("/login/reset-two-step", email="marta@example.com", current=mine, link=secret)
    assert "expired or was already used" in thief.html
    # The other way round: the thief writes to the support after the new password.
    await root.open(help_page)
    await root.send(help_page, action="reset-two-step")
    assert "the mailbox alone would be enough for both" in root.text
    assert await last_link(gate, caplog, "/login/reset-two-step") == two_step
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(one_time_links).values(used_at=datetime.now(UTC) - RESET_HOLD)
        )
    await root.send(help_page, action="reset-two-step")
    assert "A link is on its way" in root.text


async def test_a_link_for_the_second_step_ends_links_for_the_password(
    mailing: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    gate = mailing
    victim = await Visitor(gate).register("marta")
    await enable_two_factor(victim)
    thief = await Visitor(gate).open("/login/forgotten")
    await thief.send("/login/forgotten", email="marta@example.com")
    reset = await last_link(gate, caplog, "/login/reset")
    marta = await gate.app[LINKS].find_user("marta@example.com")
    assert marta is not None
    secret = await gate.app[LINKS].issue(marta, Purpose.SECOND_FACTOR)
    owner = await Visitor(gate).open(f"/login/reset-two-step?link={secret}")
    await owner.send(
        "/login/reset-two-step", email="marta@example.com", current=PASSWORD, link=str(secret)
    )
    assert "Two-step sign-in is off." in owner.html
    await thief.open(reset)
    await thief.send("/login/reset", link=reset.partition("=")[2], password="of the thief")
    assert "expired or was already used" in thief.html


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_an_administrator_helps_on_the_page(gate: GateClient, language: str) -> None:
    root = await Visitor(gate, language).register("root")
    await promote(gate)
    await Visitor(gate).register("marta")
    await give(gate, "10", {"username": "marta"})
    person = f"/admin/users/{await user_id_of(gate, {'username': 'marta'})}"
    await root.open(f"{person}/help")
    ids = [field["id"] for field in root.soup.select("main [id]")]
    assert len(ids) == len(set(ids))
    assert root.soup.select("button[disabled]"), "without MAIL_URL no link can be sent"
    await root.send(f"{person}/help/note", note='<b>"rude"</b>\ncall')
    assert '<b>"rude"' in root.text
    await root.open(f"{person}/help")
    assert root.soup.find(id="f-note").get_text().replace("\r\n", "\n").endswith("call")
    once = root.soup.find("input", attrs={"name": "once"})["value"]
    fields: dict[str, Any] = {"duration_hours": "24", "scope": "full", "once": once}
    await root.send(f"{person}/help/token", **fields, reason="")
    assert root.status == 422
    for _ in range(2):
        await root.open(f"{person}/help")
        await root.send(f"{person}/help/token", **fields, reason="outage")
    assert len(root.soup.select('form[action$="/revoke"]')) == 1, "sent twice, issued once"
    await root.send(f"{person}/help/email", email="root@example.com")
    assert root.status == 422
    await root.open(person)
    once = root.soup.find("input", attrs={"name": "once"})["value"]
    debit: dict[str, Any] = {"transaction_type": "debit", "reason": "fee", "once": once}
    await root.send(f"{person}/credit", amount="11", **debit)
    assert root.status == 422
    await root.send(f"{person}/credit", amount="2,50", **debit)
    assert re.search(r"7[.,]50", root.text)
    await root.open(f"{person}/help")
    await root.send(f"{person}/help", action="explode")
    assert root.status == 404


def test_the_command_line_helps_too(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (stores.settings | {"zenzefi_target_url": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.setenv("ZENZEFI_PASSWORD", "a long password")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["user", *arguments])
        return result.exit_code, result.output

    assert run("create", "ann@example.com")[0] == 0
    assert run("credit", "ann@example.com", "12.50", "--reason", "cash")[1].endswith("12.50 ZNC.\n")
    assert run("debit", "ann@example.com", "2.50", "--reason", "fee")[1].endswith("10.00 ZNC.\n")
    assert run("debit", "ann@example.com", "99", "--reason", "fee")[0] == 1
    assert run("debit", "ann@example.com", "-1", "--reason", "fee")[0] == 2
    assert run("note", "ann@example.com", "pays by cash")[0] == 0
    assert run("note", "ann@example.com") == (0, "pays by cash\n")
    assert run("end-sign-ins", "ann@example.com")[0] == 0
    assert run("reset-password", "ann@example.com")[0] == 1
    assert run("set-email", "ann@example.com", "nonsense")[0] == 2
    assert run("set-email", "ann@example.com", "anna@example.com")[0] == 0
    assert run("note", "ann@example.com")[0] == 1
    monkeypatch.setenv("MAIL_URL", "log:")
    monkeypatch.setenv("DEBUG", "true")
    code, text = run("reset-password", "anna@example.com")
    assert code == 0
    assert "Sent a link to anna@example.com." in text
    assert run("reset-two-step", "anna@example.com")[0] == 1
    code, link = run("invite", "--email", "guest@example.com")
    assert code == 0
    assert re.search(r"/register\?invitation=[\w-]{43}\n$", link)


async def test_a_link_for_an_address_that_was_replaced_meanwhile_is_worth_nothing(
    gate: GateClient,
) -> None:
    """The e-mail is built later than the request: the address can change in between."""
    admin = await sign_up_admin(gate)
    await sign_up(gate)
    user_id = await user_id_of(gate)
    before = await gate.app[CUSTOMER_HELP].user(user_id)
    path = f"/admin/users/{user_id}/email"
    body = {"email": "new@example.com"}
    assert (await call(gate, "PATCH", path, bearer=admin, json=body))[0] == 200
    for purpose in Purpose:
        secret = await gate.app[LINKS].issue(before, purpose)
        assert secret is not None
        with pytest.raises(NotFound):
            await gate.app[LINKS].spend(purpose, secret)
        fresh = await gate.app[LINKS].issue(await gate.app[CUSTOMER_HELP].user(user_id), purpose)
        assert fresh is not None
        assert await gate.app[LINKS].spend(purpose, fresh) == user_id
