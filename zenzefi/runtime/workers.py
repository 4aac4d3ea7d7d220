"""Several processes on one port: a supervisor that serves nothing itself.

Each worker has a listening socket of its own, made here, so that connections which wait while a
crashed worker is replaced are not lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

log = logging.getLogger(__name__)

_SOON = 5.0  # seconds; a worker that ends sooner than this after its start did not come up
_MAX_SOON = 3
_HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Starts workers, replaces those that crash, and passes signals on.

    ``sockets`` holds the listening sockets of each worker: one, or one for each port.
    ``work(sockets, ready)`` runs in the child with those of one worker: it calls ``ready()`` once
    it takes connections, and serves until SIGTERM. ``on_ready`` is called here when all have come
    up for the first time, ``on_end`` with the process id of each worker that has gone.
    ``patience``: seconds that workers get after SIGTERM before they are killed.
    """

    def __init__(
        self,
        work: Callable[[Sequence[socket.socket], Callable[[], None]], None],
        sockets: Sequence[Sequence[socket.socket]],
        *,
        patience: float,
        on_ready: Callable[[], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._work = work
        self._sockets = [list(group) for group in sockets]
        self._patience = patience
        self._on_ready = on_ready
        self._on_end = on_end
        self._awaited = len(self._sockets)
        self._workers: dict[int, tuple[int, float]] = {}  # pid -> (index, started)
        self._stopping = False
        self._kill_at = float("inf")
        self._soon = 0
        self._woken = self._readiness = self._report = -1

    def run(self) -> int:
        """Supervise until every worker is gone; returns the exit code."""
        stops = (signal.SIGTERM, signal.SIGINT)
        before = {
            number: signal.getsignal(number) for number in (*stops, signal.SIGHUP, signal.SIGCHLD)
        }
        # Every signal writes a byte here, which ends the waiting below without a race.
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._readiness, self._report = os.pipe()
        os.set_blocking(self._readiness, False)
        for number in stops:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        code = 0
        try:
            for index in range(len(self._sockets)):
                self._start(index)
            while self._workers:
                code = self._reap() or code
                self._kill_the_late()
                self._wait()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in (self._woken, waker, self._readiness, self._report):
                os.close(end)
        return code

    def _wait(self) -> None:
        if self._workers:
            select.select([self._woken, self._readiness], [], [], 1.0)
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        with contextlib.suppress(BlockingIOError):
            came_up = len(os.read(self._readiness, 4096))
            if self._awaited > 0 >= self._awaited - came_up:
                self._on_ready()
            self._awaited -= came_up

    def _start(self, index: int) -> None:
        # A worker that is told to stop before it can listen to signals must still serve what
        # waits at its socket: signals are held back until its loop handles them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        pid = os.fork()
        if pid:
            self._workers[pid] = (index, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for other, group in enumerate(self._sockets):
                if other != index:
                    _close(group)
            self._work(self._sockets[index], self._came_up)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit: what the parent registered to run at its end is not the child's.
            os._exit(code)

    def _came_up(self) -> None:
        os.write(self._report, b".")

    def _reap(self) -> int:
        """Collect workers that ended; replaces them unless all are to end."""
        worst = 0
        while self._workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._workers.clear()
                break
            if pid == 0:
                break
            if pid not in self._workers:
                continue
            index, started = self._workers.pop(pid)
            self._on_end(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                worst = worst or (0 if code == 0 else 1)
                continue
            self._soon = self._soon + 1 if time.monotonic() - started < _SOON else 0
            log.error("worker %d ended with %d", index, code)
            if self._soon >= _MAX_SOON:
                log.error("workers do not come up: giving up")
                self._stop(signal.SIGTERM, None)
                worst = 1
                continue
            self._start(index)
        return worst

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._signal_all(signal.SIGKILL)
            return
        self._stopping = True
        self._kill_at = time.monotonic() + self._patience
        # While a copy of a listener is open here, connections would queue up where nobody looks.
        for group in self._sockets:
            _close(group)
        self._signal_all(signal.SIGTERM)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signal_all(signal.Signals(number))

    def _kill_the_late(self) -> None:
        if time.monotonic() > self._kill_at:
            log.error("workers did not exit in time; killing them")
            self._kill_at = float("inf")
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in list(self._workers):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
