"""Libraries of browsers behind the gate: each page's log is the same as without the gate."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.kit.applications import node_app, same_behind_the_gate
from tests.kit.browser_gates import MountName

pytestmark = [pytest.mark.apps, pytest.mark.browser, pytest.mark.timeout(300)]

PAGES = ("htmx", "sockjs", "socketio", "signalr", "workbox")


async def logged(page: Page, address: str) -> list[str]:
    """The log of a page, once its script has ended."""
    await page.goto(address)
    await expect(page.locator("body[data-done]")).to_be_attached(timeout=60_000)
    return await page.locator("#log li").all_inner_texts()


async def turbo(page: Page, root: str) -> list[str]:
    """Visits replace the body: a mark in the window stays as long as no document is loaded."""
    texts = await logged(page, f"{root}turbo")
    await page.evaluate("window.kept = true")

    async def at(title: str) -> None:
        await expect(page.locator("h1")).to_have_text(title)
        kept = await page.evaluate("[location.search, window.kept === true]")
        texts.append(f"{title} {kept}")

    for link in ("rooted", "absolute", "method"):
        await page.get_by_role("link", name=link).click()
        await at("Second")
        await page.get_by_role("link", name="first").click()
        await at("First")
    await page.get_by_role("button", name="form").click()
    await at("Second")
    await page.go_back()
    await at("First")
    await page.evaluate("Turbo.visit('/turbo/second?by=visit')")
    await page.wait_for_url("**/second?by=visit")
    await at("Second")
    return texts


async def inertia(page: Page, root: str) -> list[str]:
    heading = page.locator("h1")
    texts = []

    async def at(title: str) -> None:
        await expect(heading).to_have_text(title)
        texts.append(await page.locator("main").inner_text())

    await page.goto(f"{root}inertia")
    await at("Home")
    await page.evaluate("window.kept = true")
    await page.get_by_role("link", name="About").click()
    await at("About")
    await page.get_by_role("link", name="Home").click()
    await at("Home")
    await page.get_by_role("button", name="Save").click()
    await at("About")
    await page.go_back()
    await at("Home")
    texts.append(f"one document: {await page.evaluate('window.kept')}")
    await page.reload()
    await at("Home")
    await page.get_by_role("button", name="Outside").click()
    await expect(heading).to_have_text("Left by a header")
    return texts


async def all_pages(page: Page, root: str) -> list[str]:
    texts = []
    for name in PAGES:
        texts += [f"{name}: {text}" for text in await logged(page, f"{root}{name}")]
    return texts + await inertia(page, root)


async def pages_that_compare_addresses(page: Page, root: str) -> list[str]:
    """Both read addresses back and compare or store them."""
    return await logged(page, f"{root}tinymce") + await turbo(page, root)


@pytest.mark.parametrize("mount", ["prefix", "own", "client"])
async def test_the_pages_of_libraries(chromium: Browser, mount: MountName, tmp_path: Path) -> None:
    async with node_app("libraries/server.mjs", "/htmx") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, all_pages)


@pytest.mark.parametrize("mount", ["prefix", "own", "client"])
async def test_pages_whose_libraries_compare_addresses(
    chromium: Browser, mount: MountName, tmp_path: Path
) -> None:
    # Under the prefix, TinyMCE would store relative links with the mount, and Turbo would load a
    # document where a response is outside its <meta name="turbo-root">.
    options = {"html": {"address": "upstream"}} if mount == "prefix" else None
    async with node_app("libraries/server.mjs", "/htmx") as upstream:
        await same_behind_the_gate(
            chromium,
            upstream,
            mount,
            tmp_path,
            pages_that_compare_addresses,
            plugin_options=options,
        )
