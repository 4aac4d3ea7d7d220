"""The gate with the demo site behind it, and what people do on its pages, for a real Chromium."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import axe_playwright_python
from aiohttp.test_utils import TestClient
from playwright.async_api import Browser, Page
from sqlalchemy import update

from tests.kit.gates import SECRET_KEY, GateClient, GateServer
from tests.kit.ports import free_port
from zenzefi.accounts.models import users
from zenzefi.app import create_app
from zenzefi.db.engine import DATABASE
from zenzefi.demo import running_demo
from zenzefi.settings import load_settings

PASSWORD = "correct horse battery"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PRICES = {"token_price_1h": "2.00", "token_price_24h": "18.00", "token_price_7d": "70.00"}


@dataclass
class Site:
    """A gate with the demo site behind it; browsers see that at ``upstream_root``."""

    gate: GateClient
    root: str
    upstream_root: str

    async def page(self, chromium: Browser, **options: Any) -> Page:
        """A fresh browser profile's first page."""
        context = await chromium.new_context(base_url=self.root, **options)
        context.set_default_timeout(10_000)
        return await context.new_page()

    async def promote(self, name: str = "marta") -> None:
        """Make an administrator."""
        async with self.gate.app[DATABASE].begin() as connection:
            await connection.execute(
                update(users).where(users.c.username == name).values(is_superuser=True)
            )


@asynccontextmanager
async def site(
    folder: Path, database: str, *, mount: str = "own-origin", **settings: Any
) -> AsyncIterator[Site]:
    # The gate must know its own address beforehand: pages that come through are mapped to it.
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    at = {"own-origin": f"http://app.localhost:{port}/", "prefix": f"{root}/api/v1/proxy/"}[mount]
    async with running_demo() as upstream:
        app = create_app(
            load_settings(
                {
                    "secret_key": SECRET_KEY,
                    "data_dir": folder,
                    "database_url": database,
                    "backend_url": root,
                    "zenzefi_target_url": upstream,
                    "browser_mount": mount,
                    "debug": True,
                    "payment_providers": ["manual", "mock"],
                    **settings,
                }
            )
        )
        async with TestClient(GateServer(app, port=port)) as gate:
            yield Site(gate, root, at)


def at(path: str) -> re.Pattern[str]:
    """The address of a page; under the prefix it has a ticket until the page's script has run."""
    return re.compile(rf"//[^/]+{re.escape(path)}(?:\?isolated=[^&]*)?$")


async def register(page: Page, name: str = "marta") -> None:
    await page.goto("/register")
    await page.locator("#f-email").fill(f"{name}@example.com")
    await page.locator("#f-username").fill(name)
    await page.locator("#f-password").fill(PASSWORD)
    await page.locator("main form button").click()
    await page.wait_for_url(at("/account"))


async def buy(page: Page, hours: int = 24) -> str:
    await page.goto(f"/account/buy?hours={hours}")
    await page.locator('form[action="/account/buy"] button').click()
    await page.wait_for_url("**/account/tokens/*")
    return page.url


async def faults(page: Page) -> list[str]:
    """What axe finds, and whether the page is wider than the window."""
    await page.evaluate(AXE)
    found = await page.evaluate(
        "rules => axe.run(document, {runOnly: rules}).then(result => result.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')))",
        RULES,
    )
    over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [*found, *([f"{over} px wider than the window"] if over > 0 else [])]


async def top_up(page: Page, amount: str) -> None:
    await page.goto("/account/money")
    await page.locator("#f-amount").fill(amount)
    await page.locator("button[value=mock]").click()
    await page.wait_for_url("**/account/payments/*")
