"""Concurrent HTTP requests: each response matches the effect of the other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from tests.kit.api import buy, call, give, sign_up, sign_up_admin
from tests.kit.gates import GateClient, MakeGate, Stores, running_gate
from tests.kit.payments import MOCK, assert_whole, balance_of, open_payment, signed
from tests.kit.payments import mock_event as event
from tests.kit.recording_upstream import RecordingUpstream

PRICED: dict[str, Any] = {"token_price_1h": "1.00", "rate_limit_api": "off"}


async def test_revoking_and_first_use_over_http_have_one_outcome(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(zenzefi_target_url=upstream.origin, **PRICED)
    bearer = await sign_up(gate)
    await give(gate, "30.00")
    for number in range(16):
        token = await buy(gate, bearer, duration_hours=1)

        async def use(value: str, after: float) -> int:
            await asyncio.sleep(after)
            headers = {"X-Access-Token": value}
            async with gate.get("/api/v1/proxy/page", headers=headers) as response:
                return response.status

        async def revoke(path: str, after: float) -> str:
            await asyncio.sleep(after)
            return str((await call(gate, "DELETE", path, bearer=bearer))[1]["refund_amount"])

        ahead = (number % 8 - 4) / 1000  # now the one a little earlier, now the other
        used, refund = await asyncio.gather(
            use(token["token"], max(0.0, ahead)),
            revoke(f"/tokens/{token['id']}", max(0.0, -ahead)),
        )
        assert (used, refund) in {(200, "0.00"), (401, "1.00")}
    await assert_whole(gate)


async def _nodes(stores: Stores, stack: AsyncExitStack, count: int) -> list[GateClient]:
    settings = stores.settings | PRICED | MOCK
    return [await stack.enter_async_context(running_gate(**settings)) for _ in range(count)]


async def test_fifty_purchases_on_two_nodes_against_money_for_five_sell_five(
    stores: Stores,
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await _nodes(stores, stack, 2)
        bearer = await sign_up(nodes[0])
        await give(nodes[0], "5.00")
        body = {"duration_hours": 1}
        responses = await asyncio.gather(
            *(
                call(nodes[n % 2], "POST", "/tokens/purchase", bearer=bearer, json=body)
                for n in range(50)
            )
        )
        assert sorted(status for status, _ in responses) == [201] * 5 + [402] * 45
        assert await balance_of(nodes[1], bearer) == "0.00"
        await assert_whole(nodes[0])


async def test_a_hundred_replays_on_two_nodes_credit_once(stores: Stores) -> None:
    async with AsyncExitStack() as stack:
        nodes = await _nodes(stores, stack, 2)
        bearer = await sign_up(nodes[0])
        payment_id = await open_payment(nodes[0], bearer)
        webhook = signed(event(payment_id, "paid"))
        responses = await asyncio.gather(
            *(call(nodes[n % 2], "POST", "/webhooks/payment/mock", **webhook) for n in range(100))
        )
        assert {status for status, _ in responses} == {200}
        told = sorted(response["outcome"] for _, response in responses)
        assert told == ["credited"] + ["replay"] * 99
        assert await balance_of(nodes[1], bearer) == "10.00"
        await assert_whole(nodes[0])


async def test_a_confirmation_by_two_administrators_at_once_credits_once(stores: Stores) -> None:
    async with AsyncExitStack() as stack:
        settings = stores.settings | PRICED
        nodes = [await stack.enter_async_context(running_gate(**settings)) for _ in range(2)]
        bearer, admin = await sign_up(nodes[0]), await sign_up_admin(nodes[0])
        payment_id = await open_payment(nodes[0], bearer)
        path = f"/admin/payments/{payment_id}/confirm"
        responses = await asyncio.gather(
            *(call(nodes[n % 2], "POST", path, bearer=admin) for n in range(10))
        )
        assert {(status, response["status"]) for status, response in responses} == {
            (200, "succeeded")
        }
        assert await balance_of(nodes[0], bearer) == "10.00"
        _, audit = await call(
            nodes[0], "GET", "/admin/audit-logs?action=payment.confirmed", bearer=admin
        )
        assert audit["total"] == 1
        await assert_whole(nodes[0])
