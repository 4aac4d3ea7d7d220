"""Opening a connection to the upstream: its certificate, its socket's options, what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import hmac
import logging
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from zenzefi.proxy.errors import TooManyOpenFiles, UpstreamTimeout, UpstreamUnreachable

log = logging.getLogger(__name__)

# An upstream that vanished without a word (its host lost power, say) is noticed within two minutes,
# even where nothing is due from it: behind an idle WebSocket. By name, as not every system has all.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
# This machine has no descriptor, port or memory left: the upstream is not to blame.
_LOCAL_ERRORS = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How the upstream's certificate is checked."""

    context: ssl.SSLContext
    pin: bytes | None = None

    @classmethod
    def build(cls, *, verify: bool, ca_file: Path | None, pinned_sha256: str | None) -> Tls:
        """Verified by default; a pinned certificate replaces the chain of trust."""
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if pinned_sha256 or not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return cls(context, bytes.fromhex(pinned_sha256) if pinned_sha256 else None)

    def check(self, transport: asyncio.BaseTransport) -> None:
        """Raise :class:`UpstreamUnreachable` if the certificate is not the pinned one."""
        if self.pin is None:
            return
        peer = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if not hmac.compare_digest(hashlib.sha256(peer or b"").digest(), self.pin):
            raise UpstreamUnreachable


def connect_error(error: BaseException) -> BaseException:
    """What a failed attempt to connect is, logged: the upstream's fault, or this machine's."""
    if isinstance(error, TimeoutError):
        return UpstreamTimeout()
    if not isinstance(error, OSError):
        return error
    if error.errno in _LOCAL_ERRORS or (
        isinstance(error, socket.gaierror) and not _has_descriptors()
    ):
        log.error("no connection to the upstream, out of local resources: error=%s", error)
        return TooManyOpenFiles()
    # Refused, unresolvable, certificate not accepted.
    log.warning("upstream can't be reached: %s", error)
    return UpstreamUnreachable()


def _has_descriptors() -> bool:
    """Whether one more descriptor can be had: a resolver without any only says that it failed."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the system probe a silent connection (RFC 9293, 3.8.4)."""
    sock: socket.socket = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is gone already, as reading will tell
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
