"""Running the demo site on a separate loopback port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from zenzefi.demo.site import create_demo_app


@contextlib.asynccontextmanager
async def running_demo(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve the demo site while the context is open; yields its origin (``http://host:port``).

    ``port`` 0 chooses a free port. Raises ``OSError`` if the port is taken.
    """
    runner = web.AppRunner(
        create_demo_app(), access_log=None, auto_decompress=False, shutdown_timeout=1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        await runner.cleanup()
