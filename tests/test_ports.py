"""The ports that tests hand out do not collide."""

import socket
from itertools import combinations

import pytest

from tests.kit import ports


def test_no_port_is_handed_out_twice() -> None:
    taken = ports.free_ports(200)
    assert len(set(taken)) == len(taken)


def test_the_processes_of_a_run_have_separate_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for worker in ("master", "gw0", "gw1", "gw2", "gw3"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        parts.append(set(ports._part()))
    assert all(one.isdisjoint(other) for one, other in combinations(parts, 2))


def test_a_port_in_use_is_not_handed_out() -> None:
    port = ports.free_port()
    with socket.create_server(("127.0.0.1", port)):
        found = ports._Ports(range(port, port + 1))
        with pytest.raises(RuntimeError, match="no port is free"):
            found.take()
    assert found.take() == port


def test_ports_lie_below_those_that_the_system_assigns() -> None:
    with socket.socket() as assigned:
        assigned.bind(("127.0.0.1", 0))
        assert assigned.getsockname()[1] > ports._LAST
