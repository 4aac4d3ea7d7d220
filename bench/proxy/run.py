"""One run: start the programs, measure every case in every round, stop them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.proxy import kernel, load
from bench.proxy.cases import GATE, Case, Group, Kind
from bench.proxy.gate import VARIANTS, Gate
from bench.proxy.load import Load, LoadFailed
from bench.proxy.outcome import ENGINE, Measurement, Outcome
from bench.proxy.programs import (
    ROOT,
    HttpProxy3,
    Mitmproxy,
    ObviousAiohttp,
    Peer,
    Skipped,
    Undici,
    start,
    wait_for,
)
from bench.proxy.servers import Caddy, HAProxy, Nginx
from bench.proxy.upstream import LARGE
from bench.rewriting.__main__ import Worker
from tests.kit.ports import free_port


@dataclass(frozen=True)
class Plan:
    """What to run. ``seconds`` is the length of each measurement."""

    cases: Sequence[Case]
    rounds: int
    seconds: float
    warm_up: float
    is_chosen: Callable[[str], bool] = lambda name: True
    """Whether the program of this name takes part."""


def candidates(upstream: int, core: str, cores: str) -> list[Peer]:
    """Every program, in the order of the tables."""
    peers: list[Peer] = [
        Gate(upstream, core),
        *(Gate(upstream, core, variant=name, settings=VARIANTS[name]) for name in VARIANTS),
        Nginx(upstream, core),
        Nginx(upstream, core, auth=True),
        Nginx(upstream, core, sub_filter=True),
        HAProxy(upstream, core),
        Caddy(upstream, core),
        Undici(upstream, core),
        HttpProxy3(upstream, core),
        ObviousAiohttp(upstream, core),
        Mitmproxy(upstream, core),
    ]
    if cores != core:
        peers += [Gate(upstream, cores, workers=count) for count in (2, 3)]
    return peers


def run(plan: Plan) -> Outcome:
    """Run the plan. Prints progress to standard error."""
    cores = sorted(os.sched_getaffinity(0))
    load_before = os.getloadavg()[0]
    os.sched_setaffinity(0, {cores[0]})
    try:
        return _run(plan, cores, load_before)
    finally:
        os.sched_setaffinity(0, set(cores))


def _run(plan: Plan, cores: list[int], load_before: float) -> Outcome:
    behind = free_port()
    command = [sys.executable, "-m", "bench.proxy.upstream", str(behind)]
    upstream = start(command, cores[0], cwd=ROOT)
    programs = candidates(behind, str(cores[-1]), ",".join(map(str, cores)))
    chosen = [peer for peer in programs if plan.is_chosen(peer.name)]
    try:
        wait_for(behind, upstream)
        peers, skipped = _started(chosen)
        idle = {peer.name: _settled(peer) for peer in peers}
        warm = _warmed(peers, skipped, plan)
        with _engines(plan.cases) as engines:
            measurements = list(_measured(peers, engines, plan))
        return Outcome(
            measurements=measurements,
            idle=idle,
            warm=warm,
            peaks={peer.name: kernel.peak_rss(_pid(peer)) for peer in peers},
            versions={peer.name: peer.version() for peer in peers},
            skipped=skipped,
            machine=kernel.machine(),
            generator=load.generator(plan.seconds),
            rounds=plan.rounds,
            seconds=plan.seconds,
            shared_core=len(cores) < 2,
            busy=(load_before, os.getloadavg()[0]),
        )
    finally:
        for peer in chosen:
            peer.stop()
        upstream.kill()
        upstream.wait()


def _pid(peer: Peer) -> int:
    assert peer.process is not None
    return peer.process.pid


def _settled(peer: Peer) -> int:
    """Proportional set size in bytes once it stays the same: workers start one after the other."""
    size = kernel.pss(_pid(peer))
    for _ in range(20):
        time.sleep(0.25)
        before, size = size, kernel.pss(_pid(peer))
        if abs(size - before) < before / 200:
            break
    return size


def _started(chosen: list[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """The programs that run, and why the others do not."""
    peers: list[Peer] = []
    skipped: dict[str, str] = {}
    for peer in chosen:
        try:
            peer.start()
        except (Skipped, OSError, KeyError) as why:
            skipped[peer.name] = str(why)
            print(f"  {peer.name} skipped: {why}", file=sys.stderr)
            peer.stop()
        else:
            peers.append(peer)
    return peers, skipped


_WARM_UP = Case("warm-up", "/1k", frozenset(Group))


def _warmed(peers: list[Peer], skipped: dict[str, str], plan: Plan) -> dict[str, int]:
    """Serve for some time (node compiles hot code late); resident bytes of each after that.

    Moves a program that fails already here from ``peers`` to ``skipped``.
    """
    warm: dict[str, int] = {}
    for peer in tuple(peers):
        try:
            load.requests(peer.target, _WARM_UP, plan.warm_up)
        except (LoadFailed, OSError, TimeoutError) as why:
            print(f"  {peer.name} skipped: {why}", file=sys.stderr)
            skipped[peer.name] = f"failed in the warm-up: {why}"
            peers.remove(peer)
            continue
        kernel.forget_peak(_pid(peer))
        warm[peer.name] = kernel.rss(_pid(peer))
    return warm


@contextlib.contextmanager
def _engines(cases: Sequence[Case]) -> Iterator[dict[str, Worker]]:
    """The gate's engine in its own process, for each case that names a document."""
    with (
        tempfile.TemporaryDirectory(prefix="zenzefi-bench-") as folder,
        contextlib.ExitStack() as s,
    ):
        workers: dict[str, Worker] = {}
        for number, case in enumerate(cases):
            if case.engine is not None:
                kind, generate, size = case.engine
                document = Path(folder, str(number))
                document.write_bytes(generate(size))
                workers[case.name] = Worker("gate", kind, document)
                s.callback(workers[case.name].close)
        yield workers


def _measured(peers: list[Peer], engines: dict[str, Worker], plan: Plan) -> Iterator[Measurement]:
    """All rounds, interleaved: one measurement for each program, case and round."""
    broken: set[tuple[str, str]] = set()
    for number in range(plan.rounds):
        for case in plan.cases:
            for peer in peers:
                if (peer.name, case.name) in broken or not peer.takes(case):
                    continue
                try:
                    measurement = _measurement(peer, case, plan.seconds)
                except (LoadFailed, OSError, TimeoutError) as error:
                    broken.add((peer.name, case.name))
                    print(f"  {peer.name}: {case.name} failed: {error}", file=sys.stderr)
                    continue
                yield measurement
                print(
                    f"  round {number + 1} {case.name:24} {peer.name:28} "
                    f"{measurement.rate:10.0f}/s {measurement.cpu * 1e6:9.1f} us",
                    file=sys.stderr,
                )
            if case.name in engines:
                cpu = engines[case.name].once()
                yield Measurement(ENGINE, case.name, rate=1 / cpu, cpu=cpu, p50=0, p99=0)


def _measurement(peer: Peer, case: Case, seconds: float) -> Measurement:
    """One measurement. Raises :class:`LoadFailed` for wrong responses."""
    load.prime(peer.target, "/1k")
    if case.kind is Kind.REQUESTS:
        is_gate = peer.name.startswith(GATE)
        status, body = load.fetch(peer.target_of(case), case)
        fault = case.fault(status, body, is_gate=is_gate)
        if fault is not None:
            raise LoadFailed(fault)
    before = kernel.cpu_seconds(_pid(peer))
    done = _load(peer, case, seconds)
    cpu = kernel.cpu_seconds(_pid(peer)) - before
    return Measurement(
        peer.name,
        case.name,
        rate=done.work / done.seconds,
        cpu=cpu / done.work,
        p50=done.p50,
        p99=done.p99,
    )


def _load(peer: Peer, case: Case, seconds: float) -> Load:
    target = peer.target_of(case)
    if case.kind is Kind.REQUESTS:
        return load.requests(target, case, seconds)
    if case.kind is Kind.DOWNLOAD:
        return load.download(target, case.path, LARGE)
    if case.kind is Kind.UPLOAD:
        return load.upload(target, case.path, LARGE)
    return load.websocket(target, case.path, case.size, seconds)
