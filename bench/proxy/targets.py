"""The targets: what was promised, what was measured, and whether it was reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.proxy.cases import GATE
from bench.proxy.outcome import Outcome

_AUTH = "nginx + auth_request"


@dataclass(frozen=True)
class Target:
    """One row. ``value`` and ``limit`` are in the unit of ``shape``; ``None``: not measured."""

    case: str
    promise: str
    value: float | None
    limit: float
    shape: str = "{:.2f}x"
    is_minimum: bool = False

    @property
    def is_reached(self) -> bool | None:
        """``None`` if it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.is_minimum else self.value <= self.limit

    def row(self) -> str:
        """The row of the table."""
        shown = "not measured" if self.value is None else self.shape.format(self.value)
        word = {None: "", True: "yes", False: "**no**"}[self.is_reached]
        return f"| {self.case} | {self.promise} | {shown} | {word} |"


def table(outcome: Outcome) -> list[str]:
    """The table as lines of Markdown."""
    rows = ["| case | target | measured | reached |", "|---|---|---:|---|"]
    return rows + [target.row() for target in targets(outcome)]


def targets(outcome: Outcome) -> Iterator[Target]:
    """All targets, with the values of one run."""
    yield from _requests(outcome)
    yield from _bodies(outcome)
    yield from _streams(outcome)
    yield from _functions(outcome)
    yield from _rates(outcome)
    yield from _memory(outcome)


def _among(outcome: Outcome, case: str, other: str) -> float | None:
    """CPU of one case of the gate against another case of the gate."""
    mine, theirs = outcome.median(GATE, case, "cpu"), outcome.median(GATE, other, "cpu")
    return mine / theirs if mine and theirs else None


def _requests(outcome: Outcome) -> Iterator[Target]:
    for case in ("PNG 1 KB", "JSON 1 KB"):
        value = outcome.ratio(GATE, _AUTH, case, "cpu")
        yield Target(case, f"CPU at most 1.0x {_AUTH}", value, 1.0)
    value = _among(outcome, "PNG 1 KB, new headers", "PNG 1 KB")
    yield Target("PNG 1 KB, new headers", "CPU at most 3x recognised headers", value, 3)
    for case in ("POST 1 KB", "POST 64 KB"):
        value = outcome.ratio(GATE, _AUTH, case, "cpu")
        yield Target(case, f"CPU at most 2x {_AUTH}", value, 2)
    for case, other in (
        ("JSON 1 KB", "PNG 1 KB"),
        ("JSON 20 KB", "PNG 20 KB"),
        ("JavaScript 19 KB", "PNG 20 KB"),
    ):
        yield Target(case, f"CPU at most 1.5x {other}", _among(outcome, case, other), 1.5)


def _bodies(outcome: Outcome) -> Iterator[Target]:
    for case, more in (
        ("CSS 15 KB, prefix", 60),
        ("HTML 20 KB, prefix", 80),
        ("HTML 20 KB gzip, prefix", 80),
    ):
        cpu, engine = outcome.median(GATE, case, "cpu"), outcome.engine(case)
        value = (cpu - engine) * 1e6 if cpu and engine else None
        yield Target(case, f"CPU at most the engine's + {more} µs", value, more, "+ {:.0f} µs")
    engine = outcome.engine("HTML 20 KB, prefix")
    value = engine and engine * 1e6
    yield Target("HTML 20 KB, engine alone", "CPU at most 400 µs", value, 400, "{:.0f} µs")
    for case in ("HTML 20 KB, root", "CSS 15 KB, root"):
        value = _among(outcome, case, "PNG 20 KB")
        yield Target(case, "CPU at most 1.5x PNG 20 KB", value, 1.5)
    for case in ("HTML 20 KB seen, ETag", "HTML 20 KB seen, no ETag"):
        value = _among(outcome, case, "PNG 20 KB")
        yield Target(case, "CPU at most 2x PNG 20 KB", value, 2)


def _streams(outcome: Outcome) -> Iterator[Target]:
    for case in ("128 MB down", "128 MB up"):
        cpu = outcome.median(GATE, case, "cpu")
        value = cpu and cpu * 1e3
        yield Target(case, "CPU at most 0.75 ms per MB", value, 0.75, "{:.2f} ms")
    for case, limit in (("WebSocket 100 B", 1.0), ("WebSocket 64 KB", 1.1)):
        value = outcome.ratio(GATE, "nginx", case, "cpu")
        yield Target(case, f"CPU at most {limit}x nginx", value, limit)


def _functions(outcome: Outcome) -> Iterator[Target]:
    for name in ("tracing", "proxy limit", "header plugin"):
        for case in ("PNG 1 KB", "JSON 1 KB"):
            value = outcome.ratio(f"{GATE}, {name}", GATE, case, "cpu")
            yield Target(f"{case}, {name} on", "CPU at most 2x of the same without", value, 2)


def _rates(outcome: Outcome) -> Iterator[Target]:
    for other, limit in (("http-proxy-3", 4), ("undici proxy", 2)):
        value = outcome.ratio(GATE, other, "PNG 1 KB", "rate")
        yield Target(
            "PNG 1 KB", f"requests/s at least {limit}x {other}", value, limit, is_minimum=True
        )


def _memory(outcome: Outcome) -> Iterator[Target]:
    idle = {name: size / 1e6 for name, size in outcome.idle.items()}
    one, two, three = (idle.get(GATE + more) for more in ("", " --workers 2", " --workers 3"))
    yield Target("one process, idle", "at most 90 MB", one, 90, "{:.0f} MB")
    value = two / one if one and two else None
    yield Target("--workers 2, idle", "at most 1.35x of one process", value, 1.35)
    value = three - two if two and three else None
    yield Target("--workers 3, idle", "at most 40 MB more than 2", value, 40, "{:.0f} MB")
    rest, peak = outcome.warm.get(GATE), outcome.peaks.get(GATE)
    value = (peak - rest) / 1e6 if rest and peak else None
    yield Target("one process, under load", "grows by at most 60 MB", value, 60, "{:.0f} MB")
