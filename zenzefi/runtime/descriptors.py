"""File descriptors: a reserve that keeps the health and account pages reachable.

A process without a free descriptor accepts no connection, not even that of ``/health``. So the last
ones are not for proxied traffic: connections to the upstream are refused (503
``too_many_open_files``) once only the reserve is left, and idle connections of clients are closed,
the oldest first.

A new descriptor always has the lowest free number (POSIX.1-2017, 2.14), so its number alone tells
how many are in use at least: no counting is needed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import time
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from zenzefi.observability.metrics import DESCRIPTOR_SHORTAGES

log = logging.getLogger(__name__)

_MOST_RESERVED = 64
_LOG_EVERY = 10.0  # seconds between two lines about the same shortage
_YOUNG = 8  # newest connections that are not closed: somebody may be about to ask


class _Line:
    """A log line that is written at most once in :data:`_LOG_EVERY` seconds."""

    def __init__(self) -> None:
        self.due = 0.0

    def write(self, text: str, *values: object) -> None:
        now = time.monotonic()
        if now >= self.due:
            self.due = now + _LOG_EVERY
            log.error(text, *values)


_line = _Line()


def limit() -> int:
    """How many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def reserve(most: int) -> int:
    """How many of ``most`` are kept for the gate's own pages: an eighth, 64 at most."""
    return min(_MOST_RESERVED, most // 8)


def insist_on_some() -> None:
    """Raise ``OSError`` (EMFILE) when only the reserve is left. Costs two system calls."""
    most = limit()
    lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(lowest)
    if lowest >= most - reserve(most):
        DESCRIPTOR_SHORTAGES.labels("upstream").inc()
        _line.write("too many open files: refused=upstream open=%d limit=%d", lowest, most)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def accepted(server: web.Server, transport: asyncio.BaseTransport) -> None:
    """A client has connected: make room where that took one of the reserve."""
    sock = transport.get_extra_info("socket")
    number = -1 if sock is None else sock.fileno()
    most = limit()
    if number < most - reserve(most):
        return
    DESCRIPTOR_SHORTAGES.labels("client").inc()
    closed = _close_idle(server, reserve(most))
    _line.write("too many open files: accepted=%d limit=%d idle_closed=%d", number, most, closed)


def _close_idle(server: web.Server, count: int) -> int:
    """Close connections without a request, the oldest first; how many were."""
    closed = 0
    for handler in server.connections[:-_YOUNG]:
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
    """Exception handler of the event loop: one line for what asyncio tells of each second."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        DESCRIPTOR_SHORTAGES.labels("accept").inc()
        _line.write("too many open files: accepted=none limit=%d error=%s", limit(), error.strerror)
        return
    loop.default_exception_handler(context)
