"""The process that replaces a worker after a crash; the supervisor starts it.

It reads what the first workers inherited by fork from a file without a name: the settings as they
were at the start, which the other workers still have, and the descriptors of the sockets. It loads
the reloadable settings again, because the others may have done so.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from zenzefi.commands.common import explained
from zenzefi.commands.gate import ServedGate, one_process
from zenzefi.observability import logs
from zenzefi.runtime import workers
from zenzefi.runtime.server import run
from zenzefi.runtime.sockets import InheritedSocket
from zenzefi.runtime.supervisor import read_all
from zenzefi.settings import Settings


@dataclass(frozen=True, slots=True)
class WorkerContent:
    """The content of the file. ``groups``: the descriptors of the sockets of each worker."""

    settings: Settings
    loaded: Settings
    groups: list[list[int]]
    are_inherited: bool
    metrics: int | None
    readiness: int

    @classmethod
    def of(
        cls, gate: ServedGate, groups: Sequence[Sequence[socket.socket]], readiness: int
    ) -> WorkerContent:
        """The content for these sockets; ``readiness`` is the pipe of the supervisor."""
        return cls(
            settings=gate.settings,
            loaded=gate.loaded,
            groups=[[sock.fileno() for sock in group] for group in groups],
            are_inherited=isinstance(groups[0][0], InheritedSocket),
            metrics=None if gate.metrics is None else gate.metrics.fileno(),
            readiness=readiness,
        )

    def saved(self) -> int:
        """The descriptor of a file with this content."""
        return workers.anonymous_file(pickle.dumps(self))

    def sockets(self, index: int) -> list[socket.socket]:
        """The listening sockets of one worker."""
        kind = InheritedSocket if self.are_inherited else socket.socket
        return [_opened(kind, descriptor) for descriptor in self.groups[index]]

    def gate(self) -> ServedGate:
        """The gate that a worker serves."""
        metrics = None if self.metrics is None else _opened(socket.socket, self.metrics)
        return ServedGate(self.settings, self.loaded, metrics)


def _opened(kind: type[socket.socket], descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    sock = kind(fileno=descriptor)
    sock.setblocking(False)
    return sock


def command(content: int) -> list[str]:
    """The command that starts a replacement; the index of its group of sockets is appended."""
    # The same modules as in this process: neither its folder nor its path are searched again.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    return [sys.executable, "-P", "-c", code, str(content)]


def main() -> None:
    """Serve one group of sockets: ``DESCRIPTOR INDEX``."""
    descriptor, index = map(int, sys.argv[1:])
    # Written by the command that started this node, and only accessible to it.
    content: WorkerContent = pickle.loads(read_all(descriptor))  # noqa: S301
    os.close(descriptor)
    os.set_inheritable(content.readiness, False)
    logs.configure(content.settings)
    ready = workers.reporter(content.readiness, index)
    with explained():
        run(one_process(content.gate(), content.sockets(index), ready, is_late=True))
