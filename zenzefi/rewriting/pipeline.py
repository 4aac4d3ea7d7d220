"""Several plugins over one body in one pass: windows in, span edits composed, bytes out.

A :class:`Pass` runs any number of scanners over the same source. Each sees the bytes it has not
settled; what all have settled is written out with their edits applied. A plugin that fails, hands
back nonsense, eats memory or is slow is dropped for the rest of the body, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from zenzefi.rewriting.edits import Edit, EditConflict, apply, compose
from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.watchdog import WATCHDOG, Cost
from zenzefi.rewriting.scanner import Scanner

SMALL = 4096
"""A window below this is scanned again with every new byte; a larger one once it has doubled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one body may cost. Sizes in bytes, times in seconds."""

    held: int = 16 * 1024 * 1024
    """Most source bytes held back for one body."""
    whole: int = 8 * 1024 * 1024
    """Longest body for plugins that need all of it (text, document)."""
    inserted: int = 32 * 1024 * 1024
    """Most bytes that a plugin's edits may put into one body."""
    step: float = 0.1
    """CPU of one call over at most 64 KiB of new source; more counts as slow."""
    slow_steps: int = 3
    """After that many slow calls a plugin is dropped for this body."""
    total: float = 10.0
    """CPU of one plugin over one body."""
    expanded: int = 256 * 1024 * 1024
    """Work of all layers of decoding, as bytes of output, up to which any ratio is believed."""
    ratio: int = 200
    """Above ``expanded``: work per encoded byte."""


class Runner(Protocol):
    """One plugin's part in a body, as the registry keeps account of it."""

    shadow: bool

    @property
    def name(self) -> str:
        """The plugin's name."""

    def failed(self, error: BaseException | str) -> None:
        """It raised, or broke a rule that the text names."""

    def spent(self, seconds: float, edits: int, size: int = 0) -> None:
        """CPU seconds, edits and source bytes of one call."""

    def succeeded(self) -> None:
        """It came to the end of a body without a failure."""

    def shadowed(self, before: bytes, after: bytes) -> None:
        """What an edit would have changed, if the plugin did not run in shadow mode."""

    def conflicted(self, conflict: EditConflict) -> None:
        """One of its edits lost against another plugin's."""


class _ScannerState:
    """One scanner with its place in the source."""

    __slots__ = ("edits", "retry", "runner", "scanner", "settled", "slow", "total", "written")

    def __init__(self, runner: Runner, scanner: Scanner) -> None:
        self.runner = runner
        self.scanner: Scanner | None = scanner
        self.settled = 0
        self.edits: list[Edit] = []
        self.retry = 0
        self.slow = 0
        self.total = 0.0
        self.written = 0


class Pass:
    """One pass over a body by scanners that all see the same source."""

    def __init__(
        self,
        seats: Sequence[tuple[Runner, Scanner]],
        budget: Budget,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._seats = [_ScannerState(runner, scanner) for runner, scanner in seats]
        self._budget = budget
        self._clock = clock
        self._buffer = b""
        self._waiting: list[bytes] = []  # behind the buffer, while nobody is to look at it yet
        self._base = 0
        self._end = 0

    def feed(self, data: bytes) -> bytes:
        """Source in, whatever is settled out."""
        return self._run(data, final=False) if data else b""

    def finish(self) -> bytes:
        """The rest."""
        return self._run(b"", final=True)

    @property
    def alive(self) -> bool:
        """Whether any scanner still works; without one, bytes just pass."""
        return any(seat.scanner is not None for seat in self._seats)

    def _run(self, data: bytes, *, final: bool) -> bytes:
        if not self._buffer and not self._waiting and not self.alive:
            self._base = self._end = self._end + len(data)
            return data
        end = self._end = self._end + len(data)
        self._waiting.append(data)
        if not final and self._may_wait(end):
            return b""
        if self._buffer:
            self._waiting.insert(0, self._buffer)
        buffer = self._buffer = (
            b"".join(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        )
        self._waiting.clear()
        for seat in self._seats:
            if seat.scanner is None:
                seat.settled = end
            elif final or seat.retry <= end:
                self._scan(seat, buffer, end, final)
        done = min(seat.settled for seat in self._seats)
        if final:
            done = end
            for seat in self._seats:
                if seat.scanner is not None:
                    seat.runner.succeeded()
        if end - done > self._budget.held:
            for seat in self._seats:
                if end - seat.settled > self._budget.held // 2:
                    self._drop(seat, "holds back more of a body than the memory budget", end)
            done = min(seat.settled for seat in self._seats)
        return self._write(done, final)

    def _may_wait(self, end: int) -> bool:
        """Whether no scanner looks at the new bytes yet: joining them each time is not linear."""
        seats = [seat for seat in self._seats if seat.scanner is not None]
        return bool(seats) and all(
            seat.retry > end and end - seat.settled <= self._budget.held for seat in seats
        )

    def _scan(self, seat: _ScannerState, buffer: bytes, end: int, final: bool) -> None:
        scanner = seat.scanner
        if scanner is None:
            return
        offset = seat.settled - self._base
        window = buffer[offset:] if offset else buffer
        start = self._clock()
        try:
            WATCHDOG.enter()
            settled, edits = scanner.scan(window, final)
            WATCHDOG.leave()
            checked = _check(settled, edits, seat.settled, len(window))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a plugin must not end the gate
            WATCHDOG.leave()
            seat.runner.failed(error)
            seat.scanner, seat.settled = None, end
            return
        seconds = self._clock() - start
        seat.runner.spent(seconds, len(checked), len(window))
        if checked:
            self._take(seat, checked, buffer)
        seat.settled += len(window) if final else settled
        left = end - seat.settled
        # An unfinished token is looked at again when it may have ended: at once while it is
        # small, later only when it has doubled, so that the whole stays linear.
        seat.retry = seat.settled + 2 * left if left > SMALL and not settled else 0
        seat.total += seconds
        if seconds > self._budget.step * (1 + len(window) // 65536):
            seat.slow += 1
        if seat.slow >= self._budget.slow_steps or seat.total > self._budget.total:
            self._drop(seat, f"too slow: {seat.total:.2f} s of CPU for one body", end)

    def _take(self, seat: _ScannerState, edits: list[Edit], buffer: bytes) -> None:
        if seat.runner.shadow:
            for edit in edits:
                before = buffer[edit.start - self._base : edit.end - self._base]
                seat.runner.shadowed(before, edit.new)
            return
        seat.written += sum(len(edit.new) for edit in edits)
        if seat.written > self._budget.inserted:
            seat.runner.failed(Cost(f"puts more than {self._budget.inserted} bytes into one body"))
            seat.scanner = None
            return
        seat.edits += edits

    def _drop(self, seat: _ScannerState, why: str, end: int) -> None:
        if seat.scanner is not None:
            seat.runner.failed(Cost(why))
        seat.scanner, seat.settled = None, end

    def _write(self, done: int, final: bool) -> bytes:
        seats = [seat for seat in self._seats if seat.edits]
        if not seats:
            edits: list[Edit] = []
        else:
            done = self._whole_edits(seats, done)
            edits = self._merge(seats, done, final)
        cut = done - self._base
        if cut <= 0 and not edits:
            return b""
        head = self._buffer[:cut] if cut < len(self._buffer) else self._buffer
        out = apply(head, edits, self._base) if edits else head
        self._buffer = self._buffer[cut:]
        self._base = done
        return out

    @staticmethod
    def _whole_edits(seats: list[_ScannerState], done: int) -> int:
        """The last place not inside an edit, at or before ``done``."""
        while True:
            start = done
            for seat in seats:
                for edit in reversed(seat.edits):
                    if edit.end <= done:
                        break
                    if edit.start < done:
                        start = min(start, edit.start)
            if start == done:
                return done
            done = start

    @staticmethod
    def _merge(seats: list[_ScannerState], done: int, final: bool) -> list[Edit]:
        ready = []
        for seat in seats:
            # An insertion at the very border waits: another plugin may still insert there too.
            keep = len(seat.edits)
            while keep:
                last = seat.edits[keep - 1]
                if last.end <= done and (last.start < done or final):
                    break
                keep -= 1
            ready.append((seat, seat.edits[:keep]))
            seat.edits = seat.edits[keep:]
        if len(ready) == 1:
            return ready[0][1]
        edits, conflicts = compose([(seat.runner.name, part) for seat, part in ready])
        runners = {seat.runner.name: seat.runner for seat in seats}
        for conflict in conflicts:
            runners[conflict.source].conflicted(conflict)
        return edits


def _check(settled: object, edits: object, base: int, length: int) -> list[Edit]:
    """The edits with absolute offsets. Raises :class:`PluginFault` for what breaks the contract."""
    if not isinstance(settled, int) or not 0 <= settled <= length:
        raise PluginFault(f"scan() settled {settled!r} of {length} bytes")
    if not isinstance(edits, list | tuple):
        raise PluginFault(f"scan() returned {type(edits).__name__} for the edits, not a list")
    out, last = [], 0
    for edit in edits:
        try:
            start, end, new = edit
        except (TypeError, ValueError):
            raise PluginFault(f"scan() returned {edit!r} among the edits") from None
        if type(start) is not int or type(end) is not int or not isinstance(new, bytes):
            raise PluginFault("an edit is (int, int, bytes)")
        if not last <= start <= end <= settled:
            raise PluginFault(
                f"edit {start}..{end} overlaps, descends, or is not settled ({settled})"
            )
        last = end
        out.append(Edit(start + base, end + base, new))
    return out
