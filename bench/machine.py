"""Whether this machine is quiet enough for tables that are kept."""

from __future__ import annotations

import os

MOST = 1.0
"""Load average of the last minute above which no table is written."""


def load() -> float:
    """Load average of the last minute."""
    return os.getloadavg()[0]


def refusal(before: float, *, force: bool) -> str | None:
    """Why a run must not start, or ``None``. With ``force`` it may, but it only prints."""
    if before <= MOST or force:
        return None
    return (
        f"The load average is {before:.1f}; above {MOST:.0f}, other programs use the CPU and the "
        "table would be wrong. Wait, or measure with --force, which only prints."
    )
