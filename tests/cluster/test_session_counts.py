"""First uses on two nodes at once, and what is counted when a node stops or crashes."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.kit.cluster import Cluster
from tests.kit.open_connections import open_connections
from zenzefi.tokens.sessions import INTERVAL

_COUNT_ACTIVATIONS = """
CREATE TABLE IF NOT EXISTS seen_activations (token_id uuid, at timestamptz);
CREATE OR REPLACE FUNCTION see_activation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO seen_activations VALUES (NEW.id, NEW.activated_at);
  RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER see_activation AFTER UPDATE OF activated_at ON access_tokens
  FOR EACH ROW EXECUTE FUNCTION see_activation();
"""


async def test_of_a_hundred_first_uses_on_two_nodes_one_starts_the_clock(cluster: Cluster) -> None:
    token = await cluster.buy(await cluster.sign_up())
    async with cluster.database() as connection:
        await connection.execute(_COUNT_ACTIVATIONS)
        try:
            responses = await asyncio.gather(
                *(cluster.get(number % 2, token.value) for number in range(100))
            )
            assert {status for status, _ in responses} == {200}
            rows = await connection.fetch(
                "SELECT at FROM seen_activations WHERE token_id = $1", token.id
            )
        finally:
            await connection.execute("DROP TRIGGER see_activation ON access_tokens")
    assert len(rows) == 1
    told = set()
    for node in (0, 1):
        headers = {"X-Access-Token": token.value}
        url = cluster.url(node, "/api/v1/proxy/status")
        async with cluster.session.get(url, headers=headers) as response:
            told.add((await response.json())["expires_at"])
    assert len(told) == 1


async def _counted(cluster: Cluster, bearer: str) -> dict[str, int]:
    """Requests by agent."""
    _, listed = await cluster.call(0, "GET", "/tokens/sessions", bearer)
    return {session["agent"]: session["requests"] for session in listed["items"]}


async def test_a_node_that_is_stopped_loses_no_count(cluster: Cluster) -> None:
    node = cluster.servers.start_node()
    number = cluster.servers.nodes.index(node)
    token = await cluster.buy(await cluster.sign_up())
    open_ = await open_connections(
        cluster, number, token.value, ways=("websocket",), User_Agent="socket"
    )
    for _ in range(20):
        assert (await cluster.get(number, token.value, User_Agent="stopped"))[0] == 200
    node.process.send_signal(signal.SIGTERM)
    await open_.all_ended()
    assert open_.close_code == 1001
    assert await asyncio.to_thread(node.wait) == 0
    cluster.servers.nodes.remove(node)
    assert await _counted(cluster, token.bearer) == {"stopped": 20, "socket": 1}


async def test_a_node_that_crashes_loses_one_interval_at_most(cluster: Cluster) -> None:
    node = cluster.servers.start_node()
    number = cluster.servers.nodes.index(node)
    token = await cluster.buy(await cluster.sign_up())
    sent: list[float] = []
    try:
        until_ = time.monotonic() + INTERVAL + 2.5
        while time.monotonic() < until_:
            assert (await cluster.get(number, token.value, User_Agent="crashed"))[0] == 200
            sent.append(time.monotonic())
            await asyncio.sleep(0.02)
        node.process.kill()
        crashed = time.monotonic()
    finally:
        node.process.kill()
        node.wait()
        cluster.servers.nodes.remove(node)
    counted = (await _counted(cluster, token.bearer)).get("crashed", 0)
    # Requests without a task are reported once a second; the machine may be busy.
    safe = [at for at in sent if at < crashed - INTERVAL - 2]
    assert len(safe) <= counted <= len(sent)
    assert counted > 0
    # The other node takes over its work.
    assert (await cluster.get(0, token.value))[0] == 200


async def test_a_crashed_node_keeps_no_device(cluster: Cluster) -> None:
    """The claim is the cluster's: the device goes on at another node, a second one does not."""
    node = cluster.servers.start_node()
    number = cluster.servers.nodes.index(node)
    token = await cluster.buy(await cluster.sign_up())
    device, other = "0123456789abcdef0000", "0123456789abcdef0001"
    assert (await cluster.get(number, token.value, X_Device_ID=device))[0] == 200
    node.process.kill()
    node.wait()
    cluster.servers.nodes.remove(node)
    assert (await cluster.get(0, token.value, X_Device_ID=device))[0] == 200
    assert (await cluster.get(1, token.value, X_Device_ID=other))[0] == 409
