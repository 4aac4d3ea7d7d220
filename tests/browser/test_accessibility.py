"""Every page in both themes, languages and on the narrowest phone: axe-core finds nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.async_api import Browser, Page

from tests.kit.account_site import PASSWORD, PRICES, Site, buy, faults, register, site, top_up
from tests.kit.chromium import watch

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

STRANGERS = (
    *("/", "/register", "/login", "/login/forgotten", "/login/reset?link=x"),
    *("/register/confirm?link=x", "/api/v1/proxy/", "/no-such-page"),
)
PERSONAL = (
    "/account/notices",
    "/account/profile/data",
    "/account/terms",
    "/account/confirm-address",
)
LEGAL = ("imprint", "terms", "privacy", "contact")
ADMIN = (
    *("/admin", "/admin/users", "/admin/users?search=nobody", "/admin/tokens"),
    *("/admin/tokens?user=nobody", "/admin/sessions", "/admin/sessions?state=all"),
    *("/admin/payments", "/admin/payments?status=failed", "/admin/audit"),
    "/admin/promo-codes",
    *("/admin/audit?who=nobody&since=never", "/admin/plugins", "/admin/strays"),
    *("/admin/reports", "/admin/reports?since=never", "/admin/payments?user=nobody"),
    *("/admin/invitations", "/admin/offers"),
)
NAME = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft_and_more"


class Look:
    """Looks at one page after the other, and remembers what was wrong."""

    def __init__(self, page: Page, language: str) -> None:
        self.page = page
        self.language = language
        self.found: dict[str, list[str]] = {}
        self.count = 0

    async def at(self, path: str, name: str = "") -> None:
        """Open a page and look at it."""
        await self.page.goto(path)
        await self.here(name or path)

    async def here(self, name: str) -> None:
        """Look at the page that is open."""
        self.count += 1
        assert await self.page.get_attribute("html", "lang") == self.language, name
        wrong = await faults(self.page)
        if wrong:
            self.found[name] = wrong

    async def sent(self, path: str, form: str, name: str, **fields: str) -> None:
        """Fill a form, send it, and look at the response."""
        await self.page.goto(path)
        for field, text in fields.items():
            await self.page.locator(f"#f-{field}").fill(text)
        await self.page.locator(f'form[action="{form}"] button:not([type])').first.click()
        await self.page.wait_for_load_state("load")
        await self.here(name)


@pytest.mark.parametrize(
    ("language", "width", "scheme"), [("en", 1280, "light"), ("ru", 320, "dark")]
)
async def test_every_page_is_accessible_and_fits(
    sqlite_database: str,
    tmp_path: Path,
    chromium: Browser,
    language: str,
    width: int,
    scheme: Any,
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in LEGAL:
        (texts / f"{name}.md").write_text("# Title\n\n- [A link](https://example.com/)\n")
    async with site(
        tmp_path / "gate",
        sqlite_database,
        branding_dir=texts,
        mail_url="log:",
        debug=True,
        rate_limit_login="off",
        **PRICES,
    ) as found:
        page = await found.page(
            chromium,
            color_scheme=scheme,
            locale=language,
            viewport={"width": width, "height": 800},
            bypass_csp=True,  # for axe alone: the pages' own policy allows no such script
        )
        page.set_default_timeout(30_000)
        seen = watch(page)
        look = Look(page, language)
        for path in (*STRANGERS, *(f"/legal/{name}" for name in LEGAL)):
            await look.at(path)
        await look.sent("/register", "/register", "mistakes", email="x", username="y")
        await look.sent("/login", "/login", "wrong password", email="a@b.example", password="x")
        await look.sent("/login/forgotten", "/login/forgotten", "link sent", email="a@b.example")
        await register(page)
        for path in ("/account", "/account/connect", "/account/money", "/account/profile"):
            await look.at(path, f"{path} of a newcomer")
        await look.at("/account/tokens/x", "not found")
        await look.at("/admin", "not for users")
        await look.sent("/account/buy?hours=168", "/account/buy", "too poor to buy")
        await top_up(page, "500")
        await look.here("payment")
        revoked, waiting, running = await buy(page, 1), await buy(page, 168), await buy(page, 24)
        await page.goto(waiting)
        await page.locator("#f-name").fill(NAME)
        await page.locator('form[action$="/name"] button').click()
        await page.goto(f"{revoked}/revoke")
        await look.here("revoke?")
        await page.locator("main form button").click()
        await page.goto(running)
        await page.locator('form[action$="/open"] button').first.click()
        await page.wait_for_url("http://app.localhost:*/")
        for path in ("/account", revoked, waiting, running, f"{running}/revoke"):
            await look.at(path)
        for path in (*("/account/buy", "/account/connect", "/account/usage"), *PERSONAL):
            await look.at(path)
        await look.sent("/account/money", "/account/money/top-up", "bad amount", amount="lots")
        await look.at("/account/payments")
        await look.at("/account/money")
        receipt = await page.locator('a[href*="/receipts/"]').first.get_attribute("href")
        await look.at(str(receipt))
        await look.sent(
            "/account/profile", "/account/profile/password", "bad password", current="x"
        )
        await _two_steps(look)
        await found.promote()
        for path in ADMIN:
            await look.at(path)
        await _one_user(look)
    assert look.found == {}
    assert look.count >= 55
    # The browser logs refused responses too; nothing else may be wrong.
    assert [error for error in seen.errors if "Failed to load resource" not in error] == []


async def _two_steps(look: Look) -> None:
    page = look.page
    await look.at("/account/two-factor")
    secret = (await page.locator("main code").inner_text()).replace(" ", "")
    await look.sent("/account/two-factor", "/account/two-factor", "wrong code", code="000000")
    await page.locator("#f-code").fill(pyotp.TOTP(secret).now())
    await page.locator('form[action="/account/two-factor"] button').click()
    await page.locator(".codes").wait_for()
    await look.here("recovery codes")
    await look.at("/account/profile")
    await look.at("/account/two-factor/codes")
    await look.sent(
        "/account/two-factor/off", "/account/two-factor/off", "bad password for off", current="x"
    )
    await page.goto("/account/two-factor/codes")
    await page.locator("#f-current").fill(PASSWORD)
    await page.locator("main form button").click()
    code = await page.locator(".codes li").first.inner_text()
    await page.locator('.foot form[action="/logout"] button').click()
    await page.locator("#f-email").fill("marta@example.com")
    await page.locator("#f-password").fill(PASSWORD)
    await page.locator("main form button").click()
    await page.wait_for_url("**/login/code")
    await look.here("/login/code")
    await page.locator("#f-code").fill(code)
    await page.locator("main form button").click()
    await page.wait_for_url("**/account")


async def _one_user(look: Look) -> None:
    page = look.page
    await page.goto("/admin/users")
    path = str(await page.locator("tbody a").first.get_attribute("href"))
    await look.at(path, "one user")
    await look.at(f"{path}/help", "help for one user")
    await look.sent(path, f"{path}/credit", "bad credit", amount="-1")
    await page.locator('button[value="deactivate"]').click()
    await page.locator("dialog[open]").wait_for()
    await look.here("question as a dialog")
    await page.keyboard.press("Escape")
    await page.evaluate("document.querySelectorAll('[data-ask]').forEach(b => b.dataset.ask = '')")
    await page.locator('button[value="deactivate"]').click()
    await page.locator('input[name="sure"]').wait_for(state="attached")
    await look.here("question as a page")


_CUT = """
() => [...document.querySelectorAll('.bar a')].filter(
  a => a.scrollWidth > a.clientWidth + 1 || a.getBoundingClientRect().right > innerWidth + 0.5
).map(a => a.textContent.trim())
"""


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("width", [320, 390, 768, 959, 960, 1280])
async def test_the_bar_of_an_administrator_fits_with_a_large_balance(
    free: Site, chromium: Browser, language: str, width: int
) -> None:
    page = await free.page(chromium, locale=language, viewport={"width": width, "height": 800})
    await register(page)
    await top_up(page, "123456.78")
    await free.promote()
    await page.goto("/admin")
    assert await page.get_attribute("html", "lang") == language
    assert await page.locator(".nav a").count() == 6
    assert await page.evaluate(_CUT) == []
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
