"""Who may register: everybody, invited people, mail domains; confirmed addresses and terms."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.kit.api import ALICE, BOB, buy, call, sign_in, sign_up, sign_up_admin
from tests.kit.gates import GateClient, MakeGate
from tests.kit.visitors import PASSWORD, Visitor, last_link, promote
from zenzefi.accounts.models import invitations, users
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE
from zenzefi.mail.queue import MAIL_QUEUE
from zenzefi.settings import SETTINGS, SettingsError, load_settings

TERMS = {"terms_version": "2026-11", "terms_url": "https://terms.example/"}


async def _register(gate: GateClient, **fields: Any) -> tuple[int, str | None]:
    status, response = await call(gate, "POST", "/auth/register", json=ALICE | fields)
    return status, response.get("code")


async def _invite(gate: GateClient, admin: str, **fields: Any) -> tuple[str, str]:
    """The ID of a new invitation, and its secret."""
    status, made = await call(gate, "POST", "/admin/invitations", bearer=admin, json=fields)
    assert status == 201, made
    return made["invitation"]["id"], made["link"].rpartition("invitation=")[2]


@pytest.fixture
async def inviting(make_gate: MakeGate) -> tuple[GateClient, str]:
    """A gate whose visitors need an invitation, and its administrator."""
    gate = await make_gate()
    admin = await sign_up_admin(gate)
    gate.app[SETTINGS].registration = "invitation"
    return gate, admin


async def test_an_invitation_registers_one_person(inviting: tuple[GateClient, str]) -> None:
    gate, admin = inviting
    assert await _register(gate) == (403, "invitation_required")
    for wrong in ("x", "x" * 43, "x" * 101):
        assert (await _register(gate, invitation=wrong))[0] in (403, 422)
    _, secret = await _invite(gate, admin, note="for Alice")
    taken = await _register(gate, email="root@example.com", invitation=secret)
    assert taken == (400, "email_taken"), "a failed registration does not use the link up"
    both = await asyncio.gather(
        _register(gate, invitation=secret),
        _register(gate, **BOB, invitation=secret),
    )
    assert sorted(both, key=str) == [(201, None), (403, "invitation_required")]
    _, listed = await call(gate, "GET", "/admin/invitations", bearer=admin)
    assert listed["total"] == 1
    assert listed["items"][0]["used_by"] is not None
    assert secret not in str(listed)


async def test_an_invitation_can_be_bound_expire_and_be_withdrawn(
    inviting: tuple[GateClient, str],
) -> None:
    gate, admin = inviting
    _, bound = await _invite(gate, admin, email="Alice@Example.com")
    assert await _register(gate, **BOB, invitation=bound) == (403, "invitation_required")
    assert await _register(gate, invitation=bound) == (201, None)
    first, withdrawn = await _invite(gate, admin)
    path = f"/admin/invitations/{first}"
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 200
    assert (await call(gate, "DELETE", path, bearer=admin))[0] == 404
    assert await _register(gate, **BOB, invitation=withdrawn) == (403, "invitation_required")
    _, expired = await _invite(gate, admin, days=1)
    async with gate.app[DATABASE].begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(invitations).values(expires_at=past))
    assert await _register(gate, **BOB, invitation=expired) == (403, "invitation_required")
    for wrong in ({"days": 91}, {"days": 0}, {"email": "nobody"}, {"note": "a\nb"}):
        assert (await call(gate, "POST", "/admin/invitations", bearer=admin, json=wrong))[0] == 422
    alice = await sign_in(gate)
    assert (await call(gate, "POST", "/admin/invitations", bearer=alice, json={}))[0] == 403


async def test_an_administrator_invites_on_the_page(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zenzefi.mail")
    gate = await make_gate(mail_url="log:", debug=True)
    root = await Visitor(gate).register("root")
    await promote(gate)
    gate.app[SETTINGS].registration = "invitation"
    await root.open("/admin/invitations")
    await root.send("/admin/invitations", email="nobody", days="7")
    assert root.status == 422
    await root.send("/admin/invitations", email="guest@example.com", note="", days="7")
    link = root.soup.find(id="invitation-link").get_text()
    path = link[link.index("/register") :]
    await gate.app[MAIL_QUEUE].join()
    assert path in caplog.text
    visitor = await Visitor(gate).open("/register")
    assert visitor.status == 403
    assert "You need an invitation" in visitor.text
    await visitor.open(path)
    assert visitor.soup.find(id="f-email")["value"] == "guest@example.com"
    secret = visitor.soup.find("input", attrs={"name": "invitation"})["value"]
    fields: dict[str, Any] = {"username": "guest", "password": PASSWORD, "invitation": secret}
    await visitor.send("/register", email="other@example.com", **fields)
    assert visitor.status == 422
    assert "for another address" in visitor.text
    await visitor.send("/register", email="guest@example.com", **fields)
    assert "Welcome!" in visitor.text
    await root.open("/admin/invitations")
    assert "used" in root.text
    assert secret not in root.html
    await root.send("/admin/invitations", days="1")
    await root.open("/admin/invitations")
    action = root.soup.select_one('form[action$="/withdraw"]')["action"]
    await root.send(action)
    assert "The invitation is withdrawn." in root.text
    await root.send(action)
    assert "no longer open" in root.text


async def test_mail_domains_and_confirmed_addresses(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zenzefi.mail")
    gate = await make_gate(
        mail_url="log:", debug=True, registration_domains="corp.example", rate_limit_login="off"
    )
    for address in ("a@example.com", "a@corp.example.com", "a@x.corp.example", "a@ncorp.example"):
        assert await _register(gate, email=address) == (400, "mail_domain_refused"), address
    assert await _register(gate, email="alice@CORP.example") == (201, None)
    bearer = await sign_in(gate, ALICE | {"email": "alice@corp.example"})
    assert (await call(gate, "GET", "/users/me", bearer=bearer))[0] == 200
    for method, path in (("GET", "/currency/balance"), ("POST", "/tokens/purchase")):
        status, refused = await call(gate, method, path, bearer=bearer, json={"duration_hours": 1})
        assert (status, refused["code"]) == (403, "address_not_confirmed")
    visitor = await Visitor(gate).open("/login")
    await visitor.send("/login", email="alice@corp.example", password=ALICE["password"])
    assert visitor.soup.h1.get_text() == "Confirm your e-mail address"
    for path in ("/account", "/account/buy", "/account/money", "/account/connect"):
        await visitor.open(path, follow=False)
        assert visitor.location == "/account/confirm-address", path
    await visitor.open("/account/profile")
    assert visitor.status == 200
    link = await last_link(gate, caplog, "/register/confirm")
    await visitor.open(link)
    await visitor.send("/register/confirm", link=link.partition("=")[2])
    assert visitor.soup.h1.get_text() == "My tokens"
    await buy(gate, bearer, duration_hours=1)


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_terms_are_accepted_and_their_version_is_kept(
    make_gate: MakeGate, language: str
) -> None:
    gate = await make_gate(**TERMS)
    assert await _register(gate) == (400, "terms_not_accepted")
    assert await _register(gate, accept_terms="2025-01") == (400, "terms_not_accepted")
    assert await _register(gate, accept_terms="2026-11") == (201, None)
    visitor = await Visitor(gate, language).open("/register")
    fields: dict[str, Any] = {
        "email": "marta@example.com",
        "username": "marta",
        "password": PASSWORD,
    }
    await visitor.send("/register", **fields)
    assert visitor.status == 422
    assert visitor.soup.find(id="e-accept_terms")
    box = visitor.soup.find(id="f-accept_terms")
    assert box["aria-invalid"] == "true"
    await visitor.send("/register", **fields, accept_terms=box["value"])
    assert visitor.status == 200
    gate.app[SETTINGS].terms_version = "2027-01"
    await visitor.open("/account")
    assert visitor.soup.select_one('main a[href="https://terms.example/"]')
    await visitor.send("/account/terms", accept_terms="2026-11", follow=False)
    assert visitor.location == "/account/terms", "the old version is not the one to accept"
    await visitor.open("/account/terms")
    await visitor.send("/account/terms", accept_terms="2027-01")
    await visitor.open("/account", follow=False)
    assert visitor.status == 200
    async with gate.app[DATABASE].read() as connection:
        row = (
            await connection.execute(
                select(users.c.terms_version, users.c.terms_accepted_at).where(
                    users.c.username == "marta"
                )
            )
        ).one()
        rows = (
            (
                await connection.execute(
                    select(audit_logs.c.details).where(
                        audit_logs.c.action.in_(("user.registered", "user.terms_accepted"))
                    )
                )
            )
            .scalars()
            .all()
        )
    assert row.terms_version == "2027-01"
    assert row.terms_accepted_at is not None
    assert sorted(re.findall(r"\d{4}-\d\d", " ".join(rows))) == ["2026-11", "2026-11", "2027-01"]


async def test_closed_registration_refuses_invitations_too(
    inviting: tuple[GateClient, str],
) -> None:
    gate, admin = inviting
    _, secret = await _invite(gate, admin)
    gate.app[SETTINGS].registration = "closed"
    assert await _register(gate, invitation=secret) == (403, "registration_closed")
    gate.app[SETTINGS].registration = "open"
    await sign_up(gate)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"require_confirmed_address": True}, "REQUIRE_CONFIRMED_ADDRESS needs MAIL_URL"),
        ({"registration_domains": "a.example"}, "REGISTRATION_DOMAINS needs MAIL_URL"),
        ({"registration_domains": "a.example, @b"}, "is not a mail domain"),
        ({"terms_version": "1"}, "TERMS_VERSION needs the terms"),
        ({"terms_version": "a b"}, "TERMS_VERSION"),
        ({"registration": "maybe"}, "REGISTRATION"),
    ],
)
def test_settings_that_can_not_work_are_refused(
    tmp_path: Any, values: dict[str, Any], text: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"data_dir": tmp_path, **values})
    assert text in str(refused.value.problems)
