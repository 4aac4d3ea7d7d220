"""File descriptors: a reserve that keeps the gate's pages reachable under load.

A process without free descriptors can't accept any connection, not even one for ``/health``. So the
last descriptors are reserved. Once only the reserve is left, connections to the upstream are
rejected (503 ``too_many_open_files``), and idle client connections are closed, the oldest first.

A new descriptor has the lowest free number (POSIX.1-2017, 2.14), so its number is a lower bound of
the number of open descriptors, and no counting is needed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import time
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from zenzefi.observability.metrics import DESCRIPTOR_SHORTAGES

if sys.platform != "win32":
    import resource

log = logging.getLogger(__name__)

_MOST_RESERVED = 64
_LOG_EVERY = 10.0  # seconds between two lines about the same shortage
_KEPT = 8  # newest connections that are not closed: their first request may be on the way


class _ThrottledLog:
    """Writes at most one log line in :data:`_LOG_EVERY` seconds."""

    def __init__(self) -> None:
        self.due = 0.0

    def write(self, text: str, *values: object) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + _LOG_EVERY
            log.error(text, *values)


_line = _ThrottledLog()


def limit() -> int:
    """The maximum number of open descriptors of this process."""
    if sys.platform == "win32":  # the desktop client
        return 2**31
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def reserve(most: int) -> int:
    """How many of ``most`` descriptors are reserved: an eighth, at most 64."""
    return min(_MOST_RESERVED, most // 8)


def require_descriptors() -> None:
    """Raise ``OSError`` (EMFILE) if only the reserve is left. Takes two system calls."""
    most = limit()
    lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(lowest)
    if lowest >= most - reserve(most):
        DESCRIPTOR_SHORTAGES.labels("upstream").inc()
        _line.write("too many open files: refused=upstream open=%d limit=%d", lowest, most)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def accepted(server: web.Server, transport: asyncio.BaseTransport) -> None:
    """Close idle connections if the connection of a new client took a reserved descriptor."""
    sock = transport.get_extra_info("socket")
    number = -1 if sock is None else sock.fileno()
    most = limit()
    if number < most - reserve(most):
        return
    DESCRIPTOR_SHORTAGES.labels("client").inc()
    closed = _close_idle(server, reserve(most))
    _line.write("too many open files: accepted=%d limit=%d idle_closed=%d", number, most, closed)


def _close_idle(server: web.Server, count: int) -> int:
    """Close up to ``count`` idle connections, the oldest first; return how many were closed."""
    closed = 0
    for handler in server.connections[:-_KEPT]:
        if closed == count:
            break
        if isinstance(handler, RequestHandler) and _is_idle(handler):
            handler.force_close()
            closed += 1
    return closed


def _is_idle(handler: RequestHandler) -> bool:
    return (
        handler._current_request is None
        and not handler._request_in_progress
        and not handler._upgraded
    )


def note_failed_accept(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler of the event loop: throttles asyncio's reports of failed accepts."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        DESCRIPTOR_SHORTAGES.labels("accept").inc()
        _line.write("too many open files: accepted=none limit=%d error=%s", limit(), error.strerror)
        return
    loop.default_exception_handler(context)
