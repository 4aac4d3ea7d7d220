"""From too little balance to a token in one flow, in both languages, on a phone and a desktop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.kit.account_site import faults, register, site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

WIDTHS = (390, 768, 1280)
SHOP = {
    "token_price_1h": "2.00",
    "token_price_24h": "18.00",
    "token_prices": '{"90d": "1234567.89"}',
    "scope_prices": '{"certificates_only": {"24h": "9.00"}}',
    "payment_currency": "EUR",
    "currency_rates": '{"EUR": "0.125", "USD": "0.14", "GBP": "0.11"}',
}


async def look(page: Page, name: str) -> list[str]:
    """The faults of the open page at each width; pictures where SHOP_PICTURES names a folder."""
    found = []
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        found += [f"{name} at {width}: {fault}" for fault in await faults(page)]
        if folder := os.environ.get("SHOP_PICTURES"):
            await page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)
    return found


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_a_buyer_without_balance_pays_and_gets_the_token(
    sqlite_database: str, tmp_path: Path, chromium: Browser, language: str
) -> None:
    async with site(tmp_path / "gate", sqlite_database, **SHOP) as found:
        page = await found.page(chromium, locale=language)
        await page.goto("/")
        wrong = await look(page, f"{language}-front")
        await register(page)
        await page.goto("/account/buy?hours=24")
        wrong += await look(page, f"{language}-buy")
        await page.locator('form[action="/account/buy"] button').click()
        await page.wait_for_url("**/account/buy/pay?*")
        wrong += await look(page, f"{language}-pay")
        await page.locator("button[value=mock]").click()
        await page.wait_for_url("**/account/payments/*")
        wrong += await look(page, f"{language}-paid")
        await page.locator('main a.button[href^="/account/tokens/"]').click()
        await page.wait_for_url("**/account/tokens/*")
        await page.goto("/account/money")
        wrong += await look(page, f"{language}-money")
        await found.promote()
        await page.goto("/admin/offers")
        wrong += await look(page, f"{language}-offers")
        assert wrong == []
