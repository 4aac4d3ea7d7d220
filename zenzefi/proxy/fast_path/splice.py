"""Large bodies from socket to socket inside the kernel: ``splice(2)``, where there is one.

The bytes of a body of known length need not come up here: a pipe carries references to the
kernel's own pages from one socket to the other. The transports keep their sockets; the splice works
on duplicates of their descriptors while the transports neither read nor write the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Protocol

LARGE = 1024 * 1024
"""Bytes still to come from which on a splice is worth its pipe."""

_PIPE = 1024 * 1024  # bytes that may be on their way in the pipe
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, fcntl(2)
_TURN = 4 * 1024 * 1024  # bytes after which others get their turn


class SpliceListener(Protocol):
    """Who began a splice and hears of it."""

    def moved(self, count: int, *, is_waiting: bool) -> None:
        """``count`` bytes have left; ``is_waiting``: the receiving side is slower now."""

    def spliced(self) -> None:
        """All of it has left."""

    def source_broke(self) -> None:
        """The sending side has ended before the end of the body."""

    def sink_broke(self) -> None:
        """The receiving side is gone."""


def is_possible(*transports: asyncio.Transport) -> bool:
    """Whether both are plain sockets of a system that can splice."""
    return hasattr(os, "splice") and all(
        transport.get_extra_info("ssl_object") is None
        and transport.get_extra_info("socket") is not None
        for transport in transports
    )


class Splice:
    """Moves ``left`` bytes from one transport's socket to another's.

    Raises ``OSError`` if there are no descriptors left for it.
    """

    def __init__(
        self, owner: SpliceListener, source: asyncio.Transport, sink: asyncio.Transport, left: int
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._left = left  # bytes not yet in the pipe
        self._inside = 0  # bytes in the pipe
        self._is_closed = False
        self._is_writing = False
        self._outcome: Callable[[], None] | None = None
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._source = self._sink = -1
        try:
            with contextlib.suppress(OSError):  # the limit for all pipes of a user is reached
                fcntl.fcntl(self._in, _SET_PIPE_SIZE, _PIPE)
            self._source = os.dup(source.get_extra_info("socket").fileno())
            self._sink = os.dup(sink.get_extra_info("socket").fileno())
        except OSError:
            self._close_descriptors()
            raise
        self._loop.add_reader(self._source, self._move)

    def close(self) -> None:
        """Stop; harmless when repeated."""
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
        """As much as goes now, within one turn."""
        inside, left = self._inside, self._left
        self._turn()
        count = inside + left - self._inside - self._left
        if not self._is_closed:
            self._wait()
        self._owner.moved(count, is_waiting=self._is_writing)
        if self._outcome is not None:
            self._outcome()

    def _turn(self) -> None:
        for _ in range(_TURN // _PIPE):
            if self._inside < _PIPE // 2 and self._left:
                try:
                    count = os.splice(self._source, self._in, min(self._left, _PIPE), flags=_FLAGS)
                except BlockingIOError:
                    count = -1
                except OSError:
                    count = 0
                if not count:
                    self._end(self._owner.source_broke)
                    return
                if count > 0:
                    self._left -= count
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
            if not self._inside and not self._left:
                self._end(self._owner.spliced)
                return

    def _end(self, outcome: Callable[[], None]) -> None:
        self.close()
        self._outcome = outcome

    def _wait(self) -> None:
        """For the receiving side while something is in the pipe, else for the sending one."""
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
