"""Groups and factors at the identity provider: administrators, scopes, two-step sign-in."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.kit.identity_provider import MakeWithProvider, Person, Provider, actions, sign_in
from tests.kit.visitors import Visitor, enable_two_factor
from zenzefi.accounts.models import users
from zenzefi.audit.log import Actor
from zenzefi.db.engine import DATABASE
from zenzefi.tokens.errors import ScopeNotAllowed
from zenzefi.tokens.service import TOKENS


async def test_groups_decide_who_administers(make: MakeWithProvider, provider: Provider) -> None:
    gate = await make({"admin_groups": ["gate-admins"]}, admin_two_factor=False)
    provider.claims = {"groups": ["staff", "gate-admins"]}
    root = Visitor(gate)
    await sign_in(root, provider)
    assert (await root.open("/admin")).status == 200
    # The last administrator stays one, not in the groups as well.
    provider.claims = {"groups": ["staff"]}
    await sign_in(root, provider)
    assert (await root.open("/admin")).status == 200
    provider.person = Person("2", "nina@example.com", True, "nina")
    provider.claims = {"groups": "gate-admins"}
    nina = Visitor(gate)
    await sign_in(nina, provider)
    assert (await nina.open("/admin")).status == 200
    for groups in ([], None, ["GATE-ADMINS"], [["gate-admins"]], {"gate-admins": True}):
        provider.claims = {"groups": groups}
        await sign_in(nina, provider)
        assert (await nina.open("/admin")).status == 403, groups
        provider.claims = {"groups": ["gate-admins"]}
        await sign_in(nina, provider)
        assert (await nina.open("/admin")).status == 200
    assert "user.changed" in await actions(gate)


async def test_groups_decide_which_scopes_can_be_bought(
    make: MakeWithProvider, provider: Provider
) -> None:
    options = {
        "groups_claim": "realm.roles",
        "group_scopes": {"staff": ["certificates_only"], "lead": ["full"]},
    }
    gate = await make(options, free_for_all=True, token_price_24h="0")
    provider.claims = {"realm": {"roles": ["staff", "other"]}}
    marta = Visitor(gate)
    await sign_in(marta, provider)
    await marta.open("/account/buy")
    offered = marta.soup.select("form[action='/account/buy'] [name=scope]")
    assert [one["value"] for one in offered] == ["certificates_only"]
    once = marta.soup.find("input", attrs={"name": "once"})["value"]
    sent = {"duration_hours": "24", "once": once}
    await marta.send("/account/buy", scope="full", **sent)
    assert marta.status == 422
    async with gate.app[DATABASE].begin() as connection:
        user_id = (await connection.execute(select(users.c.id))).scalar_one()
        tokens = gate.app[TOKENS]
        with pytest.raises(ScopeNotAllowed):
            await tokens.purchase(
                connection, Actor(user_id), user_id, duration_hours=24, scope="full"
            )
        await tokens.purchase(
            connection, Actor(user_id), user_id, duration_hours=24, scope="certificates_only"
        )
    # In no group with scopes: nothing can be bought.
    provider.claims = {"realm": {"roles": ["other"]}}
    await sign_in(marta, provider)
    await marta.open("/account/buy")
    assert marta.soup.select("[name=duration_hours]") == []
    provider.claims = {"realm": {"roles": ["lead", "staff"]}}
    await sign_in(marta, provider)
    await marta.open("/account/buy")
    await marta.send(
        "/account/buy",
        scope="full",
        duration_hours="24",
        once=marta.soup.find("input", attrs={"name": "once"})["value"],
    )
    assert marta.status == 200
    # An account without the provider is not restricted.
    nina = await Visitor(gate).register("nina")
    await nina.buy()
    assert nina.status == 200
    assert "user.allowed_scopes_changed" in await actions(gate)


async def test_a_second_factor_of_the_provider_counts_where_it_is_trusted(
    make: MakeWithProvider, provider: Provider
) -> None:
    admins = {"admin_groups": ["admins"], "trust_second_factor": True}
    gate = await make(admins, admin_two_factor=True)
    root = Visitor(gate)
    for methods in (["pwd"], None, "pwd", ["MFA"]):
        provider.claims = {"groups": ["admins"], "amr": methods}
        await sign_in(root, provider)
        await root.open("/admin")
        assert "requires two-step sign-in" in root.text, methods
    provider.claims = {"groups": ["admins"], "amr": ["pwd", "mfa"]}
    await sign_in(root, provider)
    assert (await root.open("/admin")).soup.title.get_text().startswith("Overview")
    await enable_two_factor(root)
    again = Visitor(gate)
    await sign_in(again, provider)
    assert (await again.open("/admin")).soup.title.get_text().startswith("Overview")
    # Without the trust of the operator the claim changes nothing.
    other = await make(admin_two_factor=True)
    suspicious = Visitor(other)
    await sign_in(suspicious, provider)
    assert "Enter your code" in suspicious.text
