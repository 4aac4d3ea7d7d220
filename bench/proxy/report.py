"""The report: medians, ratios to http-proxy-3, and whether each target is met."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

CASES = ["1 KB", "100 KB", "128 MB down", "128 MB up", "WebSocket 100 B", "WebSocket 64 KB"]
BEGIN = "<!-- bench.proxy: begin (written by `make bench`; do not edit) -->"
END = "<!-- bench.proxy: end -->"
_RULER = "http-proxy-3"


@dataclass(frozen=True)
class Measurement:
    """One run: ``rate`` per second, ``cpu`` seconds per unit, ``p50``/``p99`` in milliseconds.

    The unit is a request, a message, or (for the large bodies) a megabyte of 10^6 bytes.
    """

    peer: str
    case: str
    rate: float
    cpu: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Outcome:
    """The results of one run."""

    measurements: list[Measurement]
    warm: dict[str, int]
    """Resident bytes of each program after it has served for some seconds."""
    peaks: dict[str, int]
    """Peak resident bytes after that."""
    versions: dict[str, str]
    skipped: dict[str, str]
    machine: str
    generator: str
    rounds: int
    seconds: float
    shared_core: bool
    busy: tuple[float, float]
    """Load average of the machine before the run and at its end."""

    def median(self, peer: str, case: str, field: str) -> float | None:
        """The median of the rounds; ``None`` if the case was not measured."""
        values = [getattr(f, field) for f in self.measurements if (f.peer, f.case) == (peer, case)]
        return statistics.median(values) if values else None

    def ratio(self, peer: str, other: str, case: str, field: str) -> float | None:
        """The value of ``peer`` divided by the value of ``other``; ``None`` without both."""
        mine, theirs = self.median(peer, case, field), self.median(other, case, field)
        return mine / theirs if mine and theirs else None


def text(outcome: Outcome) -> str:
    """The section as Markdown."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"Measured {now} on {outcome.machine}; {outcome.rounds} interleaved rounds, "
        f"{outcome.seconds:g} s for each run, medians shown. Load: {outcome.generator}.",
        "",
        "The load generator and the upstream share one core, the program under test uses the other"
        + (" (this machine has only one core, which all share)." if outcome.shared_core else "."),
        "In a row with several workers, all share both cores.",
        "CPU time is the kernel's accounting (schedstat) of the whole process tree.",
        f"Load average of the machine: {outcome.busy[0]:.1f} before, {outcome.busy[1]:.1f} at the "
        "end (the run itself adds about 2; if it is much higher, other programs used the CPU and "
        "the rates are not reliable).",
        "",
    ]
    for case in CASES:
        lines += _table(outcome, case)
    lines += [
        "### Peak memory",
        "",
        "Resident set size after the warm-up, and its peak under load.",
        "",
        "| program | after warm-up, MB | peak, MB |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {peer} | {outcome.warm[peer] / 1e6:.0f} | {peak / 1e6:.0f} |"
        for peer, peak in outcome.peaks.items()
    ]
    lines += ["", "### Targets", "", "| target | measured | met |", "|---|---:|---|"]
    lines += _targets(outcome)
    lines += ["", "### Versions", ""]
    lines += [f"- {version}" for version in dict.fromkeys(outcome.versions.values())]
    lines += [f"- {peer}: not measured, {why}" for peer, why in outcome.skipped.items()]
    return "\n".join(lines) + "\n"


def _table(outcome: Outcome, case: str) -> list[str]:
    peers = list(dict.fromkeys(f.peer for f in outcome.measurements if f.case == case))
    if not peers:
        return []
    large = case.startswith("128 MB")
    unit = "MB" if large else "message" if case.startswith("WebSocket") else "request"
    head = f"| program | {unit}s/s | CPU per {unit}, µs | requests/s against {_RULER} |"
    rule = "|---|---:|---:|---:|"
    if not large:
        head += " p50, ms | p99, ms |"
        rule += "---:|---:|"
    lines = [f"### {case}", "", head.replace("requests/s against", "rate against"), rule]
    for peer in peers:
        rate, cpu = outcome.median(peer, case, "rate"), outcome.median(peer, case, "cpu")
        ratio = outcome.ratio(peer, _RULER, case, "rate")
        assert rate is not None
        assert cpu is not None
        shown = f"{ratio:.2f}" if ratio else ""
        line = f"| {peer} | {rate:,.0f} | {cpu * 1e6:,.1f} | {shown} |"
        if not large:
            p50, p99 = outcome.median(peer, case, "p50"), outcome.median(peer, case, "p99")
            line += f" {p50:.2f} | {p99:.2f} |"
        lines.append(line)
    return [*lines, ""]


def _targets(outcome: Outcome) -> list[str]:
    gate = "zenzefi"
    rows: list[tuple[str, float | None, str, bool | None]] = []

    def add(name: str, value: float | None, shown: str, limit: float, *, least: bool) -> None:
        met = None if value is None else (value >= limit if least else value <= limit)
        rows.append((name, value, shown, met))

    versus = outcome.ratio(gate, _RULER, "1 KB", "rate")
    add("requests/s (1 KB) at least 4x http-proxy-3", versus, "{:.2f}x", 4, least=True)
    versus = outcome.ratio(gate, "undici proxy", "1 KB", "rate")
    add("requests/s (1 KB) at least 2x undici", versus, "{:.2f}x", 2, least=True)
    versus = outcome.ratio(gate, "nginx + auth_request", "1 KB", "cpu")
    add("CPU per request (1 KB) at most nginx + auth_request", versus, "{:.2f}x", 1, least=False)
    for case in ("WebSocket 100 B", "WebSocket 64 KB"):
        versus = outcome.ratio(gate, "nginx", case, "cpu")
        add(f"CPU per message ({case}) at most 1.1x nginx", versus, "{:.2f}x", 1.1, least=False)
    for case in ("128 MB down", "128 MB up"):
        cpu = outcome.median(gate, case, "cpu")
        milli = None if cpu is None else cpu * 1e3
        add(f"CPU per MB ({case}) at most 0.75 ms", milli, "{:.2f} ms", 0.75, least=False)
    peak = outcome.peaks.get(gate)
    mega = None if peak is None else peak / 1e6
    add("peak resident set under 60 MB", mega, "{:.0f} MB", 60, least=False)
    grown = None if mega is None else mega - outcome.warm[gate] / 1e6
    add("growth under load, under 60 MB", grown, "{:.0f} MB", 60, least=False)
    return [
        f"| {name} | {'not measured' if value is None else shown.format(value)} | "
        f"{'' if met is None else 'yes' if met else '**no**'} |"
        for name, value, shown, met in rows
    ]


def write(outcome: Outcome, path: Path) -> None:
    """Replace the section between its markers; the text around it stays."""
    old = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text(outcome)}\n{END}{after}", encoding="utf-8")
