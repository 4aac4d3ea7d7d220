"""Replaces worker processes and forwards signals: ``python -I -S supervisor.py DESCRIPTOR``.

It runs as a separate program and imports only small modules of the standard library, because its
memory is added to that of the workers: 5 MB. The process that built the application and forked
the workers would keep the original of every page that all of them have written to, so it replaces
itself with this program (:func:`zenzefi.runtime.workers.hand_over`).

Theory of operation
-------------------
``zenzefi serve --workers N`` opens all listening sockets: a group of sockets for each worker. It
builds the application, forks the workers, and executes this program. The process ID stays the same,
so that the workers are its children and a service manager sees one process. A worker has its group
open and no other one; the supervisor has all of them. The kernel distributes new connections over
the groups. A connection that arrives while a worker is being replaced waits in the group's backlog,
and the replacement accepts it. A replacement is started with a command, and builds the application
itself: it shares no memory with the other workers.

States of a worker::

    started ──> starting ──ready──> serving ──SIGTERM──> draining ──> exited
                    └───────crash──────┴───────────────────┴──────────^

States of the supervisor::

    running ──SIGTERM, SIGINT──> stopping ──timeout, second signal──> killing ──> returns
       └──3 quick exits in a row──────^

Events, in each of these states:

- A worker exits (SIGCHLD). *Running*: it is replaced at once, in the same group of sockets. An exit
  before it was ready, or within ``_QUICK_EXIT`` seconds of its start, counts as quick; three of
  them in a row mean that the program can't start at all, and the supervisor stops with exit code 1.
  *Stopping* and *killing*: it is only reaped.
- SIGTERM or SIGINT. *Running*: the supervisor closes its copies of the listening sockets, because
  the kernel would queue connections that no process accepts, and sends SIGTERM to the workers,
  which drain (:mod:`zenzefi.runtime.drain`). *Stopping*: it sends SIGKILL.
- SIGHUP is sent on to every worker, which reloads its settings (:mod:`zenzefi.runtime.reload`).
- The stop timeout expires: SIGKILL.

All signals wake the main loop through a pipe (``signal.set_wakeup_fd``), so a signal between two
checks is not lost. A worker that is ready writes its index into a second pipe, as one byte.

Guarantees:

- There is at most one worker for each group of sockets.
- :meth:`Supervisor.run` returns only when all workers have exited.
- A worker handles SIGTERM and SIGHUP from its first moment: they are blocked when it is started,
  and unblocked by its event loop. One that arrives in between is delivered then. The same is true
  of the supervisor: they are blocked from before the first fork until :meth:`Supervisor.run`.
- The announcement is written, and systemd notified, once: when all workers have been ready.
- The exit code is 0 only if every worker exited with 0 after a stop.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing, 1 MB
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_QUICK_EXIT = 5.0  # seconds
_MAX_QUICK_EXITS = 3
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that are blocked while a worker is started."""


class Supervisor:
    """Supervises workers that run already.

    ``workers`` holds the process ID of the worker of each group, ``groups`` the descriptors of its
    listening sockets. ``command`` starts a replacement: the index of its group is appended, and it
    inherits the descriptors of its group. ``readiness`` is the pipe for the indexes of workers that
    are ready. ``stop_timeout`` is the time in seconds between SIGTERM and SIGKILL.
    ``announcement`` is written to the standard error output. ``metrics_folder`` contains the
    values of all workers (``PROMETHEUS_MULTIPROC_DIR``).
    """

    def __init__(
        self,
        *,
        workers: Sequence[int],
        groups: Sequence[Sequence[int]],
        command: Sequence[str],
        readiness: int,
        stop_timeout: float,
        announcement: bytes = b"",
        metrics_folder: str = "",
        is_json: bool = False,
    ) -> None:
        now = time.monotonic()
        self._groups = groups
        self._command = command
        self._readiness = readiness
        self._stop_timeout = stop_timeout
        self._announcement = announcement
        self._metrics_folder = metrics_folder
        self._is_json = is_json
        self._workers = {pid: (index, now) for index, pid in enumerate(workers)}
        self._ready: set[int] = set()  # indexes of running workers
        self._unannounced = set(range(len(groups)))
        self._stopping = False
        self._kill_at = float("inf")
        self._quick_exits = 0
        self._woken = -1

    def run(self) -> int:
        """Supervise until all workers have exited, and return the exit code."""
        # Every signal writes a byte into this pipe, which wakes select() in _wait without a race.
        self._woken, waker = os.pipe()
        for end in (self._woken, waker, self._readiness):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._forward)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        code = 0
        while self._workers:
            self._read_readiness()
            code = self._reap() or code
            self._kill_after_timeout()
            if self._workers:
                select.select([self._woken, self._readiness], [], [], 1.0)
            _read(self._woken)
        return code

    def _read_readiness(self) -> None:
        ready = set(_read(self._readiness))
        self._ready |= ready
        if self._unannounced and not self._unannounced - ready:
            os.write(2, self._announcement)
            notify_systemd("READY=1")
        self._unannounced -= ready

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
            forget_metrics(self._metrics_folder, pid)
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                exit_code = exit_code or (0 if code == 0 else 1)
                continue
            is_quick = index not in self._ready or time.monotonic() - started < _QUICK_EXIT
            self._ready.discard(index)
            self._quick_exits = self._quick_exits + 1 if is_quick else 0
            self._log(f"worker exited: worker={index} exit_code={code}")
            if self._quick_exits >= _MAX_QUICK_EXITS:
                self._log("workers fail to start: stopping")
                self._stop(signal.SIGTERM, None)
                exit_code = 1
                continue
            self._replace(index)
        return exit_code

    def _replace(self, index: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid:
            self._workers[pid] = (index, time.monotonic())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return
        try:
            for other, group in enumerate(self._groups):
                if other != index:
                    _close(group)
            os.execv(self._command[0], [*self._command, str(index)])  # noqa: S606 - no shell
        except OSError as error:
            self._log(f"failed to start a worker: error={error.strerror}")
        finally:
            os._exit(1)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._signal_all(signal.SIGKILL)
            return
        self._stopping = True
        self._kill_at = time.monotonic() + self._stop_timeout
        # While copies of the listeners are open here, the kernel queues connections in them.
        for group in self._groups:
            _close(group)
        self._signal_all(signal.SIGTERM)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._signal_all(number)

    def _kill_after_timeout(self) -> None:
        if time.monotonic() > self._kill_at:
            self._log("workers did not exit in time; killing them")
            self._kill_at = float("inf")
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for pid in list(self._workers):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _log(self, event: str) -> None:
        """Write an error in the format of :mod:`zenzefi.observability.logs`, which is too large."""
        now = time.time()
        moment = time.gmtime(now)
        if self._is_json:
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(now % 1 * 1e6):06}Z"
            line = (
                f'{{"event": "{event}", "level": "error", "logger": "zenzefi.runtime.supervisor", '
                f'"timestamp": "{stamp}"}}\n'
            )
        else:
            line = f"{time.strftime('%H:%M:%S', moment)} [error    ] {event}\n"
        os.write(1, line.encode())


def notify_systemd(state: str) -> None:
    """Send ``READY=1`` or another state to systemd, if it started this process (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    import socket

    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError:
        return


def forget_metrics(folder: str, pid: int) -> None:
    """Drop the gauges of a worker that has exited; its counters are kept.

    The same as ``mark_process_dead`` of ``prometheus_client``, which is too large for this program.
    """
    for name in os.listdir(folder) if folder else ():
        if name.startswith("gauge_live") and name.endswith(f"_{pid}.db"):
            os.unlink(os.path.join(folder, name))


def remove_socket_file(path: str, inode: int) -> None:
    """Remove the file of a Unix socket, unless another program has replaced it."""
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        return


def remove_folder(path: str) -> None:
    """Remove a folder of files."""
    try:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except OSError:
        return


def read_all(descriptor: int) -> bytes:
    """The content of a file, from its beginning. Processes that share it do not disturb it."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return b""


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _main() -> int:
    descriptor = int(sys.argv[1])
    # Written by the process that executed this program, and only accessible to it.
    plan, socket_file, folder = marshal.loads(read_all(descriptor))  # noqa: S302
    os.close(descriptor)
    code = Supervisor(**plan).run()
    if socket_file is not None:
        remove_socket_file(*socket_file)
    if folder is not None:
        remove_folder(folder)
    return code


if __name__ == "__main__":
    sys.exit(_main())
