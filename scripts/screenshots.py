"""``make screenshots`` takes the pictures in docs/screenshots.

A gate runs on an empty SQLite file in front of the demo site. This script creates all users and
data.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, ViewportSize, async_playwright
from sqlalchemy import update

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from tests.kit.ports import free_port  # noqa: E402 - the checkout takes precedence
from zenzefi.accounts.models import users  # noqa: E402
from zenzefi.app import create_app  # noqa: E402
from zenzefi.db import migrate  # noqa: E402
from zenzefi.db.engine import DATABASE, Database  # noqa: E402
from zenzefi.demo import running_demo  # noqa: E402
from zenzefi.settings import load_settings  # noqa: E402

FOLDER = TOP / "docs" / "screenshots"
DESKTOP: ViewportSize = {"width": 1120, "height": 760}
PHONE: ViewportSize = {"width": 390, "height": 844}
PRICES = {"1h": "2.00", "12h": "12.00", "24h": "18.00", "7d": "70.00", "30d": "200.00"}


async def _visitor(browser: Browser, root: str, name: str, **options: Any) -> Page:
    context = await browser.new_context(base_url=root, timezone_id="Europe/Berlin", **options)
    page = await context.new_page()
    await page.goto("/register")
    await page.locator("#f-email").fill(f"{name}@example.com")
    await page.locator("#f-username").fill(name)
    await page.locator("#f-password").fill("correct horse battery")
    await page.locator("main form button").click()
    await page.wait_for_url("**/account")
    await page.goto("/account/money")
    await page.locator("#f-amount").fill("250")
    await page.locator("button[value=mock]").click()
    await page.wait_for_url("**/account/payments/*")
    return page


async def _buy(page: Page, hours: int, name: str = "") -> str:
    await page.goto(f"/account/buy?hours={hours}")
    await page.locator('form[action="/account/buy"] button').click()
    await page.wait_for_url("**/account/tokens/*")
    address = page.url
    if name:
        await page.locator("#f-name").fill(name)
        await page.locator('form[action$="/name"] button').click()
    return address


async def _take(page: Page, path: str, name: str, *, full: bool = False) -> None:
    await page.goto(path)
    await page.wait_for_load_state("load")
    await _keep(page, name, full=full)


async def _keep(page: Page, name: str, *, full: bool = False) -> None:
    target = FOLDER / f"{name}.png"
    await page.screenshot(path=target, full_page=full)
    print(f"{target.relative_to(TOP)}  {target.stat().st_size // 1000} kB")


async def _newcomer(browser: Browser, root: str) -> None:
    context = await browser.new_context(base_url=root, viewport=PHONE, color_scheme="light")
    page = await context.new_page()
    await _take(page, "/", "front-page-phone")
    await page.goto("/register")
    await page.locator("#f-email").fill("ada@example")
    await page.locator("#f-username").fill("ada")
    await page.locator("#f-password").fill("short")
    await page.locator("main form button").click()
    await page.locator(".field .error").first.wait_for()
    await _keep(page, "register-mistakes-phone")
    await _take(page, "/api/v1/proxy/", "refusal-phone")
    await context.close()


async def _buyer(browser: Browser, root: str) -> Page:
    page = await _visitor(browser, root, "marta", viewport=DESKTOP, color_scheme="light")
    spare = await _buy(page, 1)
    await page.goto(f"{spare}/revoke")
    await page.locator("main form button").click()
    week = await _buy(page, 168, "Weekend")
    await _take(page, f"{week}/revoke", "revoke")
    running = await _buy(page, 24, "Work laptop")
    await page.locator('form[action$="/open"] button').click()
    await page.wait_for_url("http://app.localhost:*/")
    await page.get_by_role("link", name="See the lights").click()
    await page.wait_for_load_state("load")
    await asyncio.sleep(6)  # session counters are written every five seconds
    await _take(page, "/account", "account")
    await _take(page, running, "token", full=True)
    await _take(page, "/account/buy", "buy")
    await _take(page, "/account/connect", "connect")
    await _take(page, "/account/money", "money")
    await _take(page, "/account/profile", "profile", full=True)
    await _take(page, "/account/two-factor", "two-step-sign-in")
    return page


async def _administrator(page: Page, app: Any) -> None:
    async with app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).where(users.c.username == "marta").values(is_superuser=True)
        )
    await page.emulate_media(color_scheme="dark")
    await _take(page, "/admin", "administration")
    await _take(page, "/admin/sessions?state=all", "sessions")
    await _take(page, "/admin/plugins", "plugins")
    await _take(page, "/admin/audit", "audit-log")
    await page.goto("/admin/users?search=boris")
    await page.locator("tbody a").click()
    await page.locator('button[value="deactivate"]').click()
    await page.locator("dialog[open]").wait_for()
    await _keep(page, "question")


async def _story(browser: Browser, root: str, app: Any) -> None:
    await _newcomer(browser, root)
    page = await _buyer(browser, root)
    phone = await _visitor(browser, root, "boris", viewport=PHONE, color_scheme="dark", locale="ru")
    await phone.context.add_cookies([{"name": "zenzefi_language", "value": "ru", "url": root}])
    await _take(phone, "/account/buy", "buy-phone-dark-russian")
    await _buy(phone, 24, "Телефон")
    await _take(phone, "/account", "account-phone-dark-russian")
    await _administrator(page, app)


async def main() -> int:
    """Take all pictures. Returns 1 without Chromium."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if chromium is None:
        print("Install Chromium (Debian: apt install chromium) or set CHROMIUM.")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        async with running_demo() as upstream:
            settings = load_settings(
                {
                    "debug": True,
                    "data_dir": Path(folder),
                    "backend_url": root,
                    "zenzefi_target_url": upstream,
                    "application_name": "Lantern & Tide",
                    "payment_providers": ["manual", "mock"],
                    **{f"token_price_{name}": price for name, price in PRICES.items()},
                }
            )
            database = Database(settings.sqlalchemy_url)
            await migrate.upgrade(database)
            await database.close()
            app = create_app(settings)
            async with TestServer(app, port=port), async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
                )
                try:
                    await _story(browser, root, app)
                finally:
                    await browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
