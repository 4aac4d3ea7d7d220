"""Health endpoints: /health, /livez, /readyz, /metrics.

- ``/health``, for clients: always 200, with the state in the body.
- ``/livez``, for process supervisors: 200 as long as the event loop runs.
- ``/readyz``, for load balancers: 503 while draining or without the database. It also lists the
  fingerprints of the secret keys that this node accepts, the issuing one first.
- ``/metrics``, for Prometheus: on the listener of ``METRICS_LISTEN``, and on the main port only
  with ``METRICS_ON_MAIN_PORT``.

The state comes from a periodic check in the background. ``/health`` and ``/readyz`` check the
database again, so that a loss is reported at once; concurrent requests share one check.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi import deadline
from zenzefi.db.engine import DATABASE, Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.keys import KEYRING
from zenzefi.observability import metrics
from zenzefi.runtime import checks
from zenzefi.runtime.drain import DRAIN
from zenzefi.settings import SETTINGS, Settings
from zenzefi.tasks import background_task
from zenzefi.version import __version__

log = logging.getLogger(__name__)

State = Literal["healthy", "degraded", "unhealthy"]
_RETRY = 2.0  # seconds between checks while a dependency is down, to detect its recovery soon
_FRESH = 0.4  # seconds for which the last check of the database is reused
_PROBE_TIMEOUT = 1.5  # seconds; with _FRESH, a lost database is reported within 2 s
_MAX_LATE = 4  # concurrent queries without a response
_WRITE_INTERVAL = 1.5  # seconds between two checks that also write, on SQLite
_MIN_INTERVAL = 0.5  # seconds between two checks, however many requests fail in between


class Health:
    """Results of the last checks; ``None`` before the first one has finished."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self.database_ok: bool | None = None
        self.redis_ok: bool | None = None
        self.upstream_ok: bool | None = None
        self._recheck = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[checks.Check]] = set()
        self._probed_at = self._wrote_at = -math.inf

    def recheck(self) -> None:
        """Check now instead of after the interval, because the database failed for a request."""
        self._recheck.set()

    @property
    def state(self) -> State:
        """``degraded`` if the upstream or Redis is down, ``unhealthy`` if the database is."""
        if self.database_ok is False:
            return "unhealthy"
        if self.upstream_ok is False or self.redis_ok is False:
            return "degraded"
        return "healthy"

    async def probe(self) -> None:
        """Check the database now, unless the last check is recent.

        Concurrent calls share one check, so many requests cause only a few queries per second. The
        call takes a limited time and raises no exceptions.
        """
        if self._probing is None:
            if asyncio.get_running_loop().time() - self._probed_at < _FRESH:
                return
            self._probing = asyncio.create_task(self._probe(), name="database health")
            self._probing.add_done_callback(self._probed)
        await asyncio.shield(self._probing)

    def _probed(self, _: object) -> None:
        self._probing = None

    async def _probe(self) -> None:
        before = self.state
        self._record(before, {"database": await self._check_database(_PROBE_TIMEOUT)})

    async def _check_database(self, seconds: float | None = None) -> checks.Check:
        """Check whether the database can be read, and sometimes whether it accepts writes.

        Writes are checked by every background check, and by every check after a failure until they
        succeed. On SQLite, where they are cheap, they are checked every ``_WRITE_INTERVAL``.
        """
        loop = asyncio.get_running_loop()
        writes = seconds is None or self.database_ok is not True or self._recheck.is_set()
        if self._database.dialect == "sqlite":
            writes |= loop.time() - self._wrote_at >= _WRITE_INTERVAL
            # Not while a request writes: a failure of that write is reported by recheck().
            writes &= not (self._database.is_writing and self.database_ok is True)
        try:
            found = await self._ping(writes=writes, seconds=seconds or checks.TIMEOUT)
        except Exception as error:  # an unexpected error means that the database is unusable
            log.exception("health check failed: check=database")
            found = checks.Check("database", ok=False, detail=type(error).__name__)
        self._probed_at = loop.time()
        if writes:
            self._wrote_at = self._probed_at
        return found

    async def _ping(self, *, writes: bool, seconds: float) -> checks.Check:
        """Query the database, and return after ``seconds`` at the latest.

        The query runs in a separate task, because a server that keeps its connections open but
        does not respond (a network failure) delays even a cancelled query: the driver first
        completes its current operation on the connection.
        """
        if len(self._late) >= _MAX_LATE:
            return checks.Check("database", ok=False, detail="earlier queries are still open")
        query = asyncio.create_task(
            checks.ping_database(self._database, writes=writes, seconds=seconds),
            name="database query",
        )
        try:
            await deadline.wait([query], seconds + deadline.STEP)
        finally:
            if not query.done():
                self._late.add(query)
                query.add_done_callback(self._end_late)
                query.cancel()
        if not query.done():
            return checks.Check("database", ok=False, detail=f"no response in {seconds:g} s")
        return query.result()

    def _end_late(self, query: asyncio.Task[checks.Check]) -> None:
        self._late.discard(query)
        if not query.cancelled():
            query.exception()  # retrieved, so that asyncio does not report it

    async def close(self) -> None:
        """Wait for the current check, and for at most one second for late queries."""
        if self._probing is not None:
            await asyncio.gather(self._probing, return_exceptions=True)
        if self._late:
            await deadline.wait(self._late, 1.0)

    async def check(self) -> None:
        """Check all dependencies once. Their failures are recorded, not raised."""
        before = self.state
        running = {
            "database": self._check_database(),
            "upstream": checks.check_upstream(self._settings),
        }
        if self._settings.redis_dsn is not None:
            running["redis"] = checks.ping_redis(self._settings.redis_dsn)
        found = dict(zip(running, await asyncio.gather(*running.values()), strict=True))
        self._record(before, found)

    def _record(self, before: State, found: dict[str, checks.Check]) -> None:
        for name, result in found.items():
            setattr(self, f"{name}_ok", result.ok)
            metrics.DEPENDENCY_UP.labels(name).set(result.ok)
        if self.state != before:
            trouble = "; ".join(f"{n}: {a.detail}" for n, a in found.items() if not a.ok)
            level = logging.WARNING if trouble else logging.INFO
            log.log(level, "health changed: state=%s trouble=%s", self.state, trouble or "none")

    async def watch(self) -> None:
        """Check until cancelled, more often while a dependency is down."""
        while True:
            try:
                await self.check()
            except Exception:
                log.exception("health check failed")
            pause = self._settings.health_check_interval
            if self.state != "healthy":
                pause = min(_RETRY, pause)
            await asyncio.sleep(min(_MIN_INTERVAL, pause))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause - _MIN_INTERVAL)):
                    await self._recheck.wait()
            self._recheck.clear()


HEALTH: web.AppKey[Health] = web.AppKey("health", Health)
METRICS_SOCKET: web.AppKey[socket.socket] = web.AppKey("metrics_socket", socket.socket)
"""The listening socket of ``METRICS_LISTEN``. All workers of a node accept from it."""


@web.middleware
async def recheck_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Request a health check when the database failed for a request.

    The middleware itself makes no query, and many failures cause one check. It has to be inside the
    middleware that maps errors to responses.
    """
    try:
        return await handler(request)
    except DatabaseUnavailable:
        request.config_dict[HEALTH].recheck()
        raise


def setup(app: web.Application) -> None:
    """Add the endpoints and the background check; database and drain have to be set up before."""
    settings = app[SETTINGS]
    health = app[HEALTH] = Health(settings, app[DATABASE])
    app.router.add_get("/health", _health)
    # Requested by clients whose base URL ends with a slash.
    app.router.add_get("//health", _health)
    app.router.add_get("/livez", _alive)
    app.router.add_get("/readyz", _ready)

    async def watching(_: web.Application) -> AsyncIterator[None]:
        async with (
            background_task(health.watch(), name="health check"),
            background_task(_measure_lag(), name="event loop lag"),
        ):
            yield
        await health.close()

    app.cleanup_ctx.append(watching)
    if settings.metrics_on_main_port:
        app.router.add_get("/metrics", _metrics)
    app.cleanup_ctx.append(_metrics_listener)


async def _health(request: web.Request) -> web.Response:
    """Return the state for clients, always with 200."""
    await request.app[HEALTH].probe()
    return web.json_response(
        {
            "status": request.app[HEALTH].state,
            "service": request.app[SETTINGS].site_name,
            "version": __version__,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        },
        headers={"Cache-Control": "no-store"},
    )


async def _alive(request: web.Request) -> web.Response:
    """Return 200: the event loop runs."""
    return web.json_response({"status": "alive"}, headers={"Cache-Control": "no-store"})


async def _ready(request: web.Request) -> web.Response:
    """Return 200 if this node can serve requests, else 503."""
    if request.app[DRAIN].is_draining:
        status = "draining"
    else:
        await request.app[HEALTH].probe()
        status = "ready" if request.app[HEALTH].database_ok else "no database"
    return web.json_response(
        {"status": status, "secret_keys": request.app[KEYRING].fingerprints},
        status=200 if status == "ready" else 503,
        headers={"Cache-Control": "no-store"},
    )


async def _metrics(request: web.Request) -> web.Response:
    """Return the metrics of this node."""
    # In a thread, because it reads the files of all workers.
    body, kind = await asyncio.to_thread(metrics.exposition, request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "no-store"})


async def _metrics_listener(app: web.Application) -> AsyncIterator[None]:
    """Serve the metrics of all workers on ``app[METRICS_SOCKET]``, if there is one."""
    if METRICS_SOCKET not in app:
        yield
        return
    alone = web.Application()
    alone.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(alone, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, app[METRICS_SOCKET]).start()
        yield
    finally:
        await runner.cleanup()


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.5
        await asyncio.sleep(0.5)
        metrics.EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due))
