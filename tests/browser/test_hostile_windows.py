"""Windows, frames and histories: how a hostile application gets hold of an account page."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.kit.hostile_attacks import BY_A_REQUEST, IN_A_FRAME, loot_of, opener_read
from tests.kit.hostile_site import run, trap

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

COOP = "Cross-Origin-Opener-Policy"
POLICIES: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "unsafe-none": [(COOP, "unsafe-none")],
    "same-origin": [(COOP, "same-origin")],
    "same-origin-allow-popups": [(COOP, "same-origin-allow-popups")],
    "noopener-allow-popups": [(COOP, "noopener-allow-popups")],
    "isolated": [(COOP, "same-origin"), ("Cross-Origin-Embedder-Policy", "require-corp")],
}


@pytest.mark.parametrize(
    ("scheme", "policy"),
    [*(("http", policy) for policy in POLICIES), ("https", "same-origin"), ("https", "isolated")],
)
async def test_no_window_that_the_application_opens_can_be_read(
    sqlite_database: str, tmp_path: Path, chromium: Browser, scheme: str, policy: str
) -> None:
    async with trap(tmp_path / "gate", sqlite_database, scheme=scheme) as site:
        page = await site.visitor(chromium)
        assert await loot_of(page, site.gate, site.url(headers=POLICIES[policy])) == {}


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_window_can_not_read_its_opener_once_that_shows_the_page(
    sqlite_database: str, tmp_path: Path, chromium: Browser, policy: str
) -> None:
    async with trap(tmp_path / "gate", sqlite_database) as site:
        page = await site.visitor(chromium)
        await page.goto(site.url(headers=POLICIES[policy]))
        assert await opener_read(page, TO_THE_PAGE) == ""


TO_THE_PAGE = "location.href = new URL('/account/buy', location.origin).href"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_frame_and_no_request_of_the_application_reads_a_page(
    sqlite_database: str, tmp_path: Path, chromium: Browser, scheme: str
) -> None:
    async with trap(tmp_path / "gate", sqlite_database, scheme=scheme) as site:
        page = await site.visitor(chromium)
        for script in (IN_A_FRAME, BY_A_REQUEST):
            await page.goto(site.url())
            assert await run(page, "const [gate] = args;" + script, site.gate) == ""


# A worker below the mount may serve the application's documents, with any header.
FORGER = """
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', event => {
  const url = new URL(event.request.url);
  if (url.searchParams.get('forge') === null) return;
  const policy = url.searchParams.get('forge');
  const headers = { 'Content-Type': 'application/xhtml+xml', 'Cross-Origin-Opener-Policy': policy };
  const text = '<p id="here">forged</p>';
  event.respondWith(new Response(
    `<html xmlns="http://www.w3.org/1999/xhtml"><head/><body>${text}</body></html>`, { headers }));
});
"""
REGISTER = """
  const [address] = args;
  await navigator.serviceWorker.register(address);
  await navigator.serviceWorker.ready;
  await loot(() => navigator.serviceWorker.controller);
  return '';
"""


@pytest.mark.parametrize(
    "policy",
    ["unsafe-none", "same-origin", "same-origin-allow-popups", "noopener-allow-popups"],
)
async def test_a_policy_that_a_service_worker_forged_opens_nothing(
    sqlite_database: str, tmp_path: Path, chromium: Browser, policy: str
) -> None:
    async with trap(tmp_path / "gate", sqlite_database) as site:
        page = await site.visitor(chromium)
        await page.goto(site.url())
        await run(page, REGISTER, site.url("/forger.js", body=FORGER))
        url = f"{site.mount}/page?forge={policy}"
        await page.goto(url)
        assert await page.text_content("#here") == "forged"
        assert await loot_of(page, site.gate, url) == {}
        await page.goto(url)
        assert await opener_read(page, TO_THE_PAGE) == ""


async def test_going_back_to_a_page_of_the_account_opens_nothing(
    sqlite_database: str, tmp_path: Path, chromium: Browser
) -> None:
    async with trap(tmp_path / "gate", sqlite_database) as site:
        page = await site.visitor(chromium)
        for policy in POLICIES.values():
            await page.goto("/account/buy")
            await page.goto(site.url(headers=policy))
            assert await opener_read(page, "history.back()") == ""
