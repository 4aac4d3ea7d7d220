"""Ends a plugin's call that does not come back, so that one bad loop can't hold the whole gate.

Hooks run on the event loop. While one runs, nothing else does: an endless loop, a regular
expression that backtracks for hours or a ``time.sleep`` would stop every other exchange. So a
signal looks whether the same call still runs, and when it has for too long its handler raises
:class:`Blocked` right in the plugin's code; signals also end a sleep and a long match of ``re``.
The signal comes from the kernel's timer of the process's own time, for no thread gets a turn while
``re`` holds the interpreter, and from a thread, for no timer runs while a plugin sleeps.

A ``document`` hook runs in a thread of its own (:func:`in_time`): no signal reaches it, so whoever
waits for it waits no longer, and an exception is left for it to find.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import mmap
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

TICK = 0.25
"""Seconds between two looks."""
CPU_SECONDS = 1.0
"""Processor time after which a call is ended."""
WALL_SECONDS = 3.0
"""Time after which it is ended whatever it used: it sleeps, or waits for something."""
GROWTH = 512 * 1024 * 1024
"""Bytes that the process may grow by during one call."""
DOCUMENT_SECONDS = 10.0
"""Time for a ``document`` hook, which does not run on the event loop."""
DOCUMENT_THREADS = 4
"""Documents that plugins work on at the same time; one more passes untouched."""

# Nobody else's: neither asyncio's, nor a server's, nor a test runner's.
_SIGNAL = getattr(signal, "SIGVTALRM", None)  # None on Windows, which has no such signals
_TIMER = getattr(signal, "ITIMER_VIRTUAL", 0)
_T = TypeVar("_T")


class Blocked(BaseException):
    """Raised in a hook that held its thread too long.

    No :class:`Exception`: a plugin's own ``except Exception`` must not swallow it.
    """


class Cost(str):
    """Why a document costs a plugin too much; says something of the document alone."""

    __slots__ = ()


class Watchdog:
    """Watches the calls that the event loop's thread makes between :meth:`enter` and :meth:`leave`.

    Signals are the process's and come to its main thread, so there is one watchdog per process,
    :data:`WATCHDOG`, and it only watches an event loop in the main thread.
    """

    def __init__(self) -> None:
        self._call = 0  # counts calls: whether it is still the same one
        self._is_in = False
        self._ticked, self._ticks = -1, 0  # the call that the timer saw, and how often
        self._condemned = -1  # the call that the thread gave up
        self._why = ""
        self._users = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._before: object = None

    def enter(self) -> None:
        """A plugin's code begins to run. Costs two assignments."""
        self._call += 1
        self._is_in = True

    def leave(self) -> None:
        """It came back."""
        self._is_in = False

    def start(self) -> bool:
        """Begin to watch; every start that succeeds needs its :meth:`stop`.

        False outside the main thread, and where the system has no such signals (Windows).
        """
        if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
            return False
        self._users += 1
        if self._users == 1:
            self._before = signal.signal(_SIGNAL, self._on_signal)
            # A process that ends without stop() gives its handlers up before its timers, and the
            # signal would kill it in the midst of saying why it ends.
            atexit.register(signal.setitimer, _TIMER, 0)
            signal.setitimer(_TIMER, TICK, TICK)
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="plugin watchdog", daemon=True)
            self._thread.start()
        return True

    def stop(self) -> None:
        """The last user's stop ends the watch."""
        self._users -= 1
        if self._users or self._thread is None or _SIGNAL is None:
            return
        signal.setitimer(_TIMER, 0)
        atexit.unregister(signal.setitimer)
        self._stop.set()
        self._thread.join()
        self._thread = None
        # None: a handler that was not set from Python can't be set again from there.
        signal.signal(_SIGNAL, self._before or signal.SIG_DFL)  # type: ignore[arg-type]

    def _watch(self) -> None:
        main = threading.main_thread().ident
        call, looks, resident = -1, 0, 0
        while not self._stop.wait(TICK):
            # Looks are counted, not time: a process that was stopped for an hour is no plugin's
            # fault, and a machine without time to spare runs neither the plugin nor this.
            if not self._is_in or self._call != call:
                call, looks, resident = self._call, 0, _resident() if self._is_in else 0
                continue
            looks += 1
            if _resident() - resident > GROWTH:
                self._why = "it ate too much memory and was ended"
            elif looks * TICK >= WALL_SECONDS:
                self._why = _HELD_UP
            else:
                continue
            looks = 0  # whoever swallows it has the same time again
            self._condemned = call
            if main is not None and _SIGNAL is not None:
                signal.pthread_kill(main, _SIGNAL)

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        if not self._is_in:
            return
        why = self._why
        if self._call != self._condemned:  # the timer's
            why = _HELD_UP
            if self._call != self._ticked:
                self._ticked, self._ticks = self._call, 0
                return
            self._ticks += 1
            if self._ticks * TICK < CPU_SECONDS:
                return
        self._condemned, self._ticks = -1, 0
        raise Blocked(why)


_HELD_UP = "it held up the whole gate and was ended"
_PAGE = mmap.PAGESIZE


def _resident() -> int:
    """Bytes of the process in memory; 0 where no /proc says."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        return 0


WATCHDOG = Watchdog()
"""The one of this process."""

_documents = threading.BoundedSemaphore(DOCUMENT_THREADS)


def in_time(work: Callable[[], _T], seconds: float | None = None) -> _T:
    """What ``work`` returns, worked out in a thread of its own; raises what it raises.

    Raises :class:`Blocked` when it takes longer than ``seconds`` (by default
    :data:`DOCUMENT_SECONDS`), makes the process grow by more than :data:`GROWTH`, or when so many
    others still do that no thread is left. A loop in Python ends soon after; what never returns
    from C keeps its place until the process ends.
    """
    limit = DOCUMENT_SECONDS if seconds is None else seconds
    if not _documents.acquire(blocking=False):
        raise Blocked(f"{DOCUMENT_THREADS} documents are being worked on: this one passes")
    result: list[_T] = []
    error: list[BaseException] = []
    is_left = threading.Event()

    def run() -> None:
        try:
            result.append(work())
        except BaseException as raised:
            if not is_left.is_set():
                error.append(raised)
        finally:
            _documents.release()
        if is_left.is_set():
            result.clear()
            gc.collect()  # a tree is full of circles, and this one may be large

    thread = threading.Thread(target=run, name="document plugin", daemon=True)
    resident, end = _resident(), time.monotonic() + limit
    thread.start()
    why = f"it took longer than {limit:g} s"
    while thread.is_alive() and (left := end - time.monotonic()) > 0:
        thread.join(min(TICK, left))
        if _resident() - resident > GROWTH:
            why = "it ate too much memory and was ended"
            break
    if thread.is_alive():
        is_left.set()
        with contextlib.suppress(AttributeError):  # a Python without that interface
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Blocked)
            )
        raise Blocked(why)
    if error:
        raise error[0]
    return result[0]
