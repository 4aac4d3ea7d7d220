"""The benchmark of scale: a busy machine writes nothing, and targets say if they are reached."""

from __future__ import annotations

import sys

import pytest

from bench import machine
from bench.scale import __main__ as command_line
from bench.scale import sockets


def _measured(ended: float, longest_step: float) -> sockets.Measured:
    return sockets.Measured(
        sockets=10_000,
        opened=30,
        opening_step=0.01,
        bytes_each=30_000,
        bytes_before=90_000_000,
        idle_cpu=0.05,
        ended=ended,
        ended_cpu=0.9,
        longest_step=longest_step,
        codes={4401},
    )


def test_targets_of_a_revocation_say_whether_they_are_reached() -> None:
    reached = command_line.of_sockets(_measured(0.9, 0.02), busy=0.1)
    missed = command_line.of_sockets(_measured(5.97, 0.2), busy=0.1)
    assert "| all closed within 1 s | 0.90 s | yes |" in reached
    assert "| no step longer than 50 ms while they open | 10.00 ms | yes |" in reached
    assert "| no step longer than 50 ms meanwhile | 20.00 ms | yes |" in reached
    assert "| all closed within 1 s | 5.97 s | **no** |" in missed
    assert "| no step longer than 50 ms meanwhile | 200.00 ms | **no** |" in missed


@pytest.mark.parametrize(
    ("options", "load", "status", "is_written"),
    [
        ([], 0.5, 0, True),
        ([], 3.0, 2, False),
        (["--force"], 3.0, 0, False),
        (["--quick"], 3.0, 0, False),
    ],
)
def test_only_a_quiet_machine_writes_the_sections(
    options: list[str], load: float, status: int, is_written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(machine, "load", lambda: load)
    monkeypatch.setattr(sockets, "measure", lambda wanted, idle: _measured(0.9, 0.02))
    monkeypatch.setattr(command_line, "write", lambda name, section, path: written.append(name))
    monkeypatch.setattr(sys, "argv", ["bench.scale", "--tokens", "0", *options])
    assert command_line.main() == status
    assert bool(written) is is_written
