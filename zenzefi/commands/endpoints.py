"""Where ``zenzefi serve`` listens: an address, a Unix socket, or what systemd opened."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zenzefi.commands.common import Exit, explained, fail

if TYPE_CHECKING:
    from zenzefi.settings import Settings


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The open sockets: a group for each worker, and the one of ``METRICS_LISTEN``.

    ``hosts`` are the TCP addresses among them, ``name`` is the first socket's address, ``url`` the
    same as a URL (``None`` for a Unix socket).
    """

    groups: list[list[socket.socket]]
    hosts: list[str]
    name: str
    url: str | None
    metrics: socket.socket | None = None
    warnings: list[str] = field(default_factory=list)
    socket_file: tuple[str, int] | None = None
    """Path and inode of a Unix socket that was created."""


@contextlib.contextmanager
def opened(
    settings: Settings, host: str, port: int, unix: Path | None, workers: int
) -> Iterator[Endpoints]:
    """Open the sockets; a Unix socket is removed at the end.

    Ends the command if an address can't be listened on. The address of the metrics is optional: if
    it is in use, a warning says so.
    """
    from zenzefi.runtime import sockets, supervisor

    socket_file = None
    with explained():
        shared = sockets.inherited()
        if unix is not None and not shared:
            shared = [sockets.bind_unix(unix)]
            socket_file = str(unix.absolute()), unix.lstat().st_ino
    groups = (
        sockets.groups(shared, workers)
        if shared
        else _on_tcp(host, port, settings.proxy_port, workers)
    )
    tcp = [sock for sock in groups[0] if sock.family != socket.AF_UNIX]
    metrics, warnings = _metrics(settings)
    try:
        yield Endpoints(
            groups=groups,
            hosts=[sock.getsockname()[0] for sock in tcp],
            name=sockets.name_of(groups[0][0]),
            url=f"http://{sockets.name_of(tcp[0])}" if tcp else None,
            metrics=metrics,
            warnings=warnings,
            socket_file=socket_file,
        )
    finally:
        if socket_file is not None:
            supervisor.remove_socket_file(*socket_file)


def _on_tcp(host: str, port: int, second: int | None, workers: int) -> list[list[socket.socket]]:
    """The sockets of each worker: of ``port`` first, then of ``PROXY_PORT``."""
    from zenzefi.runtime.sockets import bind

    if second == port:
        fail(f"PROXY_PORT must be another port than --port: both are {port}.", Exit.SETTINGS)
    with explained():
        ports = [port] if second is None else [port, second]
        found = [bind(host, one, workers) for one in ports]
    return [list(group) for group in zip(*found, strict=True)]


def _metrics(settings: Settings) -> tuple[socket.socket | None, list[str]]:
    from zenzefi.runtime.sockets import PortTaken, bind

    if settings.metrics_listen is None:
        return None, []
    host, _, port = settings.metrics_listen.rpartition(":")
    try:
        return bind(host.strip("[]"), int(port))[0], []
    except PortTaken as error:
        return None, [f"METRICS_LISTEN: {error} The metrics are not served."]
