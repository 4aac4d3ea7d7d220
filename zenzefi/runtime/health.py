"""Health endpoints: /health, /livez, /readyz, /metrics.

- ``/health``: a client in the field. Always 200; the state is in the body.
- ``/livez``: whoever would restart the process. 200 as long as the event loop answers.
- ``/readyz``: a load balancer. 503 while draining or without the database.
- ``/metrics``: Prometheus; on a listener of its own where ``METRICS_LISTEN`` names one.

The state comes from a check in the background. ``/health`` and ``/readyz`` look at the database
once more, all who ask at the same moment together, so that a loss shows at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from zenzefi import deadline
from zenzefi.db.engine import DATABASE, Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.observability import metrics
from zenzefi.runtime import checks
from zenzefi.runtime.drain import DRAIN
from zenzefi.settings import SETTINGS, Settings
from zenzefi.version import __version__

log = logging.getLogger(__name__)

SERVICE = "Zenzefi"
State = Literal["healthy", "degraded", "unhealthy"]
_RETRY = 2.0  # seconds between checks while something is down: recovery should be seen soon
_FRESH = 0.4  # seconds for which the last look at the database is believed
_LOOK_SECONDS = 1.5  # that a look may take; with the above, a lost database shows within 2 s
_MAX_LATE = 4  # questions without a response that may be open at a time
_WRITES_EVERY = 1.5  # seconds between two looks that also write, on SQLite
_AT_LEAST = 0.5  # seconds between two checks, however many requests fail meanwhile


class Health:
    """What the last background check found. ``None`` in ``database_ok``: none has ended yet."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self.database_ok: bool | None = None
        self.redis_ok: bool | None = None
        self.upstream_ok: bool | None = None
        self._doubt = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[checks.Check]] = set()
        self._looked_at = self._wrote_at = -math.inf

    def doubt(self) -> None:
        """A request has failed for want of the database: look at once, not in half a minute."""
        self._doubt.set()

    @property
    def state(self) -> State:
        """Degraded: only the upstream (or the cache, which costs speed alone) is down."""
        if self.database_ok is False:
            return "unhealthy"
        if self.upstream_ok is False or self.redis_ok is False:
            return "degraded"
        return "healthy"

    async def look(self) -> None:
        """Ask the database now, unless that was done a moment ago.

        One question for all who ask meanwhile, so that a flood of them asks no more than a few a
        second. Bounded in time, and never raises for what it finds.
        """
        if self._looking is None:
            if asyncio.get_running_loop().time() - self._looked_at < _FRESH:
                return
            self._looking = asyncio.create_task(self._look(), name="database health")
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, _: object) -> None:
        self._looking = None

    async def _look(self) -> None:
        before = self.state
        self._note(before, {"database": await self._ask_database(_LOOK_SECONDS)})

    async def _ask_database(self, seconds: float | None = None) -> checks.Check:
        """Also whether it takes writes: at each background check and, after a failure, until it
        does; on SQLite, where that costs little, at each look."""
        loop = asyncio.get_running_loop()
        writes = seconds is None or self.database_ok is not True or self._doubt.is_set()
        if self._database.dialect == "sqlite":
            writes |= loop.time() - self._wrote_at >= _WRITES_EVERY
            # Requests that write right now tell of a failure by themselves.
            writes &= not (self._database.is_writing and self.database_ok is True)
        try:
            found = await self._ping(writes=writes, seconds=seconds or checks.TIMEOUT)
        except Exception as error:  # whatever it is, the gate can't work with this database
            log.exception("health check failed: check=database")
            found = checks.Check("database", ok=False, detail=type(error).__name__)
        self._looked_at = loop.time()
        if writes:
            self._wrote_at = self._looked_at
        return found

    async def _ping(self, *, writes: bool, seconds: float) -> checks.Check:
        """Ask, and wait no longer than told.

        A server that keeps its connections and is silent (its network is lost) holds even a
        cancelled question: the driver first ends what it does with the connection.
        """
        if len(self._late) >= _MAX_LATE:
            return checks.Check("database", ok=False, detail="earlier questions are still open")
        asking = asyncio.create_task(
            checks.ping_database(self._database, writes=writes, seconds=seconds),
            name="database question",
        )
        try:
            await deadline.wait([asking], seconds + deadline.STEP)
        finally:
            if not asking.done():
                self._late.add(asking)
                asking.add_done_callback(self._end_late)
                asking.cancel()
        if not asking.done():
            return checks.Check("database", ok=False, detail=f"no response in {seconds:g} s")
        return asking.result()

    def _end_late(self, asking: asyncio.Task[checks.Check]) -> None:
        self._late.discard(asking)
        if not asking.cancelled():
            asking.exception()  # what it was no longer matters

    async def close(self) -> None:
        """Wait for the questions that are under way; a second at most for late ones."""
        if self._looking is not None:
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._late:
            await deadline.wait(self._late, 1.0)

    async def check(self) -> None:
        """Ask everything once. Never raises for what it finds."""
        before = self.state
        questions = {
            "database": self._ask_database(),
            "upstream": checks.check_upstream(self._settings),
        }
        if self._settings.redis_dsn is not None:
            questions["redis"] = checks.ping_redis(self._settings.redis_dsn)
        found = dict(
            zip(questions, await asyncio.gather(*questions.values()), strict=True),
        )
        self._note(before, found)

    def _note(self, before: State, found: dict[str, checks.Check]) -> None:
        for name, answer in found.items():
            setattr(self, f"{name}_ok", answer.ok)
        for name, answer in found.items():
            metrics.DEPENDENCY_UP.labels(name).set(answer.ok)
        if self.state != before:
            trouble = "; ".join(f"{n}: {a.detail}" for n, a in found.items() if not a.ok)
            level = logging.WARNING if trouble else logging.INFO
            log.log(level, "health is %s now", self.state, extra={"trouble": trouble or "none"})

    async def watch(self) -> None:
        """Check for ever, more often while something is down."""
        while True:
            try:
                await self.check()
            except Exception:
                log.exception("the health check itself failed")
            pause = self._settings.health_check_interval
            if self.state != "healthy":
                pause = min(_RETRY, pause)
            await asyncio.sleep(min(_AT_LEAST, pause))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause - _AT_LEAST)):
                    await self._doubt.wait()
            self._doubt.clear()


HEALTH: web.AppKey[Health] = web.AppKey("health", Health)


@web.middleware
async def recheck_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Link of the chain, inside of the error mapping: a lost database is told to the health check.

    Nothing is asked here, and a flood of failures asks no more than one does.
    """
    try:
        return await handler(request)
    except DatabaseUnavailable:
        request.config_dict[HEALTH].doubt()
        raise


def setup(app: web.Application) -> None:
    """The routes and the background check; the database and the drain are there already."""
    settings = app[SETTINGS]
    health = app[HEALTH] = Health(settings, app[DATABASE])
    app.router.add_get("/health", _health)
    # Clients whose base URL ends in a slash ask this.
    app.router.add_get("//health", _health)
    app.router.add_get("/livez", _alive)
    app.router.add_get("/readyz", _ready)

    async def watching(_: web.Application) -> AsyncIterator[None]:
        watch = asyncio.create_task(health.watch(), name="health check")
        lag = asyncio.create_task(_measure_lag(), name="event loop lag")
        yield
        for task in (watch, lag):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await health.close()

    app.cleanup_ctx.append(watching)
    if settings.metrics_listen is None:
        app.router.add_get("/metrics", _metrics)
    else:
        app.cleanup_ctx.append(_metrics_listener)


async def _health(request: web.Request) -> web.Response:
    """The state for clients: always 200."""
    await request.app[HEALTH].look()
    return web.json_response(
        {
            "status": request.app[HEALTH].state,
            "service": SERVICE,
            "version": __version__,
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        },
        headers={"Cache-Control": "no-store"},
    )


async def _alive(request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "alive"}, headers={"Cache-Control": "no-store"})


async def _ready(request: web.Request) -> web.Response:
    """Whether new work should come here."""
    if request.app[DRAIN].is_draining:
        status = "draining"
    else:
        await request.app[HEALTH].look()
        status = "ready" if request.app[HEALTH].database_ok else "no database"
    return web.json_response(
        {"status": status},
        status=200 if status == "ready" else 503,
        headers={"Cache-Control": "no-store"},
    )


async def _metrics(request: web.Request) -> web.Response:
    """All series of this node."""
    # Several workers' files are read for it, so not on the loop.
    body, kind = await asyncio.to_thread(metrics.exposition, request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "no-store"})


async def _metrics_listener(app: web.Application) -> AsyncIterator[None]:
    """Metrics on an address of their own. Of several workers the first that binds it serves all."""
    host, _, port = str(app[SETTINGS].metrics_listen).rpartition(":")
    alone = web.Application()
    alone.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(alone, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            log.warning("metrics can't be served at %s:%s: %s", host, port, error.strerror)
        yield
    finally:
        await runner.cleanup()


async def _measure_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.5
        await asyncio.sleep(0.5)
        metrics.EVENT_LOOP_LAG.observe(max(0.0, loop.time() - due))
