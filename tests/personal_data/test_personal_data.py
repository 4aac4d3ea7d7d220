"""A user's data is downloaded, and the account deleted; the ledger stays and still adds up."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from tests.kit.api import ALICE, BOB, buy, call, give, sign_up, sign_up_admin, user_id_of
from tests.kit.gates import GateClient, MakeGate, Stores
from tests.kit.payments import open_payment, send_webhook
from tests.kit.visitors import PASSWORD, Visitor, enable_two_factor, promote
from zenzefi.audit.log import GATE
from zenzefi.billing.payments import PAYMENTS
from zenzefi.cli import main
from zenzefi.db.base import metadata
from zenzefi.db.engine import DATABASE
from zenzefi.mail.models import mail_notices
from zenzefi.maintenance.reconciliation import reconcile
from zenzefi.tokens.models import proxy_sign_ins
from zenzefi.tokens.orders import ORDERS, Choice

PARTS = {
    *("account", "access_tokens", "transactions", "payments", "orders", "renewals", "promo_codes"),
    *("sessions", "sign_ins", "identities", "api_keys", "activity"),
}


def _read(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode("utf-8-sig") for name in archive.namelist()}


async def test_the_download_has_everything_of_one_user_and_no_secret(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="2.00")
    bearer = await sign_up(gate, ALICE | {"full_name": "=cmd()|Álice"})
    other = await sign_up(gate, BOB)
    await give(gate, "10.00")
    await give(gate, "10.00", BOB)
    values = [(await buy(gate, bearer))["token"] for _ in range(3)]
    await buy(gate, other)
    response = await gate.get(
        "/api/v1/users/me/data", headers={"Authorization": f"Bearer {bearer}"}
    )
    assert response.headers["Content-Type"] == "application/zip"
    files = _read(await response.read())
    assert set(files) == {f"{name}.{kind}" for name in PARTS for kind in ("json", "csv")}
    account = json.loads(files["account.json"])
    assert [(one["email"], one["currency_balance"]) for one in account] == [
        (ALICE["email"], "4.00")
    ]
    assert len(json.loads(files["access_tokens.json"])) == 3
    assert len(json.loads(files["transactions.json"])) == 4
    assert json.loads(files["payments.json"]) == []
    rows = list(csv.DictReader(io.StringIO(files["account.csv"])))
    assert not rows[0]["full_name"].startswith("="), "a spreadsheet would compute it"
    everything = "".join(files.values())
    assert BOB["email"] not in everything
    assert str(await user_id_of(gate, BOB)) not in everything
    for secret in (*values, "argon2", "secret_index", "token_encrypted", "password_hash"):
        assert secret not in everything
    assert (await gate.get("/api/v1/users/me/data")).status == 403


async def _mentions(gate: GateClient, texts: tuple[str, ...]) -> list[str]:
    """The columns of the database, other than of the audit log, that contain one of the texts."""
    found = []
    async with gate.app[DATABASE].read() as connection:
        for table in metadata.sorted_tables:
            if table.name in ("audit_logs", "idempotency_keys"):
                continue
            for row in await connection.execute(select(table)):
                for name, value in row._mapping.items():
                    if isinstance(value, str) and any(text in value for text in texts):
                        found.append(f"{table.name}.{name}")
    return found


async def test_a_deleted_account_is_gone_and_the_books_still_add_up(make_gate: MakeGate) -> None:
    gate = await make_gate(token_price_24h="2.00")
    bearer = await sign_up(gate, ALICE | {"full_name": "Alice Liddell"})
    admin = await sign_up_admin(gate)
    await give(gate, "10.00")
    token = await buy(gate, bearer)
    user_id = await user_id_of(gate)
    note = {"note": "Alice pays late"}
    await call(gate, "PATCH", f"/admin/users/{user_id}/note", bearer=admin, json=note)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            mail_notices.insert().values(
                user_id=user_id,
                kind="token_ended",
                event_id=uuid4(),
                content='{"what": "Alice\'s laptop"}',
                due_at=datetime.now(UTC),
            )
        )
        await connection.execute(
            proxy_sign_ins.insert().values(
                user_id=user_id,
                token_id=UUID(token["id"]),
                family_id=uuid4(),
                secret_index=bytes(32),
                network="203.0.113.9",
                agent="Alice's browser",
                is_sealed=True,
                expires_at=datetime.now(UTC),
            )
        )
    before = await reconcile(gate.app[DATABASE])
    for body, status in (
        ({}, 422),
        ({"current_password": "wrong"}, 403),
        ({"current_password": ALICE["password"]}, 200),
    ):
        assert (await call(gate, "POST", "/users/me/delete", bearer=bearer, json=body))[0] == status
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] in (401, 403)
    credentials = {"email": ALICE["email"], "password": ALICE["password"]}
    assert (await call(gate, "POST", "/auth/login", json=credentials))[0] == 401
    pseudonym = {"email": f"deleted-{user_id.hex}@deleted.invalid", "password": "!"}
    assert (await call(gate, "POST", "/auth/login", json=pseudonym))[0] == 401
    status, _ = await call(gate, "GET", "/proxy/status", headers={"X-Access-Token": token["token"]})
    assert status == 401
    assert await _mentions(gate, ("alice", "Alice", "Liddell", "203.0.113.9")) == []
    after = await reconcile(gate.app[DATABASE])
    assert (after.wrong, after.rows, after.accounts) == (0, before.rows, before.accounts)
    again = await sign_up(gate, ALICE)
    _, tokens = await call(gate, "GET", "/tokens/my-tokens?active_only=false", bearer=again)
    assert tokens == [], "the address is free again, and the new account is another one"


async def test_an_administrator_deletes_but_not_the_last_one(gate: GateClient) -> None:
    admin = await sign_up_admin(gate)
    bearer = await sign_up(gate)
    path = f"/admin/users/{await user_id_of(gate)}"
    assert (await call(gate, "DELETE", path, bearer=bearer))[0] == 403
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200
    assert (await call(gate, "DELETE", f"/admin/users/{uuid4()}", bearer=admin))[0] == 404
    root = await user_id_of(gate, {"username": "root"})
    status, refused = await call(gate, "DELETE", f"/admin/users/{root}", bearer=admin)
    assert (status, refused["code"]) == (409, "last_administrator")
    assert (await call(gate, "GET", "/users/me", bearer=admin))[0] == 200


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_the_pages_download_and_delete(gate: GateClient, language: str) -> None:
    root = await Visitor(gate, language).register("root")
    await promote(gate)
    visitor = await Visitor(gate, language).register("marta")
    await give(gate, "3", {"username": "marta"})
    app, codes = await enable_two_factor(visitor)
    assert app
    path = "/account/profile/data"
    await visitor.open(path)
    assert visitor.soup.select_one(f'a[href="{path}/download"]')
    assert "3" in visitor.soup.select_one(".notice--warn").get_text()
    headers = visitor._headers({})
    response = await gate.get(f"{path}/download", headers=headers)
    assert response.headers["Content-Disposition"] == 'attachment; filename="my-data.zip"'
    assert "marta@example.com" in _read(await response.read())["account.json"]
    await visitor.send(f"{path}/delete", current=PASSWORD, code=codes[0])
    assert visitor.status == 422
    assert visitor.soup.find(id="e-sure")
    await visitor.send(f"{path}/delete", current="wrong", code=codes[0], sure="yes")
    assert visitor.soup.find(id="e-current")
    await visitor.send(f"{path}/delete", current=PASSWORD, code="000000", sure="yes")
    assert visitor.soup.find(id="e-code")
    await visitor.send(f"{path}/delete", current=PASSWORD, code=codes[0], sure="yes", follow=False)
    assert (visitor.status, visitor.location) == (303, "/")
    await visitor.open("/account", follow=False)
    assert visitor.location.startswith("/login")
    await Visitor(gate).register("boris")
    person = f"/admin/users/{await user_id_of(gate, {'username': 'boris'})}"
    await root.open(f"{person}/help")
    await root.send(f"{person}/delete")
    assert root.soup.find("input", attrs={"name": "sure"}), "it asks first"
    await root.send(f"{person}/delete", sure="yes")
    await root.open("/admin/users")
    assert "boris" not in root.text
    assert root.text.count("deleted-") >= 2


def test_the_command_line_deletes(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (stores.settings | {"zenzefi_target_url": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.setenv("ZENZEFI_PASSWORD", "a long password")
    for name in ("ann", "root"):
        admin = ["--admin"] if name == "root" else []
        made = CliRunner().invoke(main, ["user", "create", f"{name}@example.com", *admin])
        assert made.exit_code == 0
    delete = ["user", "delete", "ann@example.com"]
    assert CliRunner().invoke(main, delete, input="n\n").exit_code == 1
    assert CliRunner().invoke(main, delete, input="y\n").exit_code == 0
    assert CliRunner().invoke(main, [*delete, "--yes"]).exit_code == 1, "there is no such address"
    last = CliRunner().invoke(main, ["user", "delete", "root@example.com", "--yes"])
    assert last.exit_code == 1
    assert "last active administrator" in last.output


async def test_a_payment_that_arrives_after_the_deletion_buys_nothing(make_gate: MakeGate) -> None:
    gate = await make_gate(debug=True, payment_providers=["mock"], token_price_24h="2.00")
    bearer = await sign_up(gate)
    user_id = await user_id_of(gate)
    payment_id = await open_payment(gate, bearer, "2.00")
    payments, choice = gate.app[PAYMENTS], Choice(duration_hours=24, scope="full")
    opened = await payments.find(UUID(payment_id))
    async with gate.app[DATABASE].begin() as connection:
        await gate.app[ORDERS].insert(connection, GATE, opened, choice, Decimal("2.00"))
    body = {"current_password": ALICE["password"]}
    assert (await call(gate, "POST", "/users/me/delete", bearer=bearer, json=body))[0] == 200
    assert await send_webhook(gate, payment_id, "paid", f"{opened.amount_rub}") == "credited"
    order = await gate.app[ORDERS].of_payment(UUID(payment_id))
    assert order is not None
    assert (order.status, order.token_id) == ("cancelled", None)
    assert (await reconcile(gate.app[DATABASE])).wrong == 0
    assert (await payments.find(UUID(payment_id))).user_id == user_id


async def test_nobody_brings_a_deleted_account_back(gate: GateClient) -> None:
    admin = await sign_up_admin(gate)
    await sign_up(gate)
    path = f"/admin/users/{await user_id_of(gate)}"
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200
    for method, operation, body in (
        ("PATCH", "", {"is_active": True}),
        ("PATCH", "", {"is_superuser": True}),
        ("PATCH", "/email", {"email": "new@example.com"}),
        ("PATCH", "/note", {"note": "was Alice"}),
        ("POST", "/tokens", {"duration_hours": 1, "reason": "x"}),
    ):
        status, _ = await call(gate, method, path + operation, bearer=admin, json=body)
        assert status == 404, operation
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200


async def test_the_download_names_currencies_and_orders(make_gate: MakeGate) -> None:
    gate = await make_gate(
        debug=True,
        payment_providers=["mock"],
        payment_currency="EUR",
        currency_rates='{"EUR": "0.5"}',
        token_price_24h="2.00",
    )
    bearer = await sign_up(gate)
    payment_id = await open_payment(gate, bearer, "2.00")
    opened = await gate.app[PAYMENTS].find(UUID(payment_id))
    choice = Choice(duration_hours=24, scope="full")
    async with gate.app[DATABASE].begin() as connection:
        await gate.app[ORDERS].insert(connection, GATE, opened, choice, Decimal("2.00"))
    response = await gate.get(
        "/api/v1/users/me/data", headers={"Authorization": f"Bearer {bearer}"}
    )
    files = _read(await response.read())
    assert [one["currency"] for one in json.loads(files["payments.json"])] == ["EUR"]
    assert [one["payment_id"] for one in json.loads(files["orders.json"])] == [payment_id]
