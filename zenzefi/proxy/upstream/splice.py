"""Transfers large bodies from socket to socket inside the kernel with ``splice(2)``.

The bytes of a body of known length are never copied into this process: a pipe carries references
to the kernel's pages from one socket to the other. The transports keep their sockets. The splice
uses duplicates of their descriptors while the transports neither read nor write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Protocol

if sys.platform != "win32":
    import fcntl

LARGE = 1024 * 1024
"""Bytes that must remain for a splice to be faster than copying."""

_PIPE = 1024 * 1024  # capacity of the pipe in bytes
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, fcntl(2)
_TURN = 4 * 1024 * 1024  # bytes per call, so that other callbacks of the loop are not delayed


class SpliceListener(Protocol):
    """Is notified of the progress and the end of a splice."""

    def moved(self, count: int, *, is_waiting: bool) -> None:
        """``count`` bytes were written; ``is_waiting``: the receiving socket is full."""

    def spliced(self) -> None:
        """All bytes were written."""

    def source_broke(self) -> None:
        """The sending socket was closed before the end of the body."""

    def sink_broke(self) -> None:
        """The receiving socket was closed."""


def is_possible(*transports: asyncio.Transport) -> bool:
    """Whether all are plain sockets (no TLS) and the system supports splice(2)."""
    return hasattr(os, "splice") and all(
        transport.get_extra_info("ssl_object") is None
        and transport.get_extra_info("socket") is not None
        for transport in transports
    )


class Splice:
    """Moves ``remaining`` bytes from one transport's socket to another's.

    Raises ``OSError`` if no file descriptors are available.
    """

    def __init__(
        self,
        owner: SpliceListener,
        source: asyncio.Transport,
        sink: asyncio.Transport,
        remaining: int,
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._remaining = remaining  # bytes not yet in the pipe
        self._inside = 0  # bytes in the pipe
        self._is_closed = False
        self._is_writing = False
        self._outcome: Callable[[], None] | None = None
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._source = self._sink = -1
        try:
            with contextlib.suppress(OSError):  # the user's limit for all pipes is reached
                fcntl.fcntl(self._in, _SET_PIPE_SIZE, _PIPE)
            self._source = os.dup(source.get_extra_info("socket").fileno())
            self._sink = os.dup(sink.get_extra_info("socket").fileno())
        except OSError:
            self._close_descriptors()
            raise
        self._loop.add_reader(self._source, self._move)

    def close(self) -> None:
        """Stop. It may be called repeatedly."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._source)
            self._loop.remove_writer(self._sink)
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        for descriptor in (self._source, self._sink, self._in, self._out):
            if descriptor >= 0:
                os.close(descriptor)

    def _move(self) -> None:
        """Move the bytes that can be moved now, up to the limit of one call."""
        inside, remaining = self._inside, self._remaining
        self._turn()
        count = inside + remaining - self._inside - self._remaining
        if not self._is_closed:
            self._wait()
        self._owner.moved(count, is_waiting=self._is_writing)
        if self._outcome is not None:
            self._outcome()

    def _turn(self) -> None:
        for _ in range(_TURN // _PIPE):
            if self._inside < _PIPE // 2 and self._remaining:
                try:
                    count = os.splice(
                        self._source, self._in, min(self._remaining, _PIPE), flags=_FLAGS
                    )
                except BlockingIOError:
                    count = -1
                except OSError:
                    count = 0
                if not count:
                    self._end(self._owner.source_broke)
                    return
                if count > 0:
                    self._remaining -= count
                    self._inside += count
                elif not self._inside:
                    break
            try:
                self._inside -= os.splice(self._out, self._sink, self._inside, flags=_FLAGS)
            except BlockingIOError:
                break
            except OSError:
                self._end(self._owner.sink_broke)
                return
            if not self._inside and not self._remaining:
                self._end(self._owner.spliced)
                return

    def _end(self, outcome: Callable[[], None]) -> None:
        self.close()
        self._outcome = outcome

    def _wait(self) -> None:
        """Wait for the receiving socket while the pipe holds bytes, else for the sending one."""
        is_writing = self._inside > 0
        if is_writing != self._is_writing:
            self._is_writing = is_writing
            if is_writing:
                self._loop.remove_reader(self._source)
                self._loop.add_writer(self._sink, self._move)
            else:
                self._loop.remove_writer(self._sink)
                self._loop.add_reader(self._source, self._move)


_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
