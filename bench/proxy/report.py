"""The report: a table for each case with medians, memory, and the targets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bench.proxy import targets
from bench.proxy.cases import CASES, Case, Group, Kind
from bench.proxy.outcome import ENGINE, Outcome

BEGIN = "<!-- bench.proxy: begin (written by `make bench`; do not edit) -->"
END = "<!-- bench.proxy: end -->"
_UNITS = {
    Kind.REQUESTS: "request",
    Kind.MESSAGES: "message",
    Kind.DOWNLOAD: "MB",
    Kind.UPLOAD: "MB",
}


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
        "end (the run itself adds about 2).",
        "",
        "### Targets",
        "",
        *targets.table(outcome),
        "",
    ]
    for case in CASES:
        lines += _table(outcome, case)
    lines += [
        "### Memory",
        "",
        "Proportional set size when idle; resident set size after the warm-up and its peak.",
        "",
        "| program | idle, MB | after warm-up, MB | peak, MB |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {peer} | {outcome.idle[peer] / 1e6:.0f} | {outcome.warm[peer] / 1e6:.0f} "
        f"| {peak / 1e6:.0f} |"
        for peer, peak in outcome.peaks.items()
    ]
    lines += ["", "### Versions", ""]
    lines += [f"- {version}" for version in dict.fromkeys(outcome.versions.values())]
    lines += [f"- {peer}: not measured, {why}" for peer, why in outcome.skipped.items()]
    return "\n".join(lines) + "\n"


def _ruler(case: Case) -> str:
    return "nginx sub_filter" if Group.FILTER in case.groups else "nginx"


def _table(outcome: Outcome, case: Case) -> list[str]:
    measured = [f.peer for f in outcome.measurements if f.case == case.name and f.peer != ENGINE]
    peers = list(dict.fromkeys(measured))
    if not peers:
        return []
    has_times = case.kind in (Kind.REQUESTS, Kind.MESSAGES)
    unit = _UNITS[case.kind]
    ruler = _ruler(case)
    head = f"| program | {unit}s/s | CPU per {unit}, µs | CPU against {ruler} |"
    rule = "|---|---:|---:|---:|"
    if has_times:
        head += " p50, ms | p99, ms |"
        rule += "---:|---:|"
    lines = [f"### {case.name}", "", head, rule]
    for peer in peers:
        values = [outcome.median(peer, case.name, field) or 0.0 for field in ("rate", "cpu")]
        ratio = outcome.ratio(peer, ruler, case.name, "cpu")
        shown = f"{ratio:.2f}" if ratio else ""
        line = f"| {peer} | {values[0]:,.0f} | {values[1] * 1e6:,.1f} | {shown} |"
        if has_times:
            p50, p99 = (outcome.median(peer, case.name, field) for field in ("p50", "p99"))
            line += f" {p50:.2f} | {p99:.2f} |"
        lines.append(line)
    engine = outcome.engine(case.name)
    if engine is not None:
        lines.append(f"| {ENGINE} | | {engine * 1e6:,.1f} | | | |")
    return [*lines, ""]


def write(outcome: Outcome, path: Path) -> None:
    """Replace the section between its markers; the text around it stays."""
    old = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text(outcome)}\n{END}{after}", encoding="utf-8")
