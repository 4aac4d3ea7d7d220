"""Chromium, and what its pages requested and reported."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

# The headless shell is the same engine without the windows of the full browser, at half the cost.
_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _PROGRAMS)), None)
FLAGS = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--ignore-certificate-errors",  # the agent's own certificate, as after the user's consent
    "--host-resolver-rules=MAP *gate.example 127.0.0.1",
]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Chromium; the test is skipped where it is not installed."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: install the package chromium, or set CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@dataclass
class Watch:
    """The requests and the errors of a page."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def outside(self, root: str) -> list[str]:
        """Requests that left the mount whose root this is."""
        roots = (root, root.replace("http", "ws", 1), "data:", "blob:", "about:", "chrome")
        return [url for url in self.requests if not url.startswith(roots)]


def watch(page: Page) -> Watch:
    """Begin to note a page's requests (its frames' and workers' too) and its errors."""
    seen = Watch()

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.errors.append(f"{message.text} ({message.location.get('url')})")

    def on_request(request: Request) -> None:
        seen.requests.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.context.on("request", on_request)
    page.on("websocket", lambda socket: seen.requests.append(socket.url))
    return seen
