"""Running the application: sockets, the event loop, signals. One process of it.

Several processes are :mod:`zenzefi.runtime.workers`; going away is :mod:`zenzefi.runtime.drain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from zenzefi.runtime import descriptors
from zenzefi.runtime.drain import GateRunner, ListeningSite
from zenzefi.version import __version__

log = logging.getLogger(__name__)

BACKLOG = 1024
DESCRIPTORS = 65536
"""Files and sockets that a process may have open, where the system lets it have so many."""
_STOP = (signal.SIGTERM, signal.SIGINT)


class PortTaken(Exception):
    """The address can't be listened on; the text says which and why."""


def bind(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """``count`` listening sockets on one address, one per worker; port 0 takes a free one.

    With several, the kernel spreads the connections over them (SO_REUSEPORT). Raises
    :class:`PortTaken` in plain words.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        # A first, exclusive bind: SO_REUSEPORT alone would let two gates share a port by mistake.
        with _bound(family, host, port, reuse_port=False) as probe:
            port = probe.getsockname()[1]
            if count == 1:
                sockets.append(probe.dup())
        while len(sockets) < count:
            sockets.append(_bound(family, host, port, reuse_port=True))
        for sock in sockets:
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError as error:
        for sock in sockets:
            sock.close()
        reason = (
            "another program uses it"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        raise PortTaken(f"{host}:{port} can't be listened on: {reason}.") from None
    return sockets


def _bound(family: int, host: str, port: int, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Inherited by every accepted connection: small answers leave at once.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


async def serve(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    drain_delay: float = 0,
    drain_timeout: float = 30,
    on_reload: Callable[[], Awaitable[object]] | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    ``on_reload`` is awaited on SIGHUP, ``on_ready`` called once connections are taken.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    hangups: asyncio.Queue[None] = asyncio.Queue(maxsize=1)

    def stop() -> None:
        if stopping.is_set():
            log.warning("second signal: ending at once")
            logging.shutdown()
            os._exit(1)
        stopping.set()

    def reload() -> None:
        with contextlib.suppress(asyncio.QueueFull):  # one reload covers several signals
            hangups.put_nowait(None)

    async def reloading() -> None:
        while True:
            await hangups.get()
            try:
                if on_reload is not None:
                    await on_reload()
            except Exception:
                log.exception("reloading failed; what was in force goes on")

    loop.set_exception_handler(descriptors.note_failed_accept)
    runner = GateRunner(app, drain_delay=drain_delay, drain_timeout=drain_timeout)
    for number in _STOP:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    # A worker is born with these held back: one that came before now is delivered here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOP, signal.SIGHUP))
    reloader = loop.create_task(reloading(), name="reload on SIGHUP")
    try:
        await runner.setup()
        for sock in sockets:
            await ListeningSite(runner, sock).start()
        # What is here now stays: the collector need not walk through it again and again, which
        # would hold the loop for tens of milliseconds each time.
        gc.collect()
        gc.freeze()
        if on_ready is not None:
            on_ready()
        log.info("serving", extra={"version": __version__, "addresses": _names(sockets)})
        await stopping.wait()
        log.info("draining", extra={"deadline_seconds": drain_timeout})
    finally:
        reloader.cancel()
        await runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await reloader
        for number in (*_STOP, signal.SIGHUP):
            loop.remove_signal_handler(number)
        log.info("ended")


def _names(sockets: Sequence[socket.socket]) -> list[str]:
    return [":".join(map(str, sock.getsockname()[:2])) for sock in sockets if sock.fileno() >= 0]


def tell_supervisor(state: str) -> None:
    """Say ``READY=1`` or the like to systemd, if it started this (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] in ("/", "@"):
        address = f"\0{path[1:]}" if path.startswith("@") else path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(main: Awaitable[None]) -> None:
    """Run one coroutine to its end on the best loop there is."""
    _allow_many_descriptors()

    async def awaiting() -> None:
        await main

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(awaiting())


def _allow_many_descriptors() -> None:
    """A WebSocket takes two descriptors, and many shells allow no more than 1024 until asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
