"""Refuses new connections at a listening socket, so that it can be closed without resetting any.

Closing a listener resets the connections in its backlog, and between the last ``accept`` and
``close`` another one can arrive. On Linux, a socket filter (``socket(7)``, SO_ATTACH_FILTER) drops
the segments that begin a connection. The client sends its SYN again after a second (RFC 6298, 2.1)
and reaches another worker of the same port, or is refused because nothing listens.

Elsewhere, on Unix sockets, and where filters are not permitted, the functions do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER; not in the socket module
_FLAGS = 13  # the octet of the TCP header that has SYN and ACK (RFC 9293, 3.1)
_SYN, _ACK = 0x02, 0x10
# Classic BPF as in linux/bpf_common.h: code, jump if true, jump if false, operand.
_PROGRAM = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS),  # ldb: load the octet; a filter of TCP sees the TCP header first
        (0x54, 0, 0, _SYN | _ACK),  # and
        (0x15, 0, 1, _SYN),  # jeq: SYN without ACK?
        (0x06, 0, 0, 0),  # ret 0: drop
        (0x06, 0, 0, 0xFFFFFFFF),  # ret: pass the whole segment
    )
)
_INSTRUCTIONS = 5


def refuse(sock: socket.socket) -> None:
    """Let no new connection begin at a listening socket. Those in its backlog stay."""
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    with contextlib.suppress(OSError):
        filter_ = struct.pack("@HP", _INSTRUCTIONS, ctypes.addressof(program))
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH, filter_)


def permit(sock: socket.socket) -> None:
    """Take back :func:`refuse`, which another process may have called on the same socket."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):  # without a filter: ENOENT
        sock.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
