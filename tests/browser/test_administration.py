"""What administrators do, told by a real Chromium."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.kit.account_site import Site, buy, register
from tests.kit.chromium import watch
from zenzefi.tokens.sessions import SESSION_TRACKER

pytestmark = pytest.mark.browser


async def _both(paid: Site, chromium: Browser) -> tuple[Page, Page]:
    """A user and an administrator, each in a separate browser."""
    user = await paid.page(chromium)
    await register(user, "boris")
    admin = await paid.page(chromium)
    await register(admin, "root")
    await paid.promote("root")
    return user, admin


async def _find(admin: Page, name: str) -> None:
    await admin.goto("/account")
    await admin.get_by_role("link", name="Manage").click()
    await admin.get_by_role("link", name="Users", exact=True).click()
    await admin.get_by_label("Name or e-mail").fill(name)
    await admin.get_by_role("button", name="Search").click()
    await admin.get_by_role("link", name=name, exact=True).click()


async def test_a_user_is_found_credited_watched_and_closed(
    paid_at_prefix: Site, chromium: Browser
) -> None:
    paid = paid_at_prefix  # where addresses can leave the mount
    user, admin = await _both(paid, chromium)
    seen = watch(admin)
    await _find(admin, "boris")
    await admin.get_by_label("Amount in ZNC").fill("20")
    await admin.get_by_label("Reason").fill("For the workshop")
    await admin.get_by_role("button", name="Change the balance").click()
    await expect(admin.locator(".notice--good")).to_contain_text("20.00")

    await user.goto("/account/money")
    await expect(user.locator("main")).to_contain_text("For the workshop")
    await buy(user, 24)
    await user.locator('form[action$="/open"] button').click()
    await user.wait_for_url("**/api/v1/proxy/")
    await user.goto("/lost", referer=user.url)  # as a script does that builds an address by itself
    await user.wait_for_url("**/api/v1/proxy/lost")
    lights = f"{paid.upstream_root}lights/"
    await user.goto("/lights/", referer=lights)  # as a router does that knows no mount
    await user.wait_for_url(lights)
    await paid.gate.app[SESSION_TRACKER].flush()

    await admin.goto("/admin/plugins")
    html = admin.locator("tbody tr", has=admin.get_by_role("rowheader", name="html", exact=True))
    await expect(html.locator("td").first).not_to_have_text("0")
    await admin.goto("/admin/strays")
    await expect(admin.locator("tbody")).to_contain_text("/lost")
    await expect(admin.locator("main")).to_contain_text("requested their own address")
    await expect(admin.locator("tbody tr th").first).to_contain_text("/api/v1/proxy/")

    await admin.goto("/admin/sessions")
    await admin.get_by_role("button", name="End boris").click()
    await expect(admin.locator(".notice--good")).to_contain_text("The session has ended")

    await _find(admin, "boris")
    opener = admin.get_by_role("button", name="Deactivate…")
    await opener.click()
    dialog = admin.get_by_role("dialog", name="Deactivate boris?")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await admin.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(opener).to_be_focused()
    await user.goto("/account")
    await expect(user.locator("h1")).to_have_text("My tokens")
    await opener.click()
    await dialog.get_by_role("button", name="Deactivate").click()
    await expect(admin.locator("h1 + .state")).to_have_text("deactivated")
    await user.goto("/account")
    await expect(user).to_have_url(re.compile(r"/login\?next="))
    assert seen.errors == []


async def test_the_audit_log_is_filtered_read_and_saved(
    paid: Site, chromium: Browser, tmp_path: Path
) -> None:
    user, admin = await _both(paid, chromium)
    await user.goto("/login")  # signed in: leads back
    await _find(admin, "boris")
    await admin.get_by_label("Amount in ZNC").fill("5")
    await admin.get_by_label("Reason").fill("=SUM(A1)")
    await admin.get_by_role("button", name="Change the balance").click()
    await admin.get_by_role("link", name="Audit log of this account").click()
    await expect(admin.locator("tbody tr")).to_have_count(2)
    await admin.get_by_label("Action", exact=True).select_option(label="Credited a balance")
    await admin.wait_for_url("**action=user.credited*")
    row = admin.locator("tbody tr")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("root")
    await expect(row).to_contain_text("boris")
    await expect(row).to_contain_text("127.0.0.1")
    assert re.search(r"Request [0-9a-f]{8,}", await row.inner_text())
    async with admin.expect_download() as download:
        await admin.get_by_role("link", name="Download as CSV").click()
    target = tmp_path / "audit.csv"
    await (await download.value).save_as(target)
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [one["action"] for one in rows] == ["user.credited"]
    await admin.get_by_role("link", name="Show all").click()
    assert await admin.locator("tbody tr").count() > 2


async def test_money_that_has_come_is_confirmed_once(paid: Site, chromium: Browser) -> None:
    user, admin = await _both(paid, chromium)
    await user.goto("/account/money")
    await user.locator("#f-amount").fill("40")
    await user.get_by_role("button", name="Request an invoice").click()
    await admin.goto("/admin")
    await admin.get_by_role("link", name="1 payment is awaiting confirmation").click()
    await admin.get_by_role("button", name="Confirm… boris").click()
    dialog = admin.get_by_role("dialog")
    await expect(dialog).to_contain_text("Has the payment of boris arrived?")
    await dialog.get_by_role("button", name="Credit").click()
    await expect(admin.locator(".notice--good")).to_contain_text("has been credited")
    await user.goto("/account/money")
    await expect(user.locator(".wallet")).to_contain_text("40.00")
