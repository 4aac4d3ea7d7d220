"""Service workers: a hostile application tries to answer for the gate's own pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from tests.browser.hostile import run, trap

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

THIEF = """
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', event => event.respondWith(new Response(
  '<!doctype html><title>stolen</title>', { headers: { 'Content-Type': 'text/html' } })));
"""

REGISTER = """
  const [script, scopes] = args;
  for (const scope of scopes) {
    try { await navigator.serviceWorker.register(script, { scope }); } catch { /* refused */ }
  }
  await pause(300);
  return '';
"""
REGISTER_IN_SVG = """
(async () => {
  for (const scope of %s) {
    try { await navigator.serviceWorker.register(%s, { scope }); } catch {}
  }
  document.documentElement.setAttribute('data-done', 'yes');
})();
"""
SCOPES = ["/", "/login", "/api/v1/", "/api/v1/proxy/.."]


def allowances(gate: str) -> list[list[str]]:
    """Values of ``Service-Worker-Allowed``; several are several lines."""
    host = gate.partition("://")[2]
    return [
        *([value] for value in ("", "/", "..", "../../..", "/..", "%2e%2e/%2e%2e/%2e%2e/")),
        *([value] for value in (f"{gate}/", f"//{host}/", f"\\\\{host}\\", f"/\\{host}/")),
        *([value] for value in (f"{gate}/api/v1/proxy/..", f"{gate}/login", f"{gate.upper()}/")),
        *([value] for value in (f"{gate.partition(':')[0]}:/", f"{gate}/api/v1/proxy/%2e%2e/..")),
        *([value] for value in (f"\t{gate}/", f"{gate[:4]}\t{gate[4:]}/", f"{gate}/.\t./")),
        ["/", f"{gate}/"],
        [f"{gate}/", "/"],
        [f"{gate}/", f"{gate}/"],
    ]


async def served(context: BrowserContext) -> str:
    """Which of the gate's pages a worker answers for now."""
    for path in ("/login", "/"):
        page = await context.new_page()
        await page.goto(path)
        title = await page.title()
        await page.close()
        if title == "stolen":
            return path
    return ""


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_service_worker_answers_for_the_gates_pages(
    sqlite_database: str, tmp_path: Path, chromium: Browser, scheme: str
) -> None:
    async with trap(tmp_path / "gate", sqlite_database, scheme=scheme) as site:
        page = await site.visitor(chromium)
        chosen = allowances(site.gate)
        for values in chosen if scheme == "http" else chosen[6:8]:
            headers = [("Service-Worker-Allowed", value) for value in values]
            script = site.url("/js/thief.js", body=THIEF, headers=headers)
            await page.goto(site.url())
            await run(page, REGISTER, script, SCOPES)
            assert await served(page.context) == "", values
            svg = "<svg xmlns='http://www.w3.org/2000/svg'><script><![CDATA[%s]]></script></svg>"
            source = svg % (REGISTER_IN_SVG % (SCOPES, repr(script)))
            await page.goto(site.url("/drawing.svg", body=source))
            await page.wait_for_selector("svg[data-done]", state="attached")
            assert await served(page.context) == "", values


async def test_nothing_else_of_the_gate_is_the_script_of_a_worker(
    sqlite_database: str, tmp_path: Path, chromium: Browser
) -> None:
    async with trap(tmp_path / "gate", sqlite_database) as site:
        page = await site.visitor(chromium)
        for path in ("/thief.js", "/static/site.js", "/api/v1/thief.js", "/docs", "/api/v1/proxy"):
            await page.goto(site.url())
            await run(page, REGISTER, site.gate + path + "?" + "body=1", SCOPES)
        assert (
            await page.evaluate(
                "navigator.serviceWorker.getRegistrations().then(all => all.length)"
            )
            == 0
        )
