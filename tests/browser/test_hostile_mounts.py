"""The hostile application at every mount, over https and over plain http on a host's own name."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.kit.hostile_attacks import BY_A_REQUEST, FROM_A_WINDOW, IN_A_FRAME, loot_of
from tests.kit.hostile_site import Trap, Where, register, run, trap

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# (mount, scheme, host): where the application has a separate origin.
OWN_ORIGINS: list[tuple[Where, str, str]] = [
    ("own", "http", "127.0.0.1"),
    ("own", "https", "127.0.0.1"),
    ("own", "http", "gate.example"),
    ("port", "http", "127.0.0.1"),
    ("port", "https", "127.0.0.1"),
    ("port", "http", "gate.example"),
]

SEND_A_FORM = """
  const [gate] = args;
  const form = document.createElementNS('http://www.w3.org/1999/xhtml', 'form');
  form.setAttribute('action', gate + '/account/buy');
  form.setAttribute('method', 'post');
  form.setAttribute('target', 'posted');
  for (const [name, value] of Object.entries({ duration_hours: '1', scope: 'full', once: 'x' })) {
    const field = document.createElementNS('http://www.w3.org/1999/xhtml', 'input');
    field.setAttribute('name', name);
    field.setAttribute('value', value);
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  await pause(800);
  return '';
"""


async def loot_of_all(site: Trap, chromium: Browser) -> dict[str, str]:
    """What any attack on the account read, by its name."""
    page = await site.visitor(chromium)
    attacks = {**FROM_A_WINDOW, "frames": IN_A_FRAME, "requests": BY_A_REQUEST}
    found = await loot_of(page, site.gate, site.url(), attacks)
    await page.goto(site.url())
    await run(page, SEND_A_FORM, site.gate)
    await page.goto(f"{site.gate}/account")
    if await page.locator(".ticket").count() != 1:
        found["form"] = "bought"
    return found


@pytest.mark.parametrize(("where", "scheme", "host"), OWN_ORIGINS)
async def test_at_an_origin_of_its_own_the_application_reads_nothing_of_the_account(
    sqlite_database: str, tmp_path: Path, chromium: Browser, where: Where, scheme: str, host: str
) -> None:
    async with trap(
        tmp_path / "gate", sqlite_database, scheme=scheme, host=host, where=where
    ) as site:
        assert await loot_of_all(site, chromium) == {}


async def test_over_plain_http_there_is_no_account_beside_the_application(
    sqlite_database: str, tmp_path: Path, chromium: Browser
) -> None:
    async with trap(tmp_path / "gate", sqlite_database, host="gate.example") as site:
        page = await (await site.profile(chromium)).new_page()
        for path in ("/", "/login", "/register", "/account", "/admin"):
            response = await page.goto(site.gate + path)
            assert response is not None
            assert response.status == 403
            assert "PROXY_HOST" in await page.inner_text("main")
            assert await page.locator("form[action='/login']").count() == 0
        await page.goto(f"{site.gate}/livez")  # of the same origin, without a policy
        read = await run(
            page,
            """
            const [gate] = args;
            const pages = await Promise.all(['/login', '/account', '/account/buy', '/register'].map(
              path => fetch(gate + path).then(response => response.status)));
            return pages.filter(status => status !== 403).join();
            """,
            site.gate,
        )
        assert read == ""


async def test_links_and_forms_reach_their_pages_under_the_prefix(
    sqlite_database: str, tmp_path: Path, chromium: Browser
) -> None:
    """A typed address, a link from elsewhere, an old ticket, back, reload, another tab."""
    async with trap(tmp_path / "gate", sqlite_database) as site:
        page = await (await site.profile(chromium)).new_page()
        await register(page, "marta")
        await page.goto("/account/buy?hours=1")
        assert page.url == f"{site.gate}/account/buy?hours=1"
        await page.reload()
        assert await page.locator('form[action="/account/buy"]').count() == 1
        await page.goto("/account/profile")
        await page.go_back()
        await page.wait_for_url("**/account/buy?hours=1")
        await page.goto("/account/money?isolated=1-0000")
        assert page.url == f"{site.gate}/account/money"
        await page.goto("data:text/html,<a id=x href='" + site.gate + "/account/profile'>x</a>")
        await page.click("#x")
        await page.wait_for_url(f"{site.gate}/account/profile")
        assert await page.locator("form[action='/logout']").count() > 0
        async with page.context.expect_page() as opened:
            await page.locator("a[href='/account/money']").first.click(modifiers=["Control"])
        tab = await opened.value
        await tab.wait_for_url(f"{site.gate}/account/money")
        assert await tab.locator("#f-amount").count() == 1
