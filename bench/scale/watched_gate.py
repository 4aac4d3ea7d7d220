"""A gate with a watched event loop: ``python -m bench.scale.watched_gate FILE serve ...``.

A timer of the loop is due every millisecond. The CPU time of the main thread between two of its
runs bounds how long one step of the loop held all others; unlike elapsed time, it does not count
what other programs take from the machine. SIGUSR1 writes the longest one since the last SIGUSR1
to FILE, in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from zenzefi.cli import main
from zenzefi.runtime import server

_EVERY = 0.001  # seconds


def _watch(loop: asyncio.AbstractEventLoop, file: Path) -> None:
    longest, before = 0.0, time.thread_time()

    def beat() -> None:
        nonlocal longest, before
        now = time.thread_time()
        longest, before = max(longest, now - before), now
        loop.call_later(_EVERY, beat)

    def report() -> None:
        nonlocal longest
        part = file.with_suffix(".part")
        part.write_text(str(longest))
        part.rename(file)
        longest = 0.0

    loop.call_soon(beat)
    loop.add_signal_handler(signal.SIGUSR1, report)


def longest_step(pid: int, file: Path) -> float:
    """The longest step of the process ``pid`` since the last call, in seconds."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            return float(file.read_text())
        time.sleep(0.01)
    raise OSError("the gate did not report its longest step")


if __name__ == "__main__":
    new_event_loop = server.new_event_loop

    def watched_event_loop() -> asyncio.AbstractEventLoop:
        """The gate's loop, watched."""
        loop = new_event_loop()
        _watch(loop, Path(sys.argv[1]))
        return loop

    server.new_event_loop = watched_event_loop
    main(sys.argv[2:], prog_name="zenzefi")
