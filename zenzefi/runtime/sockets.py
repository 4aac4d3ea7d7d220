"""Listening sockets: on TCP addresses, on a Unix socket, or opened by systemd.

They are opened before the workers are forked. On a TCP address every worker has its own socket,
and the kernel distributes connections over them (SO_REUSEPORT). A Unix socket and the sockets
of systemd can't be opened twice: all workers accept connections from the same one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

BACKLOG = 1024
_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_UNIX_UMASK = 0o117  # a Unix socket is for its owner and its group


class PortTaken(Exception):
    """The address can't be listened on. The text contains the address and the reason."""


class InheritedSocket(socket.socket):
    """A listening socket that systemd opened and keeps open while the gate is restarted."""


def bind(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Open ``count`` listening sockets on one address, one per worker; port 0 means a free port.

    Raises :class:`PortTaken`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        # An exclusive bind first: with SO_REUSEPORT alone, two gates could share a port by mistake.
        with _bound(family, host, port, reuse_port=False) as probe:
            port = probe.getsockname()[1]
            if count == 1:
                sockets.append(probe.dup())
        while len(sockets) < count:
            sockets.append(_bound(family, host, port, reuse_port=True))
        for sock in sockets:
            _listen(sock)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise PortTaken(f"{host}:{port} can't be listened on: {_reason(error)}.") from None
    return sockets


def _bound(family: int, host: str, port: int, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Inherited by accepted connections: small responses are sent without delay.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def bind_unix(path: Path) -> socket.socket:
    """Open a listening socket at ``path``, for this user and the group of the folder.

    A socket that no program listens on any more is replaced.

    Raises :class:`PortTaken`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(_UNIX_UMASK)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        _listen(sock)
    except OSError as error:
        sock.close()
        raise PortTaken(f"{path} can't be listened on: {_reason(error)}.") from None
    return sock


def _remove_stale(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "it is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def inherited() -> list[socket.socket]:
    """The listening sockets that systemd passed to this process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "0")
    found: list[socket.socket] = []
    for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + (int(count) if count.isdigit() else 0)):
        os.set_inheritable(fd, False)
        sock = InheritedSocket(fileno=fd)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        found.append(sock)
    return found


def groups(shared: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Sockets for each of ``workers`` processes, which all accept from the ``shared`` ones."""
    return [list(shared), *([sock.dup() for sock in shared] for _ in range(workers - 1))]


def name_of(sock: socket.socket) -> str:
    """The address of a socket: ``127.0.0.1:8000``, ``[::1]:8000`` or ``unix:/run/gate.sock``."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(sock: socket.socket) -> None:
    sock.listen(BACKLOG)
    sock.setblocking(False)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses it"
    return error.strerror or str(error)
