"""The measurements of one run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

ENGINE = "the gate's engine alone"


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
    idle: dict[str, int]
    """Proportional set size of each program before the first request of the load, in bytes."""
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

    def engine(self, case: str) -> float | None:
        """CPU seconds of the gate's engine alone for the body of a case."""
        return self.median(ENGINE, case, "cpu")
