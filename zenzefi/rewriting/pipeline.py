"""Several plugins over one body in one pass: windows in, edits composed, bytes out.

Theory of operation
    A :class:`Pass` feeds the same source to any number of scanners. Each scanner has a position,
    ``settled``: the bytes before it are finished for this scanner. The pass buffers the source from
    the smallest of these positions on. After each feed, the bytes that all scanners have settled
    are written with all edits applied (:func:`zenzefi.rewriting.edits.compose` merges them).

Each scanner is in one of three states
    - active: gets the bytes that it has not settled, with each feed;
    - waiting: left more than :data:`SMALL` bytes unsettled and made no progress. It gets them again
      when they have doubled, so that the total work stays linear;
    - dropped: raised, broke a rule of the API, or exceeded the budget (memory, CPU time or inserted
      bytes). The rest of the body passes it unchanged. A dropped scanner is never used again.

Guarantees
    - Every byte that no edit covers is written unchanged and in order.
    - Written bytes are final: a later failure does not revoke them.
    - A failing plugin does not affect the others.
    - At most :attr:`Budget.held` bytes, and the last feed, are buffered.
    - Overlapping edits: the plugin that comes first in order wins; the other is notified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from zenzefi.rewriting.edits import Edit, EditConflict, apply, compose
from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.watchdog import WATCHDOG, Cost
from zenzefi.rewriting.scanner import DecidingScanner, Scanner

SMALL = 4096
"""Bytes. Smaller windows are scanned again with each feed; larger ones when they have doubled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on the cost of one body. Sizes in bytes, times in seconds."""

    held: int = 16 * 1024 * 1024
    """Largest amount of buffered source."""
    whole: int = 8 * 1024 * 1024
    """Longest body for plugins that need the whole body (text, document)."""
    inserted: int = 32 * 1024 * 1024
    """Most bytes that the edits of one plugin may insert into one body."""
    step: float = 0.1
    """CPU time of one call with up to 64 KiB of new source; more counts as slow."""
    slow_steps: int = 3
    """Number of slow calls after which a plugin is dropped for this body."""
    total: float = 10.0
    """CPU time of one plugin for one body."""
    expanded: int = 256 * 1024 * 1024
    """Decoding work, in bytes of output over all layers, up to which any ratio is accepted."""
    ratio: int = 200
    """Most work per encoded byte above ``expanded``."""


class Runner(Protocol):
    """One plugin's work on one body: receives its failures and statistics."""

    shadow: bool

    @property
    def name(self) -> str:
        """The plugin's name."""

    def failed(self, error: BaseException | str) -> None:
        """The plugin raised, or broke a rule that the text names."""

    def spent(self, seconds: float, edits: int, size: int = 0) -> None:
        """CPU seconds, edits and source bytes of one call."""

    def succeeded(self) -> None:
        """The plugin finished a body without a failure."""

    def shadowed(self, before: bytes, after: bytes) -> None:
        """An edit in shadow mode: it is recorded but not applied."""

    def conflicted(self, conflict: EditConflict) -> None:
        """An edit was dropped because another plugin's edit overlaps it."""


class _ScannerState:
    """One scanner with its position in the source."""

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
    """One pass of several scanners over the same source."""

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
        self._waiting: list[bytes] = []  # follows the buffer; no scanner reads it yet
        self._base = 0
        self._end = 0

    def feed(self, data: bytes) -> bytes:
        """The output that is settled after ``data``."""
        return self._run(data, final=False) if data else b""

    def finish(self) -> bytes:
        """The rest."""
        return self._run(b"", final=True)

    def release(self) -> bytes:
        """The output that was withheld only because a scanner had not decided yet."""
        for seat in self._seats:
            scanner: object = seat.scanner
            if isinstance(scanner, DecidingScanner):
                scanner.release()
                seat.retry = 0
        return self._run(b"", final=False)

    @property
    def alive(self) -> bool:
        """Whether any scanner is not dropped; without one, bytes pass unchanged."""
        return any(seat.scanner is not None for seat in self._seats)

    def _run(self, data: bytes, *, final: bool) -> bytes:
        if not self._buffer and not self._waiting and not self.alive:
            self._base = self._end = self._end + len(data)
            return data
        end = self._end = self._end + len(data)
        self._waiting.append(data)
        if not final and self._may_wait(end):
            return b""
        buffer = self._joined()
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
            done = self._drop_largest(end)
        return self._write(done, final)

    def _joined(self) -> bytes:
        """Join the waiting bytes to the buffer."""
        if self._buffer:
            self._waiting.insert(0, self._buffer)
        self._buffer = b"".join(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        self._waiting.clear()
        return self._buffer

    def _drop_largest(self, end: int) -> int:
        """Drop the scanners that hold back most bytes. Returns the position settled by all."""
        for seat in self._seats:
            if end - seat.settled > self._budget.held // 2:
                self._drop(seat, "holds back more of a body than the memory budget allows", end)
        return min(seat.settled for seat in self._seats)

    def _may_wait(self, end: int) -> bool:
        """Whether no scanner reads the new bytes yet: joining them each time is not linear."""
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
        # An unfinished token is read again with each feed while it is small, later only when it
        # has doubled, so that the total work stays linear.
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
        """The last position at or before ``done`` that is not inside an edit."""
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
            # An insertion at the border waits: another plugin may still insert there too.
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
    """The edits with absolute offsets. Raises :class:`PluginFault` if they break the contract."""
    if not isinstance(settled, int) or not 0 <= settled <= length:
        raise PluginFault(f"scan() settled {settled!r} of {length} bytes")
    if not isinstance(edits, list | tuple):
        raise PluginFault(f"scan() returned {type(edits).__name__} for the edits, not a list")
    if not edits:
        return []
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
        is_placed = not base and type(edit) is Edit
        out.append(edit if is_placed else Edit(start + base, end + base, new))
    return out
