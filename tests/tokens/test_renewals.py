"""Renewals: one for each end, within the ceiling, also while others act on the account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from tests.kit.api import BOB, buy, call, give, sign_up
from tests.kit.gates import SECRET_KEY, GateClient, MakeGate, Stores, running_gate
from tests.kit.payments import assert_whole, balance_of
from tests.kit.visitors import Visitor
from zenzefi.accounts.models import users
from zenzefi.db.base import utcnow
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance.housekeeping import Housekeeping
from zenzefi.maintenance.reconciliation import reconcile
from zenzefi.observability.metrics import TOKEN_RENEWALS
from zenzefi.settings import SETTINGS
from zenzefi.tokens.models import access_tokens, renewals
from zenzefi.tokens.renewals import RENEWALS, Renewals
from zenzefi.tokens.service import Tokens

PRICED: dict[str, Any] = {
    "token_price_1h": "2.00",
    "token_price_24h": "18.00",
    "rate_limit_api": "off",
}


@pytest.fixture
async def shop(sqlite_database: str, tmp_path: Path) -> AsyncIterator[GateClient]:
    """A gate with prices on the embedded database: most rules do not depend on the database."""
    settings = PRICED | {"secret_key": SECRET_KEY, "data_dir": tmp_path / "gate"}
    async with running_gate(**settings) as gate:
        yield gate


async def renewed_token(gate: GateClient, bearer: str, ceiling: str = "2.00") -> str:
    """A token for an hour whose renewal is on; its ID."""
    token = await buy(gate, bearer, duration_hours=1, name="Office")
    status, found = await call(
        gate,
        "POST",
        f"/tokens/{token['id']}/renewal",
        bearer=bearer,
        json={"ceiling_znc": ceiling},
    )
    assert (status, found["status"]) == (200, "waiting")
    return str(token["id"])


async def end(gate: GateClient, *token_ids: str, hours_ago: float = 0.1) -> None:
    """The time of these tokens, an hour, has passed."""
    async with gate.app[DATABASE].begin() as connection:
        now = (await connection.execute(select(utcnow()))).scalar_one()
        await connection.execute(
            update(access_tokens)
            .where(access_tokens.c.id.in_([UUID(one) for one in token_ids]))
            .values(activated_at=now - timedelta(hours=1 + hours_ago))
        )


async def renewal(gate: GateClient, bearer: str, token_id: str) -> dict[str, Any]:
    status, found = await call(gate, "GET", f"/tokens/{token_id}/renewal", bearer=bearer)
    assert status == 200
    return dict(found)


async def count_of_tokens(gate: GateClient) -> int:
    async with gate.app[DATABASE].read() as connection:
        query = select(func.count()).select_from(access_tokens)
        return int((await connection.execute(query)).scalar_one())


async def test_a_token_that_ends_is_renewed_with_its_scope_and_name(make_gate: MakeGate) -> None:
    shop = await make_gate(**PRICED)
    bearer = await sign_up(shop)
    await give(shop, "5.00")
    token_id = await renewed_token(shop, bearer)
    await shop.app[RENEWALS].renew_ended()
    assert (await renewal(shop, bearer, token_id))["status"] == "waiting"  # it has not ended
    await end(shop, token_id)
    await shop.app[RENEWALS].renew_ended()
    found = await renewal(shop, bearer, token_id)
    assert (found["status"], found["price_znc"]) == ("renewed", "2.00")
    _, (new,) = await call(shop, "GET", "/tokens/my-tokens", bearer=bearer)
    assert new["id"] == found["next_token_id"]
    assert (new["name"], new["scope"], new["duration_hours"]) == ("Office", "full", 1)
    assert new["activated_at"] is None
    assert await balance_of(shop, bearer) == "1.00"
    again = await renewal(shop, bearer, new["id"])
    assert (again["status"], again["ceiling_znc"]) == ("waiting", "2.00")
    await assert_whole(shop)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("poor", "insufficient_balance"),
        ("dear", "price_above_ceiling"),
        ("off sale", "invalid_duration"),
        ("late", "too_late"),
    ],
)
async def test_a_renewal_that_is_not_possible_costs_nothing(
    shop: GateClient, case: str, reason: str
) -> None:
    bearer = await sign_up(shop)
    await give(shop, "3.00" if case == "poor" else "9.00")
    token_id = await renewed_token(shop, bearer)
    before = await balance_of(shop, bearer)
    if case in ("dear", "off sale"):
        shop.app[SETTINGS].token_price_1h = Decimal("2.01") if case == "dear" else "off"
    await end(shop, token_id, hours_ago=25 if case == "late" else 23)
    await asyncio.gather(*(shop.app[RENEWALS].renew_ended() for _ in range(2)))
    found = await renewal(shop, bearer, token_id)
    assert (found["status"], found["reason"]) == ("failed", reason)
    assert await balance_of(shop, bearer) == before
    assert await count_of_tokens(shop) == 1
    await assert_whole(shop)


async def test_a_renewal_that_was_stopped_is_not_made(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await give(shop, "9.00")
    token_id = await renewed_token(shop, bearer)
    path = f"/tokens/{token_id}/renewal"
    for _ in range(2):
        status, found = await call(shop, "DELETE", path, bearer=bearer)
        assert (status, found["status"], found["reason"]) == (200, "stopped", "stopped_by_owner")
    await end(shop, token_id)
    await shop.app[RENEWALS].renew_ended()
    assert await count_of_tokens(shop) == 1
    status, error = await call(shop, "POST", path, bearer=bearer, json={"ceiling_znc": "2"})
    assert (status, error["code"]) == (409, "not_renewable")


async def test_a_revoked_token_and_a_deactivated_user_are_not_charged(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await give(shop, "9.00")
    revoked, other = await renewed_token(shop, bearer), await renewed_token(shop, bearer)
    await call(shop, "DELETE", f"/tokens/{revoked}", bearer=bearer)
    await end(shop, revoked, other)
    async with shop.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(is_active=False))
    await shop.app[RENEWALS].renew_ended()
    assert await count_of_tokens(shop) == 2
    async with shop.app[DATABASE].read() as connection:
        rows = (await connection.execute(select(renewals.c.status))).scalars().all()
    assert rows == ["stopped", "stopped"]
    await assert_whole(shop)


async def test_two_nodes_renew_each_token_once_while_owners_stop_and_buy(stores: Stores) -> None:
    async with AsyncExitStack() as stack:
        settings = stores.settings | PRICED
        nodes = [await stack.enter_async_context(running_gate(**settings)) for _ in range(2)]
        bearer = await sign_up(nodes[0])
        await give(nodes[0], "24.00")
        ids = [await renewed_token(nodes[0], bearer) for _ in range(6)]
        await end(nodes[0], *ids)
        work: list[Any] = [nodes[n % 2].app[RENEWALS].renew_ended() for n in range(8)]
        work += [
            call(nodes[n % 2], "DELETE", f"/tokens/{one}/renewal", bearer=bearer)
            for n, one in enumerate(ids[:3])
        ]
        work.append(
            call(nodes[1], "POST", "/tokens/purchase", bearer=bearer, json={"duration_hours": 1})
        )
        await asyncio.gather(*work)
        await nodes[0].app[RENEWALS].renew_ended()
        found = [await renewal(nodes[1], bearer, one) for one in ids]
        made = [one["next_token_id"] for one in found if one["status"] == "renewed"]
        assert len(set(made)) == len(made) >= 3
        assert all(one["status"] in ("renewed", "stopped") for one in found)
        assert await count_of_tokens(nodes[0]) == 7 + len(made)
        assert await balance_of(nodes[1], bearer) == f"{24 - 14 - 2 * len(made):.2f}"
        await assert_whole(nodes[0])


async def test_a_renewal_of_another_user_is_not_found(shop: GateClient) -> None:
    bearer, other = await sign_up(shop), await sign_up(shop, BOB)
    await give(shop, "9.00")
    token_id = await renewed_token(shop, bearer)
    path = f"/tokens/{token_id}/renewal"
    for method, body in (("GET", None), ("POST", {"ceiling_znc": "9"}), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        assert (await call(shop, method, path, bearer=other, **options))[0] == 404
    assert (await renewal(shop, bearer, token_id))["ceiling_znc"] == "2.00"


async def test_an_error_in_one_renewal_does_not_stop_the_others(
    shop: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(shop)
    await give(shop, "9.00")
    ids = [await renewed_token(shop, bearer) for _ in range(2)]
    await end(shop, ids[0], hours_ago=0.5)
    await end(shop, ids[1])
    price, failures = Tokens.price, [RuntimeError("broken")]

    async def fail_once(*arguments: Any) -> Decimal:
        if failures:
            raise failures.pop()
        return await price(*arguments)

    monkeypatch.setattr(Tokens, "price", fail_once)
    before = TOKEN_RENEWALS.labels("interrupted")._value.get()
    await shop.app[RENEWALS].renew_ended()
    assert TOKEN_RENEWALS.labels("interrupted")._value.get() == before + 1
    assert [(await renewal(shop, bearer, one))["status"] for one in ids] == ["waiting", "renewed"]
    await shop.app[RENEWALS].renew_ended()
    assert (await renewal(shop, bearer, ids[0]))["status"] == "renewed"
    await assert_whole(shop)


async def test_renewals_that_are_interrupted_again_and_again_hold_up_no_others(
    shop: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bearer = await sign_up(shop)
    await give(shop, "9.00")
    ids = [await renewed_token(shop, bearer) for _ in range(3)]
    for hours_ago, one in zip((0.9, 0.8, 0.1), ids, strict=True):
        await end(shop, one, hours_ago=hours_ago)
    renew = Renewals._renew

    async def only_the_last(self: Renewals, token_id: UUID, user_id: UUID) -> None:
        if str(token_id) != ids[-1]:
            raise RuntimeError("broken")
        await renew(self, token_id, user_id)

    monkeypatch.setattr(Renewals, "_renew", only_the_last)
    monkeypatch.setattr("zenzefi.tokens.renewals._BATCH", 1)
    await shop.app[RENEWALS].renew_ended()
    found = [(await renewal(shop, bearer, one))["status"] for one in ids]
    assert found == ["waiting", "waiting", "renewed"]


@pytest.mark.parametrize("wrong", ["early", "other price"])
async def test_reconciliation_finds_a_wrong_renewal(make_gate: MakeGate, wrong: str) -> None:
    shop = await make_gate(**PRICED)
    bearer = await sign_up(shop)
    await give(shop, "9.00")
    token_id = await renewed_token(shop, bearer)
    await end(shop, token_id)
    await shop.app[RENEWALS].renew_ended()
    if wrong == "early":
        await end(shop, token_id, hours_ago=-0.5)
    else:
        async with shop.app[DATABASE].begin() as connection:
            made = renewals.c.status == "renewed"
            await connection.execute(update(renewals).where(made).values(price=Decimal("1.00")))
    found = (await reconcile(shop.app[DATABASE])).discrepancies
    assert [one.text for one in found] == ["a renewal does not match its tokens"]


async def test_old_renewals_that_did_not_happen_are_deleted(shop: GateClient) -> None:
    bearer = await sign_up(shop)
    await give(shop, "9.00")
    done, stopped = await renewed_token(shop, bearer), await renewed_token(shop, bearer)
    await call(shop, "DELETE", f"/tokens/{stopped}/renewal", bearer=bearer)
    await end(shop, done)
    await shop.app[RENEWALS].renew_ended()
    async with shop.app[DATABASE].begin() as connection:
        now = (await connection.execute(select(utcnow()))).scalar_one()
        await connection.execute(update(renewals).values(updated_at=now - timedelta(days=31)))
    await Housekeeping(shop.app[DATABASE], audit_retention=timedelta(days=1)).sweep()
    async with shop.app[DATABASE].read() as connection:
        rows = (await connection.execute(select(renewals.c.status))).scalars().all()
    assert sorted(rows) == ["renewed", "waiting"]


async def test_the_page_switches_a_renewal_on_and_off_with_one_click(shop: GateClient) -> None:
    visitor = await Visitor(shop).register("alice")
    await give(shop, "40.00")
    path = await visitor.buy(1)
    assert visitor.soup.find(id="f-ceiling")["value"] == "2.00"
    await visitor.send(f"{path}/renewal", ceiling="two")
    assert (visitor.status, "Please enter an amount" in visitor.text) == (422, True)
    await visitor.send(f"{path}/renewal", ceiling="2,50")
    assert "for at most 2.50 ZNC" in visitor.text.replace("\xa0", " ")
    await visitor.send(f"{path}/renewal/stop")
    assert "The token will not be renewed." in visitor.text
    await visitor.send(f"{path}/renewal", ceiling="2.50")
    token_id = path.rsplit("/", 1)[1]
    await end(shop, token_id)
    await shop.app[RENEWALS].renew_ended()
    await visitor.open(path)
    assert "This token was renewed for 2.00 ZNC." in visitor.text.replace("\xa0", " ")
    await visitor.open(visitor.soup.find("a", string="Show the new token")["href"])
    assert visitor.soup.select_one('form[action$="/renewal/stop"]')
    await visitor.send(f"{path}/renewal/stop")
    assert "The token has been renewed before." in visitor.text


async def test_the_page_says_why_a_token_was_not_renewed(shop: GateClient) -> None:
    visitor = await Visitor(shop).register("alice")
    await give(shop, "2.00")
    path = await visitor.buy(1)
    await visitor.send(f"{path}/renewal", ceiling="2")
    await end(shop, path.rsplit("/", 1)[1])
    await shop.app[RENEWALS].renew_ended()
    await visitor.open(path)
    assert "could not be renewed. The balance was too low." in visitor.text
