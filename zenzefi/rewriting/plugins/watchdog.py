"""The watchdog interrupts plugin calls that do not return, so that one loop can't block the gate.

Theory of operation
    Hooks run on the event loop. While one runs, no other request is served. A signal checks
    whether the same call is still running and, if it has run too long, the signal handler raises
    :class:`Blocked` inside the plugin's code. Signals also interrupt a sleep and a long ``re``
    match. The signal has two sources, because neither covers all cases:

    - a kernel timer of the process's CPU time, because no thread runs while ``re`` holds the
      interpreter lock. It interrupts a call after :data:`CPU_SECONDS`;
    - a thread that wakes every :data:`TICK`, because the CPU timer does not advance while a plugin
      sleeps. It interrupts a call after :data:`WALL_SECONDS`, or if memory grew by :data:`GROWTH`.

    A ``document`` hook runs in a separate thread (:func:`in_time`), which no signal reaches. The
    caller stops waiting after :data:`DOCUMENT_SECONDS` and sets an exception in that thread.

States of the watchdog
    stopped; idle (no plugin code runs: signals are ignored); watching one call, numbered by
    ``_call``; and, for the thread's signal, a condemned call, which the handler interrupts once.

Guarantees
    - :class:`Blocked` is raised only between :meth:`Watchdog.enter` and :meth:`Watchdog.leave`,
      never in the gate's own code.
    - Entering and leaving cost three assignments; nothing is measured per call.
    - Time during which the whole process was stopped does not count against a plugin.
    - Not covered: C code that ignores signals, an event loop outside the main thread, and Windows.
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
"""Seconds between two checks."""
CPU_SECONDS = 1.0
"""CPU seconds after which a call is interrupted."""
WALL_SECONDS = 3.0
"""Seconds after which a call is interrupted even if it used no CPU time."""
GROWTH = 512 * 1024 * 1024
"""Bytes by which the process may grow during one call."""
DOCUMENT_SECONDS = 10.0
"""Time limit of a ``document`` hook, in seconds."""
DOCUMENT_THREADS = 4
"""Most ``document`` hooks at the same time; further documents pass unchanged."""

# Neither asyncio nor servers nor test runners use this signal.
_SIGNAL = getattr(signal, "SIGVTALRM", None)  # None on Windows, which has no such signals
_TIMER = getattr(signal, "ITIMER_VIRTUAL", 0)
_T = TypeVar("_T")


class Blocked(BaseException):
    """Raised in a hook that held its thread too long.

    Not an :class:`Exception`: a plugin's own ``except Exception`` must not catch it.
    """


class Cost(str):
    """The reason why a document is too expensive: it says nothing about other documents."""

    __slots__ = ()


class Watchdog:
    """Watches the calls that the event loop's thread makes between :meth:`enter` and :meth:`leave`.

    Python runs signal handlers in the main thread, so there is one watchdog per process,
    :data:`WATCHDOG`, and it watches only an event loop in the main thread.
    """

    def __init__(self) -> None:
        self._call = 0  # number of the current call
        self._is_in = False
        self._ticked, self._ticks = -1, 0  # the call that the timer found, and how often
        self._condemned = -1  # the call that the thread interrupts
        self._why = ""
        self._users = 0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._before: object = None

    def enter(self) -> None:
        """A plugin call begins."""
        self._call += 1
        self._is_in = True

    def leave(self) -> None:
        """The plugin call returned."""
        self._is_in = False

    def start(self) -> bool:
        """Start watching. Every successful start needs a :meth:`stop`.

        Returns ``False`` outside the main thread and on systems without these signals (Windows).
        """
        if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
            return False
        self._users += 1
        if self._users == 1:
            self._before = signal.signal(_SIGNAL, self._on_signal)
            # Without stop(), an exiting process removes its handlers before its timers, and the
            # signal would kill it during its exit.
            atexit.register(signal.setitimer, _TIMER, 0)
            signal.setitimer(_TIMER, TICK, TICK)
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="plugin watchdog", daemon=True)
            self._thread.start()
        return True

    def stop(self) -> None:
        """Stop watching when every start has its stop."""
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
            # Checks are counted, not time: if the process was stopped or the machine is overloaded,
            # neither the plugin nor this thread runs.
            if not self._is_in or self._call != call:
                call, looks, resident = self._call, 0, _resident() if self._is_in else 0
                continue
            looks += 1
            if _resident() - resident > GROWTH:
                self._why = "it used too much memory and was interrupted"
            elif looks * TICK >= WALL_SECONDS:
                self._why = _HELD_UP
            else:
                continue
            looks = 0  # a plugin that catches the exception gets the same time again
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


_HELD_UP = "it blocked the event loop and was interrupted"
_PAGE = mmap.PAGESIZE


def _resident() -> int:
    """Resident memory of the process, in bytes; 0 without /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        return 0


WATCHDOG = Watchdog()
"""The watchdog of this process."""

_documents = threading.BoundedSemaphore(DOCUMENT_THREADS)


def in_time(work: Callable[[], _T], seconds: float | None = None) -> _T:
    """Run ``work`` in a separate thread and return its result, or raise its exception.

    Raises :class:`Blocked` if it takes longer than ``seconds`` (default:
    :data:`DOCUMENT_SECONDS`), makes the process grow by more than :data:`GROWTH`, or if
    :data:`DOCUMENT_THREADS` calls are already running. A loop in Python ends soon after; a call
    that never returns from C occupies one of the threads until the process exits.
    """
    limit = DOCUMENT_SECONDS if seconds is None else seconds
    if not _documents.acquire(blocking=False):
        raise Blocked(f"{DOCUMENT_THREADS} documents are in progress: this one passes unchanged")
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
            gc.collect()  # a tree consists of reference cycles and may be large

    thread = threading.Thread(target=run, name="document plugin", daemon=True)
    resident, end = _resident(), time.monotonic() + limit
    thread.start()
    why = f"it took longer than {limit:g} s"
    while thread.is_alive() and (left := end - time.monotonic()) > 0:
        thread.join(min(TICK, left))
        if _resident() - resident > GROWTH:
            why = "it used too much memory and was interrupted"
            break
    if thread.is_alive():
        is_left.set()
        with contextlib.suppress(AttributeError):  # another Python implementation
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Blocked)
            )
        raise Blocked(why)
    if error:
        raise error[0]
    return result[0]
