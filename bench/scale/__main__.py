"""Scaling: ``python -m bench.scale [--quick]`` writes its sections of ``docs/benchmarks.md``.

A million access tokens in the database, and ten thousand idle WebSockets on one node. Each part
writes one section: ``--tokens 0`` or ``--sockets 0`` skips that part and keeps its section.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, page
from bench.scale import sockets, tokens

ROOT = Path(__file__).resolve().parents[2]


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs" if seconds < 1e-4 else f"{seconds * 1e3:,.2f} ms"


def _measured(busy: float) -> list[str]:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return [
        f"Measured {now} by `python -m bench.scale` on {os.cpu_count()} cores. Load average of the",
        f"machine: {busy:.1f} before, {os.getloadavg()[0]:.1f} at the end. If it is much higher",
        "than the number of cores, other programs used the CPU and the times are not reliable.",
        "",
    ]


def of_tokens(found: list[tokens.Measured], busy: float) -> str:
    """The section about tokens."""
    lines = ["## A million tokens", "", *_measured(busy)]
    lines += [
        "Time of one token validation, measured one after the other (median, p99). Only tokens",
        "that are neither in the process cache nor in Redis reach the database.",
        "",
        "| database | tokens | size | " + " | ".join(t.what for t in found[0].times) + " |",
        "|---|---:|---:|" + "---:|" * len(found[0].times),
    ]
    for one in found:
        times = [
            _shown(t.median) + ("" if t.p99 == t.median else f" (p99 {_shown(t.p99)})")
            for t in one.times
        ]
        size = f"{one.bytes_on_disk / 1e6:,.0f} MB"
        lines.append(f"| {one.store} | {one.tokens:,} | {size} | " + " | ".join(times) + " |")
    return "\n".join(lines)


def of_sockets(one: sockets.Measured, busy: float) -> str:
    """The section about WebSockets."""
    seen = ", ".join(map(str, sorted(one.codes)))
    kib, megabytes = one.bytes_each / 1024, one.bytes_before / 1e6
    lines = ["## Ten thousand idle WebSockets", "", *_measured(busy)]
    lines += [
        "Through one node (`zenzefi serve`, one process, embedded default). Memory is the",
        "proportional set size of the process. A WebSocket is a client connection and an upstream",
        "connection, and needs two descriptors: with a limit below 20,200, fewer are opened.",
        "",
        "All use one access token, which is revoked at the end. A step is what the event loop does",
        "without serving anything else, in CPU time.",
        "",
        "| WebSockets | opened in | longest step | memory each | CPU while idle "
        "| all closed after revocation | CPU for it | longest step |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
        f"| {one.sockets:,} | {one.opened:.1f} s | {_shown(one.opening_step)} | {kib:.1f} KiB "
        f"| {one.idle_cpu * 100:.1f} % of a core | {one.ended:.2f} s "
        f"| {one.ended_cpu:.2f} s | {_shown(one.longest_step)} |",
        "",
        f"Close codes seen: {seen}. Before they were opened, the process used {megabytes:.0f} MB.",
        "",
        "| target | measured | reached |",
        "|---|---:|---|",
        f"| all closed within 1 s | {one.ended:.2f} s | {_reached(one.ended, 1)} |",
        f"| no step longer than 50 ms meanwhile | {_shown(one.longest_step)} "
        f"| {_reached(one.longest_step, 0.05)} |",
        f"| no step longer than 50 ms while they open | {_shown(one.opening_step)} "
        f"| {_reached(one.opening_step, 0.05)} |",
    ]
    return "\n".join(lines)


def _reached(seconds: float, most: float) -> str:
    return "yes" if seconds <= most else "**no**"


def write(name: str, section: str, path: Path) -> None:
    """Write one of the two sections."""
    page.write(f"bench.scale.{name}", "bench.scale", section, path)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of both sizes; only prints")
    parser.add_argument("--force", action="store_true", help="run on a busy machine; only prints")
    parser.add_argument("--tokens", type=int, help="tokens in the database (default 1,000,000)")
    parser.add_argument("--sockets", type=int, help="WebSockets (default 10,000)")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md")
    given = parser.parse_args()
    only_prints = given.quick or given.force or given.no_write
    refused = machine.refusal(machine.load(), force=only_prints)
    if refused is not None:
        print(refused, file=sys.stderr)
        return 2
    part = 10 if given.quick else 1
    count = 1_000_000 // part if given.tokens is None else given.tokens
    wanted = 10_000 // part if given.sockets is None else given.sockets
    sections = {}
    if wanted:
        busy = os.getloadavg()[0]
        sections["sockets"] = of_sockets(sockets.measure(wanted, 35), busy)  # pings: every 30 s
        print(sections["sockets"], flush=True)
    if count:
        busy = os.getloadavg()[0]
        found: list[tokens.Measured] = []
        with tempfile.TemporaryDirectory(prefix="zenzefi-scale-") as folder:
            for one in tokens.measure(sorted({1_000, count}), 10 / part, Path(folder)):
                found.append(one)
                print(f"  {one.store}, {one.tokens:,}: {one.build:.0f} s", file=sys.stderr)
        sections["tokens"] = of_tokens(found, busy)
        print(sections["tokens"], flush=True)
    if not only_prints:
        for name, section in sections.items():
            write(name, section, ROOT / "docs" / "benchmarks.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
