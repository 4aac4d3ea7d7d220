"""Every story once more in a browser that runs no script at all."""

from __future__ import annotations

import re

import pyotp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.kit.account_site import PASSWORD, Site, buy, register, top_up

pytestmark = pytest.mark.browser


async def _page(found: Site, chromium: Browser) -> Page:
    return await found.page(chromium, java_script_enabled=False)


async def test_money_and_tokens(paid: Site, chromium: Browser) -> None:
    page = await _page(paid, chromium)
    await register(page)
    await top_up(page, "30,50")
    address = await buy(page, 24)
    await page.locator("#f-name").fill("Laptop")
    await page.get_by_role("button", name="Save the name").click()
    await expect(page.locator("h1")).to_have_text("Laptop")
    # The page offers nothing that needs a script.
    await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    await page.get_by_role("link", name="Other ways to connect").click()
    await expect(page.locator("#c-curl")).to_contain_text("X-Access-Token")
    await page.goto(address)
    await page.get_by_role("link", name="Revoke…").click()
    await expect(page.locator("main")).to_contain_text("18.00 ZNC will be refunded")
    await page.get_by_role("button", name="Revoke it").click()
    await expect(page.locator(".notice--good")).to_contain_text("18.00")
    await page.goto("/account/money")
    await page.get_by_label("Show").select_option("refund")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Receipt").click()
    await expect(page.locator(".figure-big")).to_contain_text("+18.00")
    await expect(page.locator("time").first).to_contain_text("UTC")


async def test_the_account(free: Site, chromium: Browser) -> None:
    page = await _page(free, chromium)
    await register(page)
    other = await _page(free, chromium)
    await other.goto("/login")
    await other.get_by_label("E-mail").fill("marta@example.com")
    await other.get_by_label("Password").fill(PASSWORD)
    await other.locator("main form button").click()
    await page.goto("/account/profile")
    await page.get_by_role("button", name="End", exact=False).first.click()
    await expect(page.locator(".notice--good")).to_contain_text("has ended")
    await other.goto("/account")
    await expect(other).to_have_url(re.compile(r"/login\?next="))

    await page.get_by_label("Current password").fill("not this one")
    await page.get_by_label("New password").fill("another long password")
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_label("Current password")).to_be_focused()
    await expect(page.locator("#e-current")).to_be_in_viewport()

    await page.get_by_label("Current password").fill(PASSWORD)
    await page.get_by_label("New password").fill("another long password")
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.locator(".notice--good")).to_contain_text("The password is changed.")

    await page.get_by_role("link", name="Set it up").click()
    secret = (await page.locator("main code").inner_text()).replace(" ", "")
    await page.locator("#f-code").fill(pyotp.TOTP(secret).now())
    await page.get_by_role("button", name="Switch it on").click()
    codes = await page.locator(".codes li").all_inner_texts()
    await page.get_by_role("button", name="Русский").click()
    await page.get_by_role("button", name="Выйти").first.click()
    await page.locator("#f-email").fill("marta@example.com")
    await page.locator("#f-password").fill("another long password")
    await page.locator("main form button").click()
    await page.locator("#f-code").fill(codes[3])
    await page.locator("main form button").click()
    await expect(page.locator("h1")).to_have_text("Мои токены")


async def test_administration(free: Site, chromium: Browser) -> None:
    user, admin = await _page(free, chromium), await _page(free, chromium)
    await register(user, "boris")
    await register(admin, "root")
    await free.promote("root")
    await buy(user)
    await admin.goto("/admin/users?search=boris")
    await admin.locator("tbody a").click()
    await admin.get_by_role("button", name="Revoke…").click()
    await expect(admin.locator("h1")).to_contain_text("of boris?")
    await admin.get_by_role("link", name="Cancel").click()
    await expect(admin.locator("tbody .state--ready")).to_have_count(1)
    await admin.get_by_role("button", name="Revoke…").click()
    await admin.get_by_role("button", name="Revoke it").click()
    await expect(admin.locator("tbody .state--revoked")).to_have_count(1)
    await admin.goto("/admin/audit")
    await admin.get_by_label("Action", exact=True).select_option("token.revoked")
    await admin.get_by_label("Who").fill("root")
    await admin.get_by_role("button", name="Filter").click()
    await expect(admin.locator("tbody tr")).to_have_count(1)
    await admin.goto("/admin/users?search=boris")
    await admin.locator("tbody a").click()
    await admin.get_by_role("button", name="Deactivate…").click()
    await admin.get_by_role("button", name="Deactivate").click()
    await user.goto("/account")
    await expect(user).to_have_url(re.compile(r"/login\?next="))
