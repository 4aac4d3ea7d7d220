"""Reloading the application's front page when the address bar shows the upstream's addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.kit.account_site import buy, register, site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


async def test_a_reload_of_the_front_page_shows_the_applications_own(
    chromium: Browser, sqlite_database: str, tmp_path: Path
) -> None:
    options = {"html": {"address": "upstream"}}
    async with site(tmp_path, sqlite_database, mount="prefix", plugin_options=options) as gate:
        page = await gate.page(chromium)
        page.set_default_timeout(30_000)
        await register(page)
        await buy(page)
        await page.get_by_role("button", name="Open the application").click()
        await expect(page.locator("h1")).to_have_text("We keep the lamps lit.")
        assert await page.evaluate("location.pathname") == "/"
        for _ in range(2):
            await page.reload()
            await expect(page.locator("h1")).to_have_text("We keep the lamps lit.")
            assert await page.evaluate("location.href") == f"{gate.root}/"
        await page.goto("/")  # typed, with the same address: a reload as well
        await page.goto("/account")
        await page.goto("/")
        await expect(page.locator("h1")).not_to_have_text("We keep the lamps lit.")
