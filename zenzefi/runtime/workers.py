"""Several worker processes on one port, and the supervisor that starts and replaces them.

Theory of operation
-------------------
The supervisor opens all listening sockets before it forks: a group of sockets for each worker, all
on the same addresses (SO_REUSEPORT). It serves no requests. The command builds the application and
freezes its objects before that, so that the workers share this memory; it has no thread, event loop
or connection at the fork (:mod:`zenzefi.runtime.memory`). A worker inherits its group and closes
the others. The kernel distributes new connections over the groups. A connection that arrives while
a crashed worker is being replaced waits in the group's backlog, and the replacement accepts it.

States of a worker::

    fork ──> starting ──ready()──> serving ──SIGTERM──> draining ──> exited
                 └────────crash────────┴───────────────────┴──────────^

States of the supervisor::

    running ──SIGTERM, SIGINT──> stopping ──timeout, second signal──> killing ──> returns
       └──3 quick exits in a row──────^

Events, in each of these states:

- A worker exits (SIGCHLD). *Running*: it is replaced at once, in the same group of sockets. An exit
  within ``_QUICK_EXIT`` seconds of the start counts as quick; three of them in a row mean that the
  program can't start at all, and the supervisor stops with exit code 1. *Stopping* and *killing*:
  it is only reaped.
- SIGTERM or SIGINT. *Running*: the supervisor closes its copies of the listening sockets, because
  the kernel would queue connections that no process accepts, and sends SIGTERM to the workers,
  which drain (:mod:`zenzefi.runtime.drain`). *Stopping*: it sends SIGKILL.
- SIGHUP is sent on to every worker, which reloads its settings (:mod:`zenzefi.runtime.reload`).
- The stop timeout expires: SIGKILL.

All signals wake the main loop through a pipe (``signal.set_wakeup_fd``), so a signal between two
checks is not lost. Workers report ``ready()`` through a second pipe with one byte each.

Guarantees:

- There is at most one process for each group of sockets.
- :meth:`Supervisor.run` returns only when all workers have exited.
- A worker handles SIGTERM and SIGHUP from its first moment: they are blocked across the fork, and
  unblocked by the worker's event loop. One that arrives in between is delivered then.
- ``on_ready`` is called once, when all workers have become ready for the first time.
- The exit code is 0 only if every worker exited with 0 after a stop.
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

_QUICK_EXIT = 5.0  # seconds
_MAX_QUICK_EXITS = 3
_BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Starts the workers, replaces crashed ones and forwards signals.

    ``sockets`` holds a group of listening sockets for each worker. ``work(sockets, ready)`` runs in
    the worker with one group: it calls ``ready()`` once it accepts connections, and serves until
    SIGTERM. ``on_ready`` is called in the supervisor when all workers are ready for the first time,
    ``on_end`` with the process ID of each worker that has exited. ``stop_timeout`` is the time in
    seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        work: Callable[[Sequence[socket.socket], Callable[[], None]], None],
        sockets: Sequence[Sequence[socket.socket]],
        *,
        stop_timeout: float,
        on_ready: Callable[[], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._work = work
        self._sockets = [list(group) for group in sockets]
        self._stop_timeout = stop_timeout
        self._on_ready = on_ready
        self._on_end = on_end
        self._starting = len(self._sockets)
        self._workers: dict[int, tuple[int, float]] = {}  # pid -> (index, started)
        self._stopping = False
        self._kill_at = float("inf")
        self._quick_exits = 0
        self._woken = self._readiness = self._report = -1

    def run(self) -> int:
        """Supervise until all workers have exited, and return the exit code."""
        stops = (signal.SIGTERM, signal.SIGINT)
        before = {
            number: signal.getsignal(number) for number in (*stops, signal.SIGHUP, signal.SIGCHLD)
        }
        # Every signal writes a byte into this pipe, which wakes select() in _wait without a race.
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._readiness, self._report = os.pipe()
        os.set_blocking(self._readiness, False)
        for number in stops:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._forward)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        code = 0
        try:
            for index in range(len(self._sockets)):
                self._start(index)
            while self._workers:
                code = self._reap() or code
                self._kill_after_timeout()
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
            ready = len(os.read(self._readiness, 4096))
            if self._starting > 0 >= self._starting - ready:
                self._on_ready()
            self._starting -= ready

    def _start(self, index: int) -> None:
        # A worker that receives SIGTERM while it starts must still serve the connections in its
        # backlog, so the signals stay blocked until its event loop handles them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        pid = os.fork()
        if pid:
            self._workers[pid] = (index, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for other, group in enumerate(self._sockets):
                if other != index:
                    _close(group)
            self._work(self._sockets[index], self._report_ready)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit(), which would run the exit handlers that the parent registered.
            os._exit(code)

    def _report_ready(self) -> None:
        os.write(self._report, b".")

    def _reap(self) -> int:
        """Reap exited workers, and replace them while running; return an exit code."""
        exit_code = 0
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
                exit_code = exit_code or (0 if code == 0 else 1)
                continue
            is_quick = time.monotonic() - started < _QUICK_EXIT
            self._quick_exits = self._quick_exits + 1 if is_quick else 0
            log.error("worker exited: worker=%d exit_code=%d", index, code)
            if self._quick_exits >= _MAX_QUICK_EXITS:
                log.error("workers fail to start: stopping")
                self._stop(signal.SIGTERM, None)
                exit_code = 1
                continue
            self._start(index)
        return exit_code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._signal_all(signal.SIGKILL)
            return
        self._stopping = True
        self._kill_at = time.monotonic() + self._stop_timeout
        # While copies of the listeners are open here, the kernel queues connections in them.
        for group in self._sockets:
            _close(group)
        self._signal_all(signal.SIGTERM)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._signal_all(signal.Signals(number))

    def _kill_after_timeout(self) -> None:
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
