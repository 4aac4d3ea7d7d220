"""Service workers: a hostile application tries to serve the gate's own pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from tests.kit.hostile_attacks import opener_read
from tests.kit.hostile_site import run, trap

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
    """The pages of the gate that a worker serves now."""
    for path in ("/login", "/"):
        page = await context.new_page()
        await page.goto(path)
        title = await page.title()
        await page.close()
        if title == "stolen":
            return path
    return ""


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_service_worker_responds_for_the_gates_pages(
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


# A worker may ask for the windows of its whole origin, beyond its scope.
SPY = """
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', event => {
  const policy = new URL(event.request.url).searchParams.get('forge');
  if (policy === null) return;
  const headers = { 'Content-Type': 'application/xhtml+xml', 'Cross-Origin-Opener-Policy': policy };
  const text = '<p id="here">forged</p>';
  event.respondWith(new Response(
    `<html xmlns="http://www.w3.org/1999/xhtml"><head/><body>${text}</body></html>`, { headers }));
});
self.addEventListener('message', async event => {
  const all = await self.clients.matchAll({ includeUncontrolled: true, type: 'window' });
  event.source.postMessage(all.map(client => client.url));
});
"""
START_SPY = """
  const [address] = args;
  await navigator.serviceWorker.register(address);
  await navigator.serviceWorker.ready;
  await loot(() => navigator.serviceWorker.controller);
  return '';
"""
ADDRESS_OF_ANOTHER_WINDOW = """
  const [gate] = args;
  open(gate + '/account/buy', 'x');
  return loot(async () => {
    const addresses = await new Promise(done => {
      navigator.serviceWorker.onmessage = event => done(event.data);
      navigator.serviceWorker.controller.postMessage('list');
    });
    return addresses.find(address => address.startsWith(gate + '/account/buy'));
  }, 10000);
"""


@pytest.mark.parametrize("policy", ["same-origin", "noopener-allow-popups"])
async def test_an_address_sent_to_a_worker_opens_no_page(
    sqlite_database: str, tmp_path: Path, chromium: Browser, policy: str
) -> None:
    async with trap(tmp_path / "gate", sqlite_database) as site:
        page = await site.visitor(chromium)
        await page.goto(site.url())
        await run(page, START_SPY, site.url("/spy.js", body=SPY))
        told = await run(page, ADDRESS_OF_ANOTHER_WINDOW, site.gate)
        assert told.startswith(f"{site.gate}/account/buy")
        await page.goto(f"{site.mount}/page?forge={policy}")
        assert await page.text_content("#here") == "forged"
        assert await opener_read(page, f"location.href = {json.dumps(told)}") == ""
        await page.goto(f"{site.mount}/page?forge={policy}")
        assert await run(page, SEND_A_WINDOW, told) == ""


SEND_A_WINDOW = """
  const [address] = args;
  const w = open('', 'sent');
  w.location.href = address;
  return watched(w);
"""
