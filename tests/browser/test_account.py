"""The stories of the account pages, told by a real Chromium against the real gate."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, expect

from tests.kit.account_site import PASSWORD, Site, at, buy, register, top_up
from tests.kit.chromium import watch

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_from_nothing_to_the_site_behind_the_gate_and_out_again(
    free_at_each_mount: Site, chromium: Browser, scripts: bool
) -> None:
    free = free_at_each_mount
    page = await free.page(chromium, java_script_enabled=scripts)
    await page.goto("/")
    await page.get_by_role("link", name="Create an account").click()
    await page.locator("main form button").click()
    assert await page.locator(".field .error").count() == 3
    await register(page)
    await page.get_by_role("link", name="Buy your first token").click()
    await page.locator('form[action="/account/buy"] button').click()
    await page.wait_for_url("**/account/tokens/*")
    address = page.url
    value = await page.locator("#token-value").inner_text()
    await page.get_by_role("button", name="Open the application").click()
    await page.wait_for_url(free.upstream_root)
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
    await page.wait_for_url(at("/account"))
    await expect(page.locator(".state--revoked")).to_have_count(1)
    refused = await page.goto(free.upstream_root)
    assert refused is not None
    assert refused.status == 401
    api = await free.gate.get("/api/v1/proxy/status", headers={"X-Access-Token": value})
    assert api.status == 401
    await page.goto("/account")
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(at("/login"))


async def test_the_keyboard_alone_suffices(free: Site, chromium: Browser) -> None:
    page = await free.page(chromium)
    keys = page.keyboard
    await page.goto("/register")
    await keys.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
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
    await expect(page.locator("main .facts")).to_contain_text("18.00")
    await expect(page.get_by_role("button", name="and get it").first).to_be_visible()
    await page.goto("/account/money")
    await page.locator("#f-amount").fill("20,50")
    await page.get_by_role("button", name="Simulate a payment").click()
    await expect(page.locator(".notice--good")).to_contain_text("added to your balance")
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
    await page.get_by_role("button", name="Open the application").click()
    await page.wait_for_url(free.upstream_root)
    await page.goto(address)
    clock = page.locator("[data-ends]")
    before = await clock.inner_text()
    await expect(clock).not_to_have_text(before, timeout=70_000 if "h" in before else 5_000)


async def test_a_proxied_page_can_neither_read_nor_drive_the_account(
    free_at_prefix: Site, chromium: Browser
) -> None:
    free = free_at_prefix
    page = await free.page(chromium)
    await register(page)
    await buy(page)
    await page.get_by_role("button", name="Open the application").click()
    await page.wait_for_url(free.upstream_root)
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


async def test_two_step_sign_in_requires_a_code(free: Site, chromium: Browser) -> None:
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
    await page.get_by_role("button", name="Sign out").click()
    await page.locator("#f-email").fill("marta@example.com")
    await page.locator("#f-password").fill(PASSWORD)
    await page.locator("main form button").click()
    await page.wait_for_url("**/login/code")
    await page.locator("#f-code").fill("000000")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator(".field .error")).to_contain_text("incorrect or was already used")
    await page.locator("#f-code").fill(codes[0].upper())
    await page.get_by_role("button", name="Continue").click()
    await page.wait_for_url("**/account")


async def test_open_leads_to_the_upstreams_own_origin_and_signs_in_there(
    free: Site, chromium: Browser
) -> None:
    page = await free.page(chromium)
    seen = watch(page)
    await register(page)
    await buy(page)
    await page.get_by_role("button", name="Open the application").click()
    await page.wait_for_url(free.upstream_root)
    assert "Lantern" in await page.title()
    assert "ticket" not in page.url
    await page.get_by_role("link", name="See the lights").click()
    await page.wait_for_url(f"{free.upstream_root}lights/**")
    assert seen.errors == []


async def test_an_address_below_the_prefix_leads_to_the_own_origin(
    free: Site, chromium: Browser
) -> None:
    page = await free.page(chromium)
    await register(page)
    await buy(page)
    await page.get_by_role("button", name="Open the application").click()
    await page.wait_for_url(free.upstream_root)
    pages = [await page.context.new_page() for _ in range(3)]
    await asyncio.gather(*(one.goto("/api/v1/proxy/live?a=1%2F2&b") for one in pages))
    assert {one.url for one in pages} == {f"{free.upstream_root}live?a=1%2F2&b"}


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_times_are_the_readers_own_at_once_and_stay_so(
    free: Site, chromium: Browser, language: str
) -> None:
    page = await free.page(chromium, locale=language, timezone_id="Asia/Tokyo")
    response = await page.goto("/register")
    assert response is not None
    await register(page)
    await free.promote()
    await page.context.clear_cookies(name="zenzefi_zone")
    for path in ("/admin/users", "/admin/audit"):  # minutes and seconds
        await page.goto(path)  # written in UTC, put right by the script
        first = await page.locator("main time").all_inner_texts()
        assert first
        assert not any("UTC" in text for text in first)
        await page.goto(path)  # written in Tokyo's time by the server
        assert await page.locator("main time").all_inner_texts() == first
        await page.context.clear_cookies(name="zenzefi_zone")


async def test_a_receipt_is_printed_without_the_frame(paid: Site, chromium: Browser) -> None:
    page = await paid.page(chromium, color_scheme="dark")
    await register(page)
    await top_up(page, "500")
    await page.goto("/account/money")
    await page.get_by_role("link", name="Receipt").click()
    await page.emulate_media(media="print")
    for gone in (".bar", ".foot", ".back", "[data-print]"):
        await expect(page.locator(gone)).to_be_hidden()
    await expect(page.locator(".figure-big")).to_contain_text("+500.00")
    colours = await page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
