"""Several worker processes on one port: forks them and becomes their supervisor.

The command builds the application and freezes its objects before the fork, so that the workers
share this memory (:mod:`zenzefi.runtime.memory`). It has no thread, event loop or connection then.
Afterwards it replaces itself with a small program (:mod:`zenzefi.runtime.supervisor`).
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from zenzefi.runtime import supervisor

Work = Callable[[Sequence[socket.socket], Callable[[], None]], None]
"""Serves one group of sockets until SIGTERM, and calls its second argument once it is ready."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """The arguments of the supervisor, except the workers themselves.

    ``command`` starts a replacement; the index of its group of sockets is appended to it.
    ``kept`` are further descriptors that a replacement inherits. ``stop_timeout`` is in seconds,
    ``socket_file`` the path and inode of a Unix socket to remove at the end, ``folder`` a folder to
    remove then.
    """

    command: Sequence[str]
    kept: Sequence[int]
    stop_timeout: float
    announcement: bytes
    metrics_folder: str
    is_json: bool
    socket_file: tuple[str, int] | None = None
    folder: str | None = None


class Readiness:
    """The pipe in which a worker reports that it is ready."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def reporter(self, index: int) -> Callable[[], None]:
        """The function that reports it for the worker with this index."""
        return reporter(self.writing, index)


def reporter(pipe: int, index: int) -> Callable[[], None]:
    """A function that reports through ``pipe`` that the worker with this index is ready."""

    def report() -> None:
        os.write(pipe, bytes((index,)))

    return report


def run(
    work: Work,
    groups: Sequence[Sequence[socket.socket]],
    readiness: Readiness,
    supervision: Supervision,
) -> NoReturn:
    """Fork a worker for each group of sockets, and supervise them until all have exited.

    Does not return: this process becomes the supervisor, whose exit code is 0 if all workers
    stopped properly.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # They stay blocked until the event loop of a worker, or the supervisor, handles them.
    signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.SIGNALS)
    workers = [_fork(work, groups, index, readiness) for index in range(len(groups))]
    try:
        _hand_over(workers, groups, readiness, supervision)
    except OSError:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        raise


def _fork(
    work: Work, groups: Sequence[Sequence[socket.socket]], index: int, readiness: Readiness
) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.close(readiness.reading)
        for other, group in enumerate(groups):
            if other != index:
                for sock in group:
                    sock.close()
        work(groups[index], readiness.reporter(index))
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


def _hand_over(
    workers: Sequence[int],
    groups: Sequence[Sequence[socket.socket]],
    readiness: Readiness,
    supervision: Supervision,
) -> NoReturn:
    descriptors = [[sock.fileno() for sock in group] for group in groups]
    plan = {
        "workers": list(workers),
        "groups": descriptors,
        "command": list(supervision.command),
        "readiness": readiness.reading,
        "stop_timeout": supervision.stop_timeout,
        "announcement": supervision.announcement,
        "metrics_folder": supervision.metrics_folder,
        "is_json": supervision.is_json,
    }
    content = marshal.dumps((plan, supervision.socket_file, supervision.folder))
    described = anonymous_file(content)
    inherited = [readiness.reading, readiness.writing, described, *supervision.kept]
    for descriptor in (*inherited, *(one for group in descriptors for one in group)):
        os.set_inheritable(descriptor, True)
    program = str(Path(supervisor.__file__).resolve())
    command = [sys.executable, "-I", "-S", program, str(described)]
    os.execv(command[0], command)  # noqa: S606 - no shell


def anonymous_file(content: bytes) -> int:
    """The descriptor of a file without a name, in memory where the system permits that."""
    try:
        descriptor = os.memfd_create("zenzefi")
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return descriptor
