"""The gate in one process: the application and its upstream, served until SIGTERM."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import web

    from zenzefi.settings import Settings


@dataclass(frozen=True, slots=True)
class ServedGate:
    """The content of one process. ``loaded``: the settings before ``serve`` completed them."""

    settings: Settings
    loaded: Settings
    metrics: socket.socket | None

    def application(self, settings: Settings) -> web.Application:
        """Create the application."""
        from zenzefi.app import create_app
        from zenzefi.runtime.health import METRICS_SOCKET

        app = create_app(settings)
        if self.metrics is not None:
            app[METRICS_SOCKET] = self.metrics
        return app


async def one_process(
    gate: ServedGate,
    sockets: Sequence[socket.socket],
    on_ready: Callable[[], None],
    built: web.Application | None = None,
    *,
    is_late: bool = False,
) -> None:
    """Serve in this process. ``built``: the application, if it was created before the fork.

    ``is_late``: the settings may have been reloaded in the other processes since they were read.
    """
    from zenzefi.runtime import server
    from zenzefi.runtime.reload import reload

    async with _upstream(gate.settings) as settings:
        app = gate.application(settings) if built is None else built

        async def catch_up(_: web.Application) -> None:
            await reload(app, gate.loaded)

        if is_late:
            app.on_startup.append(catch_up)
        await server.serve(
            app,
            sockets,
            drain_delay=settings.drain_delay,
            drain_timeout=settings.drain_timeout,
            on_ready=on_ready,
            on_reload=lambda: reload(app, gate.loaded),
        )


@contextlib.asynccontextmanager
async def _upstream(settings: Settings) -> AsyncIterator[Settings]:
    """The settings with an upstream in them: the demo site, run here, where none is named."""
    if settings.zenzefi_target_url is not None:
        yield settings
        return
    from zenzefi.demo import running_demo

    async with running_demo() as origin:
        name = settings.application_name or "Lantern & Tide"
        yield settings.model_copy(update={"zenzefi_target_url": origin, "application_name": name})
