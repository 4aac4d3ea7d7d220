"""``SECRET_KEY`` is replaced on two nodes, one after the other, under traffic."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.api import ALICE, buy, call, sign_up
from tests.kit.gates import GateClient, Stores, running_gate
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor
from tests.kit.waiting import until
from zenzefi.db.engine import DATABASE
from zenzefi.keys import KEYRING, Keyring
from zenzefi.maintenance.secret_keys import check_keys
from zenzefi.observability.metrics import REGISTRY
from zenzefi.runtime.nodes import RunningNode, conflicts, running_nodes
from zenzefi.settings import SETTINGS

OLD = "Zk3vQ9rT1xB7mN5cL8pW2sD6fG4hJ0aY-old"
NEW = "Rb8yU2wE6tI0oP4aS7dF1gH5jK9lZ3xC-new"
STEPS = [
    {"secret_key": OLD, "next_secret_key": NEW},
    {"secret_key": NEW, "previous_secret_keys": OLD},
]


class RotatedCluster:
    """Two nodes that are restarted with other keys, and what users hold from each of them."""

    def __init__(self, settings: dict[str, Any], upstream: str) -> None:
        self._settings = settings | {
            "zenzefi_target_url": upstream,
            "rate_limit_register": "off",
            "rate_limit_login": "off",
        }
        self.nodes: list[GateClient] = []
        self._stacks: list[AsyncExitStack] = []
        self._held: list[tuple[str, str, str]] = []  # bearer, token, device
        self._visitors: list[dict[str, str]] = []

    async def start(self, at: int, **keys: str) -> None:
        """Start node ``at`` (0 or 1) with these keys, instead of the one that runs there."""
        if at < len(self._stacks):
            await self._stacks[at].aclose()
        stack = AsyncExitStack()
        node = await stack.enter_async_context(running_gate(**(self._settings | keys)))
        self.nodes[at : at + 1], self._stacks[at : at + 1] = [node], [stack]

    async def stop(self) -> None:
        for stack in self._stacks:
            await stack.aclose()

    async def use(self) -> None:
        """Get new values from each node, and use everything that users hold on each node."""
        for node in self.nodes:
            name = f"user{len(self._held)}"
            who = ALICE | {"email": f"{name}@example.com", "username": name}
            bearer = await sign_up(node, who)
            bought = await buy(node, bearer)
            self._held.append((bearer, str(bought["token"]), f"device-of-{name}"))
            visitor = Visitor(node)
            await visitor.open("/login")
            await visitor.send("/login", email=who["email"], password=who["password"])
            self._visitors.append(visitor.cookies)
        for node in self.nodes:
            for bearer, token, device in self._held:
                status, listed = await call(node, "GET", "/tokens/my-tokens", bearer=bearer)
                assert status == 200
                assert token in str(listed)
                headers = {"X-Access-Token": token, "X-Device-ID": device}
                async with node.get("/api/v1/proxy/x", headers=headers) as response:
                    assert response.status == 200, await response.text()
                async with node.get(
                    "/api/v1/proxy/x", headers=headers | {"X-Device-ID": "another-device"}
                ) as response:
                    assert response.status == 409
            for cookies in self._visitors:
                page = Visitor(node, cookies=dict(cookies))
                assert (await page.open("/account", follow=False)).status == 200


@pytest.fixture
async def rotated(cluster: Stores, upstream: RecordingUpstream) -> AsyncIterator[RotatedCluster]:
    """Two nodes with the old key only."""
    found = RotatedCluster(cluster.settings, upstream.origin)
    try:
        for at in (0, 1):
            await found.start(at, secret_key=OLD)
        yield found
    finally:
        await found.stop()


async def test_nothing_fails_while_the_key_is_replaced_in_two_phases(
    rotated: RotatedCluster,
) -> None:
    await rotated.use()
    for keys in STEPS:
        for at in (0, 1):
            await rotated.start(at, **keys)
            await rotated.use()
    for node in rotated.nodes:
        found = await check_keys(node.app[SETTINGS], node.app[DATABASE])
        assert found.ok, found.detail


async def test_a_node_that_issues_with_a_key_others_do_not_know_is_reported(
    rotated: RotatedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    await rotated.start(0, secret_key=NEW, previous_secret_keys=OLD)  # the second step first
    new = rotated.nodes[0].app[KEYRING].fingerprints[0]
    await until(lambda: f"does not accept the issuing key {new}" in caplog.text)
    await until(lambda: REGISTRY.get_sample_value("secret_key_conflicts") == 1)
    for node in rotated.nodes:
        found = await check_keys(node.app[SETTINGS], node.app[DATABASE])
        assert not found.ok
        assert found.is_setting
    assert "add it to PREVIOUS_SECRET_KEYS" in found.detail
    assert NEW not in caplog.text + found.detail
    assert OLD not in caplog.text + found.detail


async def test_a_node_shows_the_fingerprints_of_its_keys_and_a_stopped_one_is_forgotten(
    rotated: RotatedCluster,
) -> None:
    database = rotated.nodes[0].app[DATABASE]
    async with rotated.nodes[0].get("/readyz") as response:
        shown = (await response.json())["secret_keys"]
    assert shown == list(Keyring(OLD).fingerprints)
    await rotated.start(1, **STEPS[0])
    async with rotated.nodes[1].get("/readyz") as response:
        assert (await response.json())["secret_keys"] == list(Keyring(OLD, [NEW]).fingerprints)
    recorded = {one.accepted for one in await running_nodes(database)}
    assert len(recorded) <= 2  # the process that node 1 was before has deleted its row
    await rotated.stop()


_KEYS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


@given(_KEYS, st.lists(_KEYS, max_size=3))
def test_nodes_conflict_exactly_when_one_can_not_read_what_the_other_makes(
    accepted: list[str], others: list[list[str]]
) -> None:
    nodes = [
        RunningNode(id=None, name=str(at), version="1", accepted=tuple(keys))  # type: ignore[arg-type]
        for at, keys in enumerate(others)
    ]
    readable = all(accepted[0] in keys and keys[0] in accepted for keys in others)
    assert (not conflicts(accepted, nodes)) == readable
