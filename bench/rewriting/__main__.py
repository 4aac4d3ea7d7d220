"""Compare the speed of rewriters: ``python -m bench.rewriting [--quick]``.

Each rewriter runs in its own process and rewrites the same document once a round, one after the
other, so that other load on the machine affects all of them alike. The result is the median of MB
of document per second of CPU. Writes ``docs/benchmarks/rewriting.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import machine
from bench.rewriting import documents, pages

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zenzefi-bench"
PEERS = {
    "html": [
        "gate",
        "pywb",
        "parse5-html-rewriting-stream",
        "lxml.html",
        "BeautifulSoup + lxml",
        "html.parser",
    ],
    **{kind: ["gate"] for kind in pages.KINDS},
    "css": ["gate", "pywb"],
    "javascript": ["gate"],
    "json": ["gate"],
}


class Absent(Exception):
    """The peer is not installed. The text says how to install it."""


class Worker:
    """One rewriter for one document, in its own process."""

    def __init__(self, name: str, kind: str, document: Path) -> None:
        self.name = name
        command, folder = _command(name, kind, document)
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            _, said = self._process.communicate()
            raise Absent((said.strip().splitlines() or ["did not start"])[-1])

    def once(self) -> float:
        """CPU seconds of one rewriting."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _command(name: str, kind: str, document: Path) -> tuple[list[str], Path]:
    if name.startswith("parse5"):
        folder = CACHE / "node"
        if not (folder / "node_modules" / name).is_dir():
            raise Absent(f"run `npm install {name}` in {folder}")
        return ["node", str(HERE / "peers" / "parse5.mjs"), str(document)], folder
    python = sys.executable
    if name == "pywb":
        python = str(CACHE / "pywb" / "bin" / "python")
        if not Path(python).exists():
            raise Absent(f"create a virtual environment in {CACHE / 'pywb'} and install pywb there")
        return [python, str(HERE / "worker.py"), name, kind, str(document)], HERE
    return [python, "-m", "bench.rewriting.worker", name, kind, str(document)], ROOT


def measure(kind: str, size: int, rounds: int, absent: dict[str, str]) -> dict[str, float]:
    """MB of document per CPU second, for each installed rewriter."""
    make = pages.KINDS.get(kind) or getattr(documents, kind)
    data = make(size)
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / kind
        document.write_bytes(data)
        workers = []
        for name in PEERS[kind]:
            try:
                workers.append(Worker(name, kind, document))
            except Absent as why:
                absent[name] = str(why)
        seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
        for _ in range(rounds):
            for worker in workers:
                seconds[worker.name].append(worker.once())
        for worker in workers:
            worker.close()
    return {
        name: len(data) / statistics.median(times) / 1e6
        for name, times in seconds.items()
        if statistics.median(times) > 0
    }


def stream() -> list[str]:
    """The section about streaming."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.rewriting.streaming"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    page, links = found["page"], found["links"]
    return [
        "",
        "## Streaming",
        "",
        "`python -m bench.rewriting.streaming` rewrites a compressed page of 24 MB in pieces of 16",
        "KiB, and one that consists of links to the upstream. A step is the work between two",
        "iterations of the event loop. All times are CPU times.",
        "",
        f"- first output of the page: after piece {page['pieces']}, {page['first']:.1f} ms;",
        f"- longest step: {page['longest']:.1f} ms on the page, "
        f"{links['longest']:.1f} ms on links;",
        f"- peak memory added by {page['size']:.0f} MB of output: {found['grown']:.1f} MB.",
    ]


def report(speeds: dict[str, dict[str, float]], absent: dict[str, str], size: int) -> str:
    """The page."""
    lines = [
        "# Rewriting",
        "",
        "Written by `python -m bench.rewriting`; do not edit. MB of document per second of CPU",
        "time. Each rewriter is one process; they take turns in every round, and the table has the",
        "medians. The row of the gate is its whole engine with all bundled plugins, fed in chunks",
        "of 64 KiB. It also maps styles, `srcset`, inline scripts and policies, and keeps every",
        "other byte. lxml, BeautifulSoup and `html.parser` map six attributes and write a new",
        "document.",
        "",
        f"Documents of {size / 1e6:.1f} MB; CPython {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}.",
        "",
        "| document | rewriter | MB/s | gate compared |",
        "|---|---|---:|---:|",
    ]
    for kind, rows in speeds.items():
        own = rows.get("gate")
        for name, rate in sorted(rows.items(), key=lambda row: -row[1]):
            times = "" if name == "gate" or not own else f"{own / rate:.1f} x"
            lines.append(f"| {kind} | {name} | {rate:.1f} | {times} |")
    if absent:
        lines += ["", "Not measured:", ""]
        lines += [f"- {name}: {why}" for name, why in absent.items()]
    return "\n".join(lines) + "\n"


def main(load_before: float | None = None) -> int:
    """Measure, print and write the page.

    ``load_before`` is the machine's load average before the first benchmark, which adds to it.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, smaller documents; only prints"
    )
    parser.add_argument("--force", action="store_true", help="run on a busy machine; only prints")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "benchmarks" / "rewriting.md"
    )
    options, _ = parser.parse_known_args()  # the others belong to bench.proxy
    only_prints = options.quick or options.force
    before = machine.load() if load_before is None else load_before
    refused = machine.refusal(before, force=only_prints)
    if refused is not None:
        print(refused, file=sys.stderr)
        return 2
    size, rounds = (500_000, 5) if options.quick else (2_000_000, 9)
    absent: dict[str, str] = {}
    speeds = {kind: measure(kind, size, rounds, absent) for kind in PEERS}
    page = report(speeds, absent, size) + "\n".join([*stream(), ""])
    print(page)
    if only_prints:
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
