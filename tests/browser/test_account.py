"""The stories of the account pages, told by a real Chromium against the real gate."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import Browser, Page, expect
from sqlalchemy import update

from tests.browser.conftest import watch
from tests.conftest import SECRET_KEY, GateClient
from zenzefi.accounts.models import users
from zenzefi.app import create_app
from zenzefi.config import load_settings
from zenzefi.db.engine import DATABASE
from zenzefi.demo import running_demo

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PRICES = {"token_price_1h": "2.00", "token_price_24h": "18.00", "token_price_7d": "70.00"}


@dataclass
class Site:
    """A gate with the demo site behind it."""

    gate: GateClient
    root: str

    async def page(self, chromium: Browser, **options: Any) -> Page:
        """A fresh browser profile's first page."""
        context = await chromium.new_context(base_url=self.root, **options)
        context.set_default_timeout(10_000)
        return await context.new_page()

    async def promote(self) -> None:
        """Make everybody an administrator."""
        async with self.gate.app[DATABASE].begin() as connection:
            await connection.execute(update(users).values(is_superuser=True))


@asynccontextmanager
async def site(
    folder: Path, database: str, *, own_origin: bool = False, **settings: Any
) -> AsyncIterator[Site]:
    # The gate must know its own address beforehand: pages that come through are mapped to it.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = f"http://127.0.0.1:{port}"
    if own_origin:
        settings["proxy_host"] = f"upstream.localhost:{port}"
    async with running_demo() as upstream:
        app = create_app(
            load_settings(
                {
                    "secret_key": SECRET_KEY,
                    "data_dir": folder,
                    "database_url": database,
                    "backend_url": root,
                    "zenzefi_target_url": upstream,
                    "debug": True,
                    "payment_providers": ["manual", "mock"],
                    **settings,
                }
            )
        )
        async with TestClient(TestServer(app, port=port)) as gate:
            yield Site(gate, root)


@pytest.fixture
async def paid(sqlite_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site where tokens cost something."""
    async with site(tmp_path / "gate", sqlite_database, **PRICES) as found:
        yield found


@pytest.fixture
async def free(sqlite_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site where tokens cost nothing."""
    async with site(tmp_path / "gate", sqlite_database) as found:
        yield found


async def register(page: Page, name: str = "marta") -> None:
    await page.goto("/register")
    await page.locator("#f-email").fill(f"{name}@example.com")
    await page.locator("#f-username").fill(name)
    await page.locator("#f-password").fill(PASSWORD)
    await page.locator("main form button").click()
    await page.wait_for_url("**/account")


async def buy(page: Page, hours: int = 24) -> str:
    await page.goto(f"/account/buy?hours={hours}")
    await page.locator('form[action="/account/buy"] button').click()
    await page.wait_for_url("**/account/tokens/*")
    return page.url


async def faults(page: Page) -> list[str]:
    """What axe finds, and whether the page is wider than the window."""
    await page.evaluate(AXE)
    found = await page.evaluate(
        "rules => axe.run(document, {runOnly: rules}).then(result => result.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')))",
        RULES,
    )
    over = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [*found, *([f"{over} px wider than the window"] if over > 0 else [])]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_from_nothing_to_the_site_behind_the_gate_and_out_again(
    free: Site, chromium: Browser, scripts: bool
) -> None:
    page = await free.page(chromium, java_script_enabled=scripts)
    await page.goto("/")
    await page.get_by_role("link", name="Create an account").click()
    await page.locator("main form button").click()
    assert await page.locator(".field .error").count() == 3
    await register(page)
    await page.get_by_role("link", name="Buy the first one").click()
    await page.locator('form[action="/account/buy"] button').click()
    await page.wait_for_url("**/account/tokens/*")
    address = page.url
    value = await page.locator("#token-value").inner_text()
    await page.get_by_role("button", name="Open through the gate").click()
    await page.wait_for_url("**/api/v1/proxy/")
    assert "Lantern" in await page.title()
    if scripts:
        await page.get_by_role("link", name="Watch the tide live").click()
        await expect(page.locator("#echo")).to_contain_text("connected")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#echo")).to_have_text("Ahoy")
    await page.goto(address)
    await expect(page.locator("main .state").first).to_have_text("Active")
    await page.get_by_role("link", name="Revoke…").click()
    await page.get_by_role("button", name="Revoke it").click()
    await page.wait_for_url("**/account")
    await expect(page.locator(".state--revoked")).to_have_count(1)
    refused = await page.goto("/api/v1/proxy/")
    assert refused is not None
    assert refused.status == 401
    api = await free.gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert api.status == 401
    await page.goto("/account")
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/login")


async def test_the_keyboard_alone_suffices(free: Site, chromium: Browser) -> None:
    page = await free.page(chromium)
    keys = page.keyboard
    await page.goto("/register")
    await keys.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await keys.press("Enter")
    await keys.press("Tab")
    await expect(page.locator("#f-email")).to_be_focused()
    for text in ("marta@example.com", "marta", PASSWORD):
        await keys.type(text)
        await keys.press("Tab")
    await keys.press("Enter")
    await page.wait_for_url("**/account")
    await page.goto("/account/buy")
    chosen = page.locator("input[name=duration_hours]:checked")
    await chosen.focus()
    await keys.press("ArrowDown")
    await expect(page.locator("input[name=duration_hours]:checked")).to_have_value("168")
    await keys.press("Enter")
    await page.wait_for_url("**/account/tokens/*")
    await expect(page.locator(".facts")).to_contain_text("7 days")


async def test_money_is_topped_up_spent_refunded_and_accounted_for(
    paid: Site, chromium: Browser
) -> None:
    page = await paid.page(chromium)
    await register(page)
    await page.goto("/account/buy?hours=24")
    await page.locator('form[action="/account/buy"] button').click()
    await expect(page.get_by_role("alert")).to_contain_text("Top up 18.00")
    await page.goto("/account/money")
    await page.locator("#f-amount").fill("20,50")
    await page.get_by_role("button", name="Pretend to pay").click()
    await expect(page.locator(".notice--good")).to_contain_text("on your balance")
    await buy(page, 24)
    await expect(page.locator(".wallet")).to_contain_text("2.50")
    await page.get_by_role("link", name="Revoke…").click()
    await expect(page.locator("main")).to_contain_text("Your balance will be 20.50")
    await page.get_by_role("button", name="Revoke it").click()
    await page.goto("/account/money")
    assert await page.locator("tbody tr").count() == 3
    await page.locator("#f-type").select_option("refund")
    await page.wait_for_url("**type=refund*")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Receipt").click()
    await expect(page.locator(".figure-big")).to_contain_text("+18.00")
    await page.goto("/account/money")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download as CSV").click()
    with open(await (await download.value).path(), encoding="utf-8") as file:  # noqa: ASYNC230 - small
        assert len(file.readlines()) == 4


async def test_the_clock_runs_and_the_token_is_copied(free: Site, chromium: Browser) -> None:
    page = await free.page(chromium, permissions=["clipboard-read", "clipboard-write"])
    await register(page)
    address = await buy(page, 1)
    value = await page.locator("#token-value").inner_text()
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == value
    await page.get_by_role("button", name="Open through the gate").click()
    await page.wait_for_url("**/api/v1/proxy/")
    await page.goto(address)
    clock = page.locator("[data-ends]")
    before = await clock.inner_text()
    await expect(clock).not_to_have_text(before, timeout=70_000 if "h" in before else 5_000)


@pytest.mark.parametrize(
    ("language", "width", "scheme"), [("en", 1280, "light"), ("ru", 320, "dark")]
)
async def test_every_page_is_accessible_and_fits(
    paid: Site, chromium: Browser, language: str, width: int, scheme: Any
) -> None:
    page = await paid.page(
        chromium,
        color_scheme=scheme,
        locale=language,
        viewport={"width": width, "height": 800},
        bypass_csp=True,  # for axe alone: the pages' own policy allows no such script
    )
    seen = watch(page)
    found: dict[str, list[str]] = {}

    async def look(path: str) -> None:
        await page.goto(path)
        assert await page.get_attribute("html", "lang") == language
        found[path] = await faults(page)

    for path in ("/", "/register", "/login"):
        await look(path)
    await register(page)
    await look("/account")
    await page.goto("/account/money")
    await page.locator("#f-amount").fill("500")
    await page.locator("button[value=mock]").click()
    await page.wait_for_url("**/account/payments/*")
    await look(page.url)
    waiting, running = await buy(page, 168), await buy(page, 24)
    await page.locator('form[action$="/open"] button').click()
    await page.wait_for_url("**/api/v1/proxy/")
    await paid.promote()
    for path in (
        *("/account", waiting, running, f"{running}/revoke", "/account/buy", "/account/money"),
        *("/account/connect", "/account/profile", "/account/two-factor", "/admin", "/admin/users"),
        *("/admin/tokens", "/admin/sessions?state=all", "/admin/payments", "/admin/audit"),
        *("/admin/plugins", "/admin/strays"),
    ):
        await look(path)
    await page.goto("/admin/users")
    await look(str(await page.locator("tbody a").first.get_attribute("href")))
    assert {path: faults_ for path, faults_ in found.items() if faults_} == {}
    assert seen.errors == []


async def test_a_proxied_page_can_neither_read_nor_drive_the_account(
    free: Site, chromium: Browser
) -> None:
    page = await free.page(chromium)
    await register(page)
    await buy(page)
    await page.get_by_role("button", name="Open through the gate").click()
    await page.wait_for_url("**/api/v1/proxy/")
    # The runtime maps addresses back under the mount; a hostile script would go round it.
    outcome = await page.evaluate(
        """async () => {
            const frame = document.createElement('iframe');
            document.body.append(frame);
            const raw = frame.contentWindow.fetch.bind(frame.contentWindow);
            const root = location.origin;
            const read = await raw(root + '/account', {credentials: 'include'});
            const sent = await raw(root + '/account/buy', {
                method: 'POST', credentials: 'include',
                body: new URLSearchParams({duration_hours: '1', once: 'x'}),
            });
            return [read.status, (await read.text()).includes('csrf'), sent.status];
        }"""
    )
    assert outcome[1] is False
    assert 200 not in (outcome[0], outcome[2])
    await page.evaluate(
        """() => {
            const frame = document.createElement('iframe');
            frame.id = 'trap';
            Object.getOwnPropertyDescriptor(HTMLIFrameElement.prototype, 'src')
                .set.call(frame, location.origin + '/account');
            document.body.append(frame);
        }"""
    )
    await page.wait_for_timeout(500)
    framed = [frame for frame in page.frames if frame.url.endswith("/account")]
    for frame in framed:
        assert "csrf" not in await frame.content()
    await page.goto("/account")
    assert await page.locator(".ticket").count() == 1


async def test_two_step_sign_in_asks_for_a_code(free: Site, chromium: Browser) -> None:
    import pyotp

    page = await free.page(chromium)
    await register(page)
    await page.goto("/account/two-factor")
    secret = (await page.locator("main code").inner_text()).replace(" ", "")
    await expect(page.locator(".qr svg")).to_be_visible()
    await page.locator("#f-code").fill(pyotp.TOTP(secret).now())
    await page.get_by_role("button", name="Switch it on").click()
    codes = await page.locator(".codes li").all_inner_texts()
    assert len(codes) == 10
    await page.get_by_role("button", name="Log out").click()
    await page.locator("#f-email").fill("marta@example.com")
    await page.locator("#f-password").fill(PASSWORD)
    await page.locator("main form button").click()
    await page.wait_for_url("**/login/code")
    await page.locator("#f-code").fill("000000")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator(".field .error")).to_contain_text("not right")
    await page.locator("#f-code").fill(codes[0].upper())
    await page.get_by_role("button", name="Continue").click()
    await page.wait_for_url("**/account")


async def test_open_leads_to_the_upstreams_own_origin_and_signs_in_there(
    sqlite_database: str, tmp_path: Path, chromium: Browser
) -> None:
    async with site(tmp_path / "gate", sqlite_database, own_origin=True) as found:
        page = await found.page(chromium)
        seen = watch(page)
        await register(page)
        await buy(page)
        await page.get_by_role("button", name="Open through the gate").click()
        await page.wait_for_url("http://upstream.localhost:*/")
        assert "Lantern" in await page.title()
        assert "ticket" not in page.url
        await page.get_by_role("link", name="See the lights").click()
        await page.wait_for_url("http://upstream.localhost:*/lights/**")
        assert seen.errors == []
