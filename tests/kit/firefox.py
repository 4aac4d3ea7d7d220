"""Firefox, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/) without a driver."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.kit.ports import free_port

FIREFOX = os.environ.get("FIREFOX") or next(
    filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None
)
_START_SECONDS = 120


class Firefox:
    """One window of a headless Firefox."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._context = ""

    async def start(self) -> None:
        """Open the session and its window."""
        await self.send("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        made = await self.send("browsingContext.create", type="tab")
        self._context = made["context"]

    async def send(self, method: str, **params: Any) -> Any:
        """The result of a command. Raises ``RuntimeError`` with the browser's message."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async for message in self._socket:
            reply = message.json()
            if reply.get("id") == number:  # the others are events
                if reply["type"] == "error":
                    raise RuntimeError(f"{method}: {reply['message']}")
                return reply["result"]
        raise RuntimeError(f"{method}: Firefox closed the connection")

    async def open(self, url: str) -> None:
        """Load a page."""
        await self.send("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of a primitive expression in the page."""
        result = await self.send(
            "script.evaluate",
            expression=expression,
            target={"context": self._context},
            awaitPromise=True,
        )
        if result["type"] == "exception":
            raise RuntimeError(result["exceptionDetails"]["text"])
        return result["result"].get("value")

    async def set_cookie(self, host: str, name: str, value: str) -> None:
        """Store a cookie of a host for all its paths, not readable by scripts."""
        cookie = {
            "name": name,
            "value": {"type": "string", "value": value},
            "domain": host,
            "path": "/",
            "httpOnly": True,
        }
        await self.send("storage.setCookie", cookie=cookie)


async def _connect(session: aiohttp.ClientSession, port: int) -> aiohttp.ClientWebSocketResponse:
    """Connect as soon as the browser listens."""
    url = f"ws://127.0.0.1:{port}/session"
    async with asyncio.timeout(_START_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                return await session.ws_connect(url, max_msg_size=0)
            await asyncio.sleep(0.2)


@pytest.fixture
async def firefox() -> AsyncIterator[Firefox]:
    """Firefox; the test is skipped where it is not installed."""
    if FIREFOX is None:
        pytest.skip("Firefox is not installed: install the package firefox-esr, or set FIREFOX")
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        program = await asyncio.create_subprocess_exec(
            FIREFOX,
            *("--headless", "--no-remote", "--profile", profile),
            f"--remote-debugging-port={port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                browser = Firefox(await _connect(session, port))
                await browser.start()
                yield browser
        finally:
            program.kill()
            await program.wait()
