"""Device claims, on one node and on two, with and without Redis."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.kit.api import ALICE, buy, call, sign_up
from tests.kit.gates import GateClient, MakeGate, Stores, running_gate
from tests.kit.servers import own_redis
from tests.kit.tokens import active_token, subscribed, validator_of
from tests.kit.visitors import Visitor
from tests.kit.waiting import until
from zenzefi.settings import DevicePolicy
from zenzefi.tokens import devices as module
from zenzefi.tokens.devices import DEVICES, device_of
from zenzefi.tokens.errors import DeviceConflict, DeviceRequired, InvalidDeviceId
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.setup import REDIS_CACHE


async def test_one_device_claims_a_token_on_all_nodes(nodes: list[GateClient]) -> None:
    here, there = nodes
    bearer = await sign_up(here)
    token = await buy(here, bearer)
    access = await validator_of(here).validate(token["token"])
    responses = await asyncio.gather(
        *(nodes[n % 2].app[DEVICES].claim(access, f"device-{n}") for n in range(10)),
        return_exceptions=True,
    )
    (winner,) = [n for n, response in enumerate(responses) if response is None]
    assert sum(isinstance(response, DeviceConflict) for response in responses) == 9
    for node in nodes:
        await node.app[DEVICES].claim(access, f"device-{winner}")
        assert node.app[DEVICES].has_claim(access, f"device-{winner}")
    await call(there, "POST", f"/tokens/{token['id']}/release-device", bearer=bearer)
    await until(lambda: not here.app[DEVICES].has_claim(access, f"device-{winner}"))
    await here.app[DEVICES].claim(access, "another-device")
    with pytest.raises(DeviceConflict):
        await there.app[DEVICES].claim(access, f"device-{winner}")


async def test_a_claim_survives_the_loss_of_redis(cluster: Stores) -> None:
    with own_redis() as server:
        async with running_gate(**(cluster.settings | {"redis_url": server.url})) as node:
            token = await buy(node, await sign_up(node))
            access = await validator_of(node).validate(token["token"])
            await node.app[DEVICES].claim(access, "first-device")
            server.stop()
            with pytest.raises(DeviceConflict):
                await node.app[DEVICES].claim(access, "second-device")
            node.app[DEVICES]._claims.clear()
            await node.app[DEVICES].claim(access, "first-device")
            server.start()  # empty, without the claim
            await subscribed(node)
            node.app[REDIS_CACHE]._paused_until = 0.0
            with pytest.raises(DeviceConflict):
                await node.app[DEVICES].claim(access, "second-device")
            node.app[DEVICES]._claims.clear()
            await node.app[DEVICES].claim(access, "first-device")


async def test_without_redis_claims_are_kept_in_the_database(gate: GateClient) -> None:
    token = await buy(gate, await sign_up(gate))
    access = await validator_of(gate).validate(token["token"])
    devices = gate.app[DEVICES]
    await devices.claim(access, "first-device")
    with pytest.raises(DeviceConflict):
        await devices.claim(access, "second-device")
    await devices.release(UUID(token["id"]))
    await devices.claim(access, "second-device")


@pytest.mark.parametrize(
    "headers",
    [["short"], ["x" * 256], ["with space"], ["tab\tinside"], ["ünicode-id"], ["a" * 8] * 2],
)
def test_a_malformed_device_id_is_refused(headers: list[str]) -> None:
    with pytest.raises(InvalidDeviceId):
        device_of(headers, DevicePolicy.OPTIONAL)


def test_the_policy_decides_whether_a_device_id_is_required() -> None:
    assert device_of([], DevicePolicy.OPTIONAL) is None
    assert device_of(["0123456789abcdef0123"], DevicePolicy.REQUIRED) == "0123456789abcdef0123"
    with pytest.raises(DeviceRequired):
        device_of([], DevicePolicy.REQUIRED)


async def test_the_claim_of_an_idle_device_expires(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDLE", "KEEP", "_RENEW"):
        monkeypatch.setattr(module, name, 1 if name == "IDLE" else 0)
    _, access, _ = await active_token(gate)
    devices = gate.app[DEVICES]
    await devices.claim(access, "first-device")
    with pytest.raises(DeviceConflict):
        await devices.claim(access, "second-device")
    await asyncio.sleep(1.2)
    await devices.claim(access, "second-device")
    with pytest.raises(DeviceConflict):
        await devices.claim(access, "first-device")


async def test_open_connections_renew_the_claim(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDLE", "KEEP", "_RENEW"):
        monkeypatch.setattr(module, name, 1 if name == "IDLE" else 0)
    _, access, _ = await active_token(gate)
    devices = gate.app[DEVICES]
    await devices.claim(access, "first-device")
    with validator_of(gate).register(
        access, lambda _: None, ClientIdentity("first-device", "192.0.2.1", "")
    ):
        for _ in range(3):
            await asyncio.sleep(0.6)
            await devices.keep()
        with pytest.raises(DeviceConflict):
            await devices.claim(access, "second-device")
    await asyncio.sleep(1.2)
    await devices.claim(access, "second-device")


async def test_a_claim_in_use_is_refreshed_in_the_database(
    cluster: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis fails long after the claim was made, while the device is in use."""
    monkeypatch.setattr(module, "IDLE", 2)
    monkeypatch.setattr(module, "KEEP", 0)
    monkeypatch.setattr(module, "_RENEW", 1)
    with own_redis() as server:
        async with running_gate(**(cluster.settings | {"redis_url": server.url})) as node:
            await subscribed(node)
            _, access, _ = await active_token(node)
            devices = node.app[DEVICES]
            for _ in range(4):
                await devices.claim(access, "first-device")
                await asyncio.sleep(0.7)
                devices._claims.clear()
            await devices.keep()
            server.stop()
            with pytest.raises(DeviceConflict):
                await devices.claim(access, "second-device")


async def test_concurrent_requests_of_one_device_make_one_claim(
    gate: GateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, access, _ = await active_token(gate)
    devices = gate.app[DEVICES]
    made = 0
    claim = devices._claim

    async def counted(token_id: UUID, device: str) -> None:
        nonlocal made
        made += 1
        await claim(token_id, device)

    monkeypatch.setattr(devices, "_claim", counted)
    await asyncio.gather(*(devices.claim(access, "first-device") for _ in range(50)))
    assert made == 1


async def test_a_release_closes_open_connections(gate: GateClient) -> None:
    _, access, bearer = await active_token(gate)
    closed: list[str] = []
    validator_of(gate).register(access, closed.append)
    path = f"/tokens/{access.token_id}/release-device"
    status, response = await call(gate, "POST", path, bearer=bearer)
    assert (status, response["released"]) == (200, True)
    assert closed == ["The device was released."]


async def test_api_and_page_share_the_rate_limit_of_releases(make_gate: MakeGate) -> None:
    gate = await make_gate(rate_limit_release="2/hour")
    _, access, bearer = await active_token(gate)
    path = f"/tokens/{access.token_id}/release-device"
    visitor = Visitor(gate)
    await visitor.open("/login")
    await visitor.send("/login", email=ALICE["email"], password=ALICE["password"])
    page = f"/account/tokens/{access.token_id}"
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 200
    await visitor.open(page)
    await visitor.send(f"{page}/release", follow=False)
    assert visitor.status == 303
    assert (await call(gate, "POST", path, bearer=bearer))[0] == 429
    await visitor.open(page)
    await visitor.send(f"{page}/release", follow=False)
    assert visitor.status == 429
    assert "Retry-After" in visitor.headers
    # Another token has a separate count.
    token = await buy(gate, bearer)
    assert (await call(gate, "POST", f"/tokens/{token['id']}/release-device", bearer=bearer))[
        0
    ] == 200


async def test_a_release_without_redis_is_sent_when_redis_is_available(cluster: Stores) -> None:
    with own_redis() as server:
        async with running_gate(**(cluster.settings | {"redis_url": server.url})) as node:
            await subscribed(node)
            _, access, bearer = await active_token(node)
            devices = node.app[DEVICES]
            await devices.claim(access, "first-device")
            server.pause()  # it keeps its memory, unlike one that was killed
            try:
                path = f"/tokens/{access.token_id}/release-device"
                assert (await call(node, "POST", path, bearer=bearer))[0] == 200
            finally:
                server.resume()
            await until(lambda: not len(validator_of(node).invalidation))
            node.app[REDIS_CACHE]._paused_until = 0.0
            await devices.claim(access, "second-device")


async def test_the_device_conflict_page_explains_without_naming_the_device(
    gate: GateClient,
) -> None:
    token, _, _ = await active_token(gate)
    url, first, second = "/api/v1/proxy/x", "0123456789abcdef0000", "0123456789abcdef0001"
    headers = {"X-Access-Token": token}
    async with gate.get(url, headers=headers | {"X-Device-ID": first}) as response:
        assert response.status == 200
    async with gate.get(url, headers=headers | {"X-Device-ID": second}) as response:
        assert response.status == 409
        text = await response.text()
    assert "Release the device on your account page" in text
    assert "five minutes" in text
    assert first not in text
