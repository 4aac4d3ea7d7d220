"""A gate that runs out of file descriptors says so, and its own pages stay reachable."""

from __future__ import annotations

import json
import resource
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.gate_process import GateProcess

FEW = 160  # descriptors for a gate that needs some forty for itself


@pytest.fixture(params=["true", "false"], ids=["at once", "by a task"])
def gate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GateProcess]:
    running = GateProcess(
        str(tmp_path),
        FAST_LANE=request.param,
        ACCESS_LOG="false",
        LOG_FORMAT="json",
        METRICS_ON_MAIN_PORT="true",
    )
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
    yield running
    running.stop()


def connect(gate: GateProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gate.port), 20)


def healthy(gate: GateProcess) -> bool:
    for _ in range(5):
        if gate.get("/health").status != 200:
            return False
    return gate.get("/login").status == 200 and gate.get("/readyz").status == 200


def test_idle_connections_make_room_for_those_that_ask(gate: GateProcess) -> None:
    idle = [connect(gate) for _ in range(FEW * 2)]
    assert healthy(gate)
    # Those that have begun a request and do not go on are no better.
    for one in [connect(gate) for _ in range(FEW * 2)]:
        one.sendall(b"GET / HTTP/1.1\r\n")
        idle.append(one)
    assert healthy(gate)
    for one in idle:
        one.close()
    assert "too many open files: accepted=" in gate.output
    assert f"limit={FEW}" in gate.output
    assert gate.output.count("too many open files") < 10
    metrics = gate.get("/metrics").body.decode()
    assert 'descriptor_shortages_total{what="client"}' in metrics


def _post(gate: GateProcess, path: str, body: dict[str, object], **headers: str) -> dict[str, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{gate.port}/api/v1{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.load(response))


def test_what_holds_connections_to_the_upstream_leaves_the_reserve(gate: GateProcess) -> None:
    who = {"email": "a@example.com", "username": "alice", "password": "correct horse"}
    _post(gate, "/auth/register", dict(who))
    del who["username"]
    bearer = _post(gate, "/auth/login", dict(who))["access_token"]
    token = _post(
        gate, "/tokens/purchase", {"duration_hours": 1}, Authorization=f"Bearer {bearer}"
    )["token"]
    handshake = (
        "GET /api/v1/proxy/live/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Access-Token: {token}\r\n\r\n"
    ).encode()
    held, heads = [], []
    for _ in range(FEW):
        one = connect(gate)
        one.settimeout(20)
        one.sendall(handshake)
        held.append(one)
        heads.append(one.recv(4096).split(b"\r\n", 1)[0])
    statuses = {head.split(b" ")[1] for head in heads if head}
    assert b"503" in statuses, statuses
    assert healthy(gate)
    for one in held:
        one.close()
    for _ in range(60):
        with connect(gate) as again:
            again.settimeout(20)
            again.sendall(handshake)
            if again.recv(4096).split(b"\r\n", 1)[0] == heads[0]:
                break
        time.sleep(0.5)
    else:
        raise AssertionError("it does not recover")
