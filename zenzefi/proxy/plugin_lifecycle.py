"""Starts and stops plugins: ``startup`` before the first request, ``shutdown`` after the last.

After a reload new plugins are started and those that are gone are stopped. A plugin whose
``startup`` has failed is left out of requests (or they are refused, as its ``on_failure`` says),
and is started again later.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.request_side import Watched
from zenzefi.rewriting.plugins.services import HttpAnswer, PluginServices

logger = logging.getLogger("zenzefi.plugins")

EVERY = 2.0
"""Seconds between two looks for plugins that have to be started or stopped."""
START_SECONDS = 30.0
"""Seconds that ``startup`` or ``shutdown`` may take."""
_CONNECTIONS = 32


class AiohttpClient:
    """The client that plugins get (:class:`zenzefi.rewriting.plugins.services.HttpClient`)."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 5.0,
        longest: int = 1024 * 1024,
    ) -> HttpAnswer:
        """See :class:`zenzefi.rewriting.plugins.services.HttpClient`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                trust_env=False,
            )
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, timeout=limit, allow_redirects=False
            ) as response:
                pieces, size = [], 0
                async for piece in response.content.iter_any():
                    size += len(piece)
                    if size > longest:
                        raise OSError(f"the response is longer than {longest} bytes")
                    pieces.append(piece)
                return HttpAnswer(
                    status=response.status, headers=response.headers, body=b"".join(pieces)
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(f"no response: {type(error).__name__}") from error

    async def close(self) -> None:
        """Close its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class PluginLifecycle:
    """The started plugins of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._http = AiohttpClient()
        self._services = PluginServices(self._http)
        self._started: list[LoadedPlugin] = []
        self._timer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start all plugins, and look for others from now on."""
        await self.update()
        self._timer = asyncio.create_task(self._watch(), name="plugin lifecycle")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.update()

    async def update(self) -> None:
        """Stop the plugins that are gone, and start those that are new or have failed."""
        entries = self._engine.registry.entries
        for entry in [one for one in self._started if one not in entries]:
            self._started.remove(entry)
            await self._run(entry, "shutdown", entry.plugin.shutdown)
        for entry in entries:
            if not entry.has_lifetime or entry in self._started:
                continue
            if await self._run(entry, "startup", partial(entry.plugin.startup, self._services)):
                entry.is_started = True
                self._started.append(entry)

    async def _run(self, entry: LoadedPlugin, name: str, hook: Callable[[], Any]) -> bool:
        async def call() -> None:
            given = hook()
            if inspect.isawaitable(given):
                await given

        try:
            async with asyncio.timeout(START_SECONDS):
                await Watched(call())
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as error:  # sys.exit() in a plugin must not end the gate
            entry.statistics.errors += 1
            entry.statistics.last_error = f"{name}: {type(error).__name__}: {error}"
            logger.error("plugin %s: %s failed", entry.name, name, exc_info=error)
            return False
        return True

    async def close(self) -> None:
        """Stop all plugins."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        for entry in reversed(self._started):
            await self._run(entry, "shutdown", entry.plugin.shutdown)
            entry.is_started = False
        self._started.clear()
        await self._http.close()


def setup(app: web.Application, engine: Engine) -> None:
    """Start plugins with the application, and stop them with it."""

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        lifecycle = PluginLifecycle(engine)
        await lifecycle.start()
        yield
        await lifecycle.close()

    app.cleanup_ctx.append(lifetime)
