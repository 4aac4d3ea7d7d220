"""Opening a connection to the upstream: its certificate, its socket options, and errors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket

from zenzefi.proxy.errors import TooManyOpenFiles, UpstreamTimeout, UpstreamUnreachable
from zenzefi.upstream_tls import UpstreamTls

log = logging.getLogger(__name__)

# An upstream that disappeared without closing its connections (its host lost power, say) is
# detected within two minutes, even if no response is due (an idle WebSocket). The options are named
# by strings because not every system has all of them.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
# This machine has no descriptor, port or memory left; the upstream is not the cause.
_LOCAL_ERRORS = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
)


def check_pin(tls: UpstreamTls | None, transport: asyncio.BaseTransport) -> None:
    """Raise :class:`UpstreamUnreachable` if the certificate is not the pinned one."""
    if tls is not None and not tls.is_accepted(transport):
        log.warning("certificate of the upstream does not match the pinned one")
        raise UpstreamUnreachable


def connect_error(error: BaseException) -> BaseException:
    """Log a failed attempt to connect; returns the error for the client."""
    if isinstance(error, TimeoutError):
        return UpstreamTimeout()
    if not isinstance(error, OSError):
        return error
    if error.errno in _LOCAL_ERRORS or (
        isinstance(error, socket.gaierror) and not _has_descriptors()
    ):
        log.error("no connection to the upstream, out of local resources: error=%s", error)
        return TooManyOpenFiles()
    # Connection refused, unknown host, or certificate not verified.
    log.warning("upstream unreachable: error=%s", error)
    return UpstreamUnreachable()


def _has_descriptors() -> bool:
    """Whether a descriptor is left: a resolver without one only reports a general failure."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Make the system probe a silent connection (RFC 9293, 3.8.4)."""
    sock: socket.socket = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # already closed: reading raises the error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
