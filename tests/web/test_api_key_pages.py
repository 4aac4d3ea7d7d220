"""The pages about API keys, as the user and as an administrator see them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.api import call
from tests.kit.gates import MakeGate
from tests.kit.visitors import PASSWORD, Visitor, promote
from zenzefi.mail.queue import MAIL_QUEUE

PATH = "/account/api-keys"


async def test_a_key_is_created_shown_once_and_revoked(
    make_gate: MakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="zenzefi.mail")
    gate = await make_gate(mail_url="log:", debug=True)
    visitor = await Visitor(gate).register()
    await visitor.open(PATH)
    assert "No keys yet" in visitor.text
    assert "admin:" not in visitor.html

    await visitor.send(PATH, name=" ", days="90", current="wrong")
    assert visitor.status == 422
    for error in ("Please fill this in.", "at least one permission", "not your current password"):
        assert error in visitor.text
    # A permission that the page does not offer is not granted either.
    form: dict[str, Any] = {
        "name": "<b>backup</b>",
        "days": "7",
        "current": PASSWORD,
        "admin:write": "on",
    }
    await visitor.send(PATH, **form)
    assert visitor.status == 422

    await visitor.send(PATH, **(form | {"account:read": "on"}))
    key = visitor.soup.find(id="api-key").get_text()
    assert (await call(gate, "GET", "/users/me", bearer=key))[0] == 200
    await gate.app[MAIL_QUEUE].join()
    assert "An API key was created" in caplog.text
    assert key not in caplog.text

    await visitor.open(PATH)
    assert key not in visitor.html
    assert "<b>backup</b>" in visitor.text
    assert "127.0.0.1" in visitor.text
    revoke = visitor.soup.select_one("td form")["action"]
    await visitor.send(revoke)
    assert "The key is revoked." in visitor.text
    assert visitor.soup.select_one("td form") is None
    assert (await call(gate, "GET", "/users/me", bearer=key))[0] == 401


async def test_users_and_keys_of_others_are_out_of_reach_and_administrators_revoke(
    make_gate: MakeGate,
) -> None:
    gate = await make_gate()
    owner, other = await Visitor(gate).register(), await Visitor(gate).register("other")
    root = await Visitor(gate, "ru").register("root")
    await promote(gate)
    await owner.open(PATH)
    await owner.send(PATH, name="backup", days="7", current=PASSWORD, buy="on")
    revoke = owner.soup.select_one("td form")["action"]
    await other.open(PATH)
    await other.send(revoke)
    assert other.status == 404
    await owner.open(PATH)
    assert owner.soup.select_one("td form") is not None

    await root.open("/admin/users?search=marta")
    person = root.soup.select_one("th a")["href"]
    await root.open(person)
    assert "Ключи API" in root.text
    await root.send(root.soup.select_one(f"form[action*='{person}/api-keys/']")["action"])
    assert "Ключ отозван." in root.text
    await owner.open(PATH)
    assert owner.soup.select_one("td form") is None
