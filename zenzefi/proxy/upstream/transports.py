"""The end of a connection, as its transport sees it."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Iterator

if sys.platform != "win32":
    from fcntl import ioctl
    from termios import TIOCOUTQ
_MAX_RESCUE_READS = 16  # of 64 KiB each: not more than may be buffered anyway


def is_proper_end(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the upstream itself has ended the connection; call it in ``eof_received``.

    Over TLS that takes a closure alert (close_notify). An attacker on the network can end the TCP
    stream without one (truncation attack, RFC 9112, 9.8), and asyncio reports both as EOF.
    """
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return True
    try:
        return not tls.read(1)  # empty after the alert; without one OpenSSL raises SSLWantReadError
    except ssl.SSLError:
        return False


def unread_of(transport: asyncio.BaseTransport | None) -> Iterator[bytes]:
    """The bytes in the socket's receive buffer of a connection that is about to end.

    A failed write ends a transport although bytes may have arrived before the reset, and asyncio
    does not read them any more. Call it in ``connection_lost`` or before, while the socket is open.
    Over TLS there is nothing to return, because only the transport has the keys.
    """
    if transport is None or transport.get_extra_info("ssl_object") is not None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    for _ in range(_MAX_RESCUE_READS):
        try:
            data = os.read(descriptor, 64 * 1024)
        except OSError:  # the buffer is empty, or the socket has an error
            return
        if not data:
            return
        yield data


def unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes in the socket's send queue that the peer's system has not acknowledged, tcp(7).

    0 where the system does not tell. Call it before ``connection_lost``.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # the socket is closed, or the system has no such call
        return 0
