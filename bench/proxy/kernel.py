"""CPU time and peak memory of a process tree, from ``proc(5)``."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def tree(pid: int) -> Iterator[int]:
    """The process and all of its running descendants."""
    yield pid
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def _tasks(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def cpu_seconds(pid: int) -> float:
    """CPU time of the tree, user and system, in seconds.

    From ``schedstat`` (nanoseconds, per thread) if the kernel provides it, else ``stat`` (ticks).
    """
    total = 0.0
    for process in tree(pid):
        try:
            total += (
                sum(int((task / "schedstat").read_text().split()[0]) for task in _tasks(process))
                / 1e9
            )
        except (OSError, IndexError, ValueError):
            try:
                fields = (_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def peak_rss(pid: int) -> int:
    """Peak resident set of the tree in bytes: the sum of the peaks of its processes."""
    return sum(_status_kib(process, "VmHWM") for process in tree(pid)) * 1024


def forget_peak(pid: int) -> None:
    """Reset the peak that :func:`peak_rss` reads (5 written to ``clear_refs``)."""
    for process in tree(pid):
        with contextlib.suppress(OSError):
            (_PROC / str(process) / "clear_refs").write_text("5")


def rss(pid: int) -> int:
    """Current resident set of the tree in bytes."""
    return sum(_status_kib(process, "VmRSS") for process in tree(pid)) * 1024


def pss(pid: int) -> int:
    """Proportional set size of the tree in bytes: memory that processes share counts once."""
    total = 0
    for process in tree(pid):
        try:
            rollup = (_PROC / str(process) / "smaps_rollup").read_text()
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) if found else 0
    return total * 1024


def _status_kib(pid: int, field: str) -> int:
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


def machine() -> str:
    """One line about this machine: processor, cores, kernel."""
    info = (_PROC / "cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    name = model[1] if model else "unknown processor"
    return f"{name}, {os.cpu_count()} cores, Linux {os.uname().release.split('-')[0]}"
