"""The main job, as a newcomer does it: register, buy, open the site, use it, revoke, be refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.kit.chromium import watch
from tests.kit.ports import free_port
from zenzefi.app import create_app
from zenzefi.demo import running_demo
from zenzefi.runtime.drain import GateRunner
from zenzefi.settings import load_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture
async def gate_url(sqlite_database: str, tmp_path: Path) -> AsyncIterator[str]:
    """The whole gate on its embedded default, with the demo site behind it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with running_demo() as upstream:
        settings = load_settings(
            {
                "debug": True,
                "data_dir": tmp_path / "gate",
                "backend_url": url,
                "zenzefi_target_url": upstream,
            }
        )
        runner = GateRunner(create_app(settings), drain_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield url
        await runner.cleanup()


@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])
async def test_from_nothing_to_the_site_and_back(
    chromium: Browser, gate_url: str, scripts: bool
) -> None:
    context = await chromium.new_context(java_script_enabled=scripts)
    page = await context.new_page()
    page.set_default_timeout(30_000)
    seen = watch(page)

    await page.goto(f"{gate_url}/register")
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("Username").fill("ada")
    await page.get_by_label("Password").fill("lamps at four in the morning")
    await page.get_by_role("button", name="Create the account").click()

    await page.goto(f"{gate_url}/account/buy")
    await page.get_by_role("radio").first.check()
    await page.get_by_role("button", name="Buy").click()
    await page.wait_for_url("**/account/tokens/*")
    token_page = page.url
    await page.get_by_role("button", name="Open the application").click()

    await expect(page.locator("h1")).to_have_text("We keep the lamps lit.")
    root = page.url
    await page.get_by_role("link", name="Watch the tide live").click()
    await expect(page.locator("h1")).to_have_text("Live")
    if scripts:
        await expect(page.locator("#echo")).to_contain_text("connected (echo.v2)")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#echo")).to_have_text("Ahoy")

    assert seen.errors == []

    account = await context.new_page()
    await account.goto(token_page)
    await account.get_by_role("link", name="Revoke").click()
    await account.get_by_role("main").get_by_role("button", name="Revoke").click()

    if scripts:  # connections of the token are closed immediately
        await expect(page.locator("#echo")).to_contain_text("closed: 4401")
    response = await page.goto(root)
    assert response is not None
    assert response.status == 401
    await context.close()
