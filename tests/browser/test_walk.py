"""A visitor's walk through the whole demo site: it looks and works alike wherever it is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.kit.browser_gates import MOUNTS, MountName, Place, place
from tests.kit.chromium import watch
from zenzefi.demo import running_demo
from zenzefi.demo.pages import PAGES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_BROKEN = """
() => [
  ...[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => `image ${i.src}`),
  ...[...document.styleSheets].filter(sheet => {
    try { return !sheet.cssRules.length } catch { return true }
  }).map(sheet => `style sheet ${sheet.href}`),
]
"""


async def _look(page: Page, address: str) -> str:
    """Open a page and return its text; images and style sheets must be there."""
    response = await page.goto(address)
    assert response is not None
    assert response.ok, address
    await page.wait_for_load_state("load")
    assert await page.evaluate(_BROKEN) == [], address
    return await page.locator("main").inner_text()


async def walk(page: Page, root: str) -> list[str]:
    """Looks at every page, follows every kind of link, and uses what can be used."""
    still = [path for path in PAGES if path not in ("/live/", "/app/", "/workers/")]
    texts = [
        await _look(page, root + path[1:])
        for path in [*still, "/letter/", "/letter/?by=meta", "/cookies/"]
    ]

    await page.goto(root)
    for name in ("See the lights", "Home again", "Watch the tide live"):
        if name == "Home again":
            await page.locator(".brand").click()
        else:
            await page.get_by_role("link", name=name).click()
        texts.append(await page.locator("h1").inner_text())
    await expect(page.locator("#echo")).to_contain_text("connected (echo.v2)")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#echo")).to_have_text("Ahoy")
    await expect(page.locator("#tide")).to_contain_text(" m")
    await page.locator("button#fetch").click()
    await expect(page.locator("#fetched")).to_contain_text("Far Stack")
    await page.locator("button#xhr").click()
    await expect(page.locator("#xhred")).to_contain_text("Skerry")

    await page.goto(f"{root}lights/")
    for link in await page.locator("article h3 a").all():
        await link.click()
        texts.append(await page.locator("h1").inner_text())
        await page.get_by_role("link", name="All lights").click()
    note = page.frame_locator("iframe[title='A note']")
    await expect(note.get_by_role("link", name="a link")).to_be_visible()
    await note.get_by_role("link", name="a link").click()
    await page.wait_for_url("**/lights/north/skerry.html")
    await page.get_by_role("link", name="This page again").click()
    texts.append(await page.locator("h1").inner_text())

    await page.goto(f"{root}app/")
    await expect(page.locator("#parts li")).to_have_count(7)
    await expect(page.locator("#parts li.bad")).to_have_count(0)
    texts += await page.locator("#parts li").all_inner_texts()

    await page.goto(f"{root}workers/")
    await expect(page.locator("table .ok")).to_have_count(5)
    texts += await page.locator("table td").all_inner_texts()

    await page.goto(f"{root}post/")
    await page.locator("#name").fill("Ada")
    parcel = {"name": "parcel.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 5000}
    await page.locator("#parcel").set_input_files(parcel)  # type: ignore[arg-type]
    await page.get_by_role("button", name="Send by absolute address").click()
    texts.append(await page.locator("#fields").inner_text())

    await page.goto(f"{root}letter/")
    await page.get_by_role("button", name="Отправить").click()
    await expect(page.locator("h1")).to_have_text("Received")

    for kind in ("absolute", "rooted", "relative", "scheme", "refresh", "chain"):
        await page.goto(f"{root}archive/")
        await page.get_by_role("link", name=kind, exact=True).click()
        await page.wait_for_url("**/lights/north/skerry.html")
    for coding in ("gzip", "deflate", "br", "zstd"):
        texts.append(await _look(page, f"{root}encodings/{coding}"))
        await page.get_by_role("link", name=coding, exact=True).click()

    await page.goto(f"{root}cookies/")
    await page.get_by_role("link", name="Set all").click()
    await expect(page.locator("#sent")).to_contain_text("harbour")
    texts.append(await page.locator("#sent").inner_text())
    await page.get_by_role("link", name="Clear all").click()
    await expect(page.locator("#sent")).not_to_contain_text("harbour")
    return texts


async def _walked(chromium: Browser, at: Place) -> tuple[list[str], list[str], list[str]]:
    context = await at.open(chromium)
    page = await context.new_page()
    page.set_default_timeout(30_000)
    seen = watch(page)
    texts = await walk(page, at.root)
    await context.close()
    return texts, seen.outside(at.root), seen.errors


@pytest.mark.parametrize("mount", MOUNTS)
async def test_the_site_is_the_same_behind_the_gate(
    chromium: Browser, mount: MountName, tmp_path: Path
) -> None:
    async with running_demo() as origin:
        expected, _, complaints = await _walked(chromium, Place(f"{origin}/"))
        assert complaints == []
        async with place(mount, origin, tmp_path) as at:
            texts, outside, complaints = await _walked(chromium, at)
            assert texts == expected
            assert outside == []
            assert complaints == []
            assert at.unmounted_requests() == []


async def test_the_board_of_checks_says_that_all_hold(chromium: Browser, tmp_path: Path) -> None:
    async with running_demo() as origin, place("own", origin, tmp_path) as at:
        context = await at.open(chromium)
        page = await context.new_page()
        await page.goto(f"{at.root}checks/")
        await expect(page.locator("#summary")).to_contain_text("all ", timeout=180_000)
        await context.close()
