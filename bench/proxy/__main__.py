"""Compare the gate with its peers: ``python -m bench.proxy [--quick]``.

Each round runs every case against every program in turn, so that other load on the machine affects
all of them alike. The table shows the median of the rounds. The load generator and the upstream
share the first core; the program under test has the second. Writes ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from bench.proxy import kernel, load, report
from bench.proxy.load import Load, LoadFailed
from bench.proxy.programs import (
    ROOT,
    Gate,
    HttpProxy3,
    Mitmproxy,
    Nginx,
    ObviousAiohttp,
    Peer,
    Skipped,
    Undici,
    free_port,
    start,
    wait_for,
)
from bench.proxy.report import CASES, Measurement, Outcome
from bench.proxy.upstream import LARGE


def run_case(peer: Peer, case: str, seconds: float) -> Load:
    """One case against one program."""
    if case == "1 KB":
        return load.requests(peer.target, "/1k", seconds)
    if case == "100 KB":
        return load.requests(peer.target, "/100k", seconds)
    if case == "128 MB down":
        return load.download(peer.target, "/128m", LARGE)
    if case == "128 MB up":
        return load.upload(peer.target, "/sink", LARGE)
    size = 100 if case == "WebSocket 100 B" else 65536
    return load.websocket(peer.target, "/echo", size, seconds)


def measure(peers: list[Peer], cases: list[str], rounds: int, seconds: float) -> list[Measurement]:
    """All rounds, interleaved: one measurement for each program, case and round."""
    measurements: list[Measurement] = []
    broken: set[tuple[str, str]] = set()
    for number in range(rounds):
        for case in cases:
            for peer in peers:
                if (peer.name, case) in broken:
                    continue
                if case.startswith("WebSocket") and not peer.websocket:
                    continue
                assert peer.process is not None
                try:
                    load.prime(peer.target, "/1k")
                    before = kernel.cpu_seconds(peer.process.pid)
                    done = run_case(peer, case, seconds)
                    cpu = kernel.cpu_seconds(peer.process.pid) - before
                except (LoadFailed, OSError, TimeoutError) as error:
                    broken.add((peer.name, case))
                    print(f"  {peer.name}: {case} failed: {error}", file=sys.stderr)
                    continue
                measurements.append(
                    Measurement(
                        peer.name,
                        case,
                        rate=done.work / done.seconds,
                        cpu=cpu / done.work,
                        p50=done.p50,
                        p99=done.p99,
                    )
                )
                last = measurements[-1]
                print(
                    f"  round {number + 1} {case:16} {peer.name:28} {last.rate:10.0f}/s "
                    f"{last.cpu * 1e6:9.1f} us",
                    file=sys.stderr,
                )
    return measurements


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round (under 2 minutes)")
    parser.add_argument("--rounds", type=int, help="rounds (default 5; quick 1)")
    parser.add_argument("--seconds", type=float, help="seconds for each run (default 3; quick 1)")
    parser.add_argument("--peers", help="only programs whose name contains one of these (comma)")
    parser.add_argument("--cases", help="only cases whose name contains one of these (comma)")
    parser.add_argument("--json", type=Path, help="also write every measurement to this file")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md")
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else 5)
    seconds = given.seconds or (1 if given.quick else 3)
    cores = sorted(os.sched_getaffinity(0))
    load_core, gate_core = cores[0], cores[-1]
    os.sched_setaffinity(0, {load_core})

    load_before = os.getloadavg()[0]
    behind = free_port()
    upstream = start(
        [sys.executable, "-m", "bench.proxy.upstream", str(behind)], load_core, cwd=ROOT
    )
    here = str(gate_core)
    everywhere = ",".join(map(str, cores))
    candidates: list[Peer] = [
        Gate(behind, here),
        Gate(behind, here, fast_lane=False),
        Nginx(behind, here),
        Nginx(behind, here, auth=True),
        Undici(behind, here),
        HttpProxy3(behind, here),
        ObviousAiohttp(behind, here),
        Mitmproxy(behind, here),
    ]
    if len(cores) > 1:
        candidates.append(Gate(behind, everywhere, workers=2))
    chosen = [word for word in (given.peers or "").split(",") if word]
    cases = [c for c in CASES if not given.cases or any(w in c for w in given.cases.split(","))]
    peers: list[Peer] = []
    skipped: dict[str, str] = {}
    try:
        wait_for(behind, upstream)
        for peer in candidates:
            if chosen and not any(word in peer.name for word in chosen):
                continue
            try:
                peer.start()
            except (Skipped, OSError, KeyError) as why:
                skipped[peer.name] = str(why)
                print(f"  {peer.name} skipped: {why}", file=sys.stderr)
                peer.stop()
            else:
                peers.append(peer)
        warm: dict[str, int] = {}
        for peer in peers:  # warm-up: node compiles hot code late
            load.requests(peer.target, "/1k", 1 if given.quick else 3)
            assert peer.process is not None
            kernel.forget_peak(peer.process.pid)
            warm[peer.name] = kernel.rss(peer.process.pid)
        measurements = measure(peers, cases, rounds, seconds)
        peaks = {p.name: kernel.peak_rss(p.process.pid) for p in peers if p.process}
        outcome = Outcome(
            measurements=measurements,
            warm=warm,
            peaks=peaks,
            versions={peer.name: peer.version() for peer in peers},
            skipped=skipped,
            machine=kernel.machine(),
            generator=load.generator(),
            rounds=rounds,
            seconds=seconds,
            shared_core=len(cores) < 2,
            busy=(load_before, os.getloadavg()[0]),
        )
    finally:
        for peer in candidates:
            peer.stop()
        upstream.kill()
        upstream.wait()
    print(report.text(outcome))
    if given.json:
        given.json.write_text(json.dumps([vars(one) for one in measurements], indent=1))
    if not given.no_write and not chosen and not given.cases:
        report.write(outcome, ROOT / "docs" / "benchmarks.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
