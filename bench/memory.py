"""Memory: ``python -m bench.memory [--no-write]`` writes its section of ``docs/benchmarks.md``.

One process and several workers, idle and after requests of every kind. The values are proportional
set sizes of the whole process tree: pages that processes share count once. They do not depend on
the speed of the machine, so a busy machine does not matter.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.page import write
from bench.proxy import kernel, load
from bench.proxy.gate import Gate
from bench.proxy.programs import ROOT, start, wait_for
from bench.proxy.targets import Target
from tests.kit.ports import free_port

_PAGES = ("/", "/login", "/register", "/docs", "/openapi.json", "/health", "/readyz")
_PROXIED = (
    *("/1k", "/api/items-1k", "/api/items-20k", "/static/app.js", "/static/main.css"),
    *("/static/20k.png", "/guide/20k.html", "/guide/230k.html", "/guide/seen-etag.html"),
)
KINDS = {
    "one process": (1, False),
    "one process, Redis": (1, True),
    "--workers 2": (2, True),
    "--workers 3": (3, True),
}
"""Number of workers, and whether there is a Redis, by the name of the row."""
_ROUNDS = 30  # of all requests, so that every worker gets some of each kind


@dataclass(frozen=True)
class Measured:
    """Bytes of the tree, idle and after requests; ``private`` is what each process has alone."""

    idle: int
    used: int
    private: list[int]


class _Node(Gate):
    """The gate, which is idle after its start; one process has Redis if it is asked for."""

    has_redis = False

    def environment(self) -> dict[str, str]:
        """With the address of a Redis for one process too."""
        found = super().environment()
        if self.has_redis and self.workers == 1:
            found["REDIS_URL"] = f"redis://127.0.0.1:{self._start_redis()}"
        return found

    def prepare(self, port: int) -> load.Target:
        """Nothing yet: the first request is sent after the first measurement."""
        return load.Target(port)

    def sign_up(self) -> None:
        """Register, buy a token, and use it from now on."""
        self.target = super().prepare(self.port)
        self.root = load.Target(self.port, headers=self.target.headers, host="app.localhost")


def measure(name: str, upstream: int) -> Measured:
    """Start a gate, measure it, send requests of every kind, measure it again."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    workers, has_redis = KINDS[name]
    gate = _Node(upstream, cores, workers=workers)
    gate.has_redis = has_redis
    try:
        gate.start()
        assert gate.process is not None
        pid = gate.process.pid
        _wait_until_ready(gate, workers + (workers > 1))
        idle, private = kernel.pss(pid), [_private(one) for one in kernel.tree(pid)]
        gate.sign_up()
        for _ in range(_ROUNDS):
            for path in _PAGES:
                _get(f"http://127.0.0.1:{gate.port}{path}", {"Accept": "text/html"})
            for target in (gate.target, gate.root):
                headers = {**dict(target.headers), "Host": target.authority}
                for path in _PROXIED:
                    _get(f"http://127.0.0.1:{gate.port}{target.prefix}{path}", headers)
        time.sleep(2)
        return Measured(idle, kernel.pss(pid), private)
    finally:
        gate.stop()


def _wait_until_ready(gate: Gate, processes: int) -> None:
    """Wait until every process serves and has done its periodic work once."""
    assert gate.process is not None
    for _ in range(600):
        time.sleep(0.2)
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{gate.port}/readyz", timeout=60),
        ):
            if len(list(kernel.tree(gate.process.pid))) == processes:
                break
    else:
        raise OSError("the gate did not become ready")
    time.sleep(8)


def _get(url: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(url, headers={**headers, "Connection": "close"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
    except urllib.error.HTTPError as refused:
        refused.close()


def _private(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.M)) * 1024


def targets(found: dict[str, Measured]) -> list[Target]:
    """The targets, idle. Several workers need Redis, so they are compared with one that has it."""
    alone, one, two, three = (found[name].idle / 1e6 for name in KINDS)
    return [
        Target("one process", "at most 90 MB", alone, 90, "{:.1f} MB"),
        Target("--workers 2", "at most 1.35x of one process with Redis", two / one, 1.35),
        Target("--workers 3", "at most 40 MB more than 2", three - two, 40, "{:.1f} MB"),
    ]


def section(found: dict[str, Measured]) -> str:
    """The section as Markdown."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        "## Memory",
        "",
        f"Measured {now} by `python -m bench.memory`, Python {sys.version.split()[0]}.",
        "Proportional set size of the whole process tree, the supervisor included. *Used*: after",
        f"a sign-up, a purchase and {_ROUNDS} rounds of requests for pages, documents, scripts,",
        "style sheets, images and JSON, at the prefix and at a root.",
        "",
        "| processes | idle, MB | used, MB | private to each process when idle, MB |",
        "|---|---:|---:|---|",
    ]
    for name, one in found.items():
        private = ", ".join(f"{size / 1e6:.0f}" for size in one.private)
        lines.append(f"| {name} | {one.idle / 1e6:.1f} | {one.used / 1e6:.1f} | {private} |")
    lines += ["", "| case | target | measured | reached |", "|---|---|---:|---|"]
    lines += [target.row() for target in targets(found)]
    lines += [
        "",
        "Pages that a process has written to are its own: code that runs writes the reference",
        "counts of the objects it uses. The first value of a row with several workers is the",
        "supervisor, a small program.",
    ]
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md")
    given = parser.parse_args()
    port = free_port()
    core = sorted(os.sched_getaffinity(0))[0]
    upstream = start([sys.executable, "-m", "bench.proxy.upstream", str(port)], core, cwd=ROOT)
    try:
        wait_for(port, upstream)
        found = {name: measure(name, port) for name in KINDS}
    finally:
        upstream.kill()
        upstream.wait()
    text = section(found)
    print(text)
    if not given.no_write:
        write("bench.memory", "bench.memory", text, ROOT / "docs" / "benchmarks.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
