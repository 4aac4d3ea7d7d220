"""Runs the application in one process: event loop, signals, garbage collection.

:mod:`zenzefi.runtime.workers` runs several processes, :mod:`zenzefi.runtime.drain` stops one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aiohttp import web

from zenzefi.runtime import descriptors, memory
from zenzefi.runtime.drain import GateRunner, ListeningSite
from zenzefi.runtime.sockets import name_of
from zenzefi.tasks import cancel
from zenzefi.version import __version__

log = logging.getLogger(__name__)

DESCRIPTORS = 65536
"""Limit of open descriptors to request from the system."""
T = TypeVar("T")
_STOP = (signal.SIGTERM, signal.SIGINT)


async def serve(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    drain_delay: float = 0,
    drain_timeout: float = 30,
    on_reload: Callable[[], Awaitable[object]] | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal exits the process immediately.

    ``on_reload`` is awaited on SIGHUP, ``on_ready`` is called once connections are accepted. The
    delays are in seconds.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    hangups: asyncio.Queue[None] = asyncio.Queue(maxsize=1)

    def stop() -> None:
        if stopping.is_set():
            log.warning("second signal: exiting immediately")
            logging.shutdown()
            os._exit(1)
        stopping.set()

    def reload() -> None:
        with contextlib.suppress(asyncio.QueueFull):  # one reload handles several signals
            hangups.put_nowait(None)

    loop.set_exception_handler(descriptors.note_failed_accept)
    runner = GateRunner(app, drain_delay=drain_delay, drain_timeout=drain_timeout)
    for number in _STOP:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    # A worker starts with these signals blocked. One that arrived before is delivered now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOP, signal.SIGHUP))
    reloading = asyncio.create_task(_reload(hangups, on_reload), name="reload on SIGHUP")
    try:
        await runner.setup()
        for sock in sockets:
            await ListeningSite(runner, sock).start()
        # Existing objects are permanent. Freezing excludes them from garbage collections, which
        # would otherwise block the event loop for tens of milliseconds each.
        memory.freeze()
        memory.release()
        collections = memory.ShortCollections()
        if on_ready is not None:
            on_ready()
        log.info("serving", extra={"version": __version__, "addresses": _names(sockets)})
        await stopping.wait()
        collections.close()
        log.info("draining", extra={"deadline_seconds": drain_timeout})
    finally:
        reloading.cancel()  # no reload while draining
        await runner.cleanup()
        await cancel([reloading])
        for number in (*_STOP, signal.SIGHUP):
            loop.remove_signal_handler(number)
        log.info("stopped")


async def _reload(
    hangups: asyncio.Queue[None], on_reload: Callable[[], Awaitable[object]] | None
) -> None:
    """Reload once for each item of the queue; a failure is logged."""
    while True:
        await hangups.get()
        try:
            if on_reload is not None:
                await on_reload()
        except Exception:
            log.exception("failed to reload the settings; the current ones stay in effect")


def _names(sockets: Sequence[socket.socket]) -> list[str]:
    return [name_of(sock) for sock in sockets if sock.fileno() >= 0]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop of uvloop if it is installed, else of asyncio."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(main: Awaitable[T]) -> T:
    """Run one coroutine to its end in a new event loop, and return its result."""
    _allow_many_descriptors()

    async def awaiting() -> T:
        return await main

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(awaiting())


def _allow_many_descriptors() -> None:
    """Raise the soft limit: a WebSocket takes two descriptors, and many shells allow only 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
