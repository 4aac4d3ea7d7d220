"""Production builds of frameworks that render on the server and in the browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.kit.applications import built_app, node_app, same_behind_the_gate, walked
from tests.kit.browser_gates import MountName, Place, place

pytestmark = [pytest.mark.apps, pytest.mark.browser, pytest.mark.timeout(300)]

MOUNTS: tuple[MountName, ...] = ("prefix", "own", "client")


class Reader:
    """Collects what a page shows after each step."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.texts: list[str] = []

    async def at(self, title: str) -> None:
        await expect(self._page.locator("h1")).to_have_text(title)
        kept = await self._page.evaluate("window.kept === true")
        self.texts.append(f"{await self._page.locator('main').inner_text()}, kept: {kept}")

    async def link(self, name: str, title: str) -> None:
        await self._page.get_by_role("link", name=name).click()
        await self.at(title)

    async def button(self, name: str, text: str) -> None:
        await self._page.get_by_role("button", name=name).click()
        await expect(self._page.locator("main")).to_contain_text(text)

    async def image(self) -> None:
        await expect(self._page.get_by_alt_text("dot")).to_have_js_property("naturalWidth", 4)


async def pages(page: Page, root: str) -> list[str]:
    """Navigates by links and by the router, calls the server, sends forms, reloads, goes back."""
    reader = Reader(page)
    await page.goto(root)
    await reader.image()
    await expect(page.locator("[data-hydrated]")).to_be_attached()
    await page.evaluate("window.kept = true")
    await reader.button("Count", "1")
    await reader.button("Count", "loaded later")
    await reader.button("Ask", "asked at /api/time")
    await reader.at("Home")
    await reader.link("Items", "Items")
    await reader.link("item 1", "Item 1")
    await page.go_back()
    await reader.at("Items")
    await reader.link("Home", "Home")
    await reader.button("Second", "from router")
    await reader.at("Item 2")
    await reader.link("Notes", "Notes")
    for note in ("rope", "oil"):
        await page.get_by_label("Note").fill(note)
        await reader.button("Add", note)
        await reader.at("Notes")
    await reader.button("Leave", "from action")
    await reader.at("Item 1")
    await page.reload()
    await reader.at("Item 1")
    await page.goto(f"{root}items/2?from=deep")
    await reader.at("Item 2")
    return reader.texts


@pytest.mark.parametrize("view", ["private", "public"])
@pytest.mark.parametrize("mount", MOUNTS)
async def test_next_with_its_default_bundler(
    chromium: Browser, mount: MountName, view: str, tmp_path: Path
) -> None:
    async with node_app("next/server.mjs", "/api/time") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, pages, upstream_view=view)


@pytest.mark.parametrize("mount", ["own", "client"])
async def test_react_router_as_a_framework(
    chromium: Browser, mount: MountName, tmp_path: Path
) -> None:
    async with node_app("react-router/server.mjs", "/api/time") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, pages)


async def test_react_router_as_a_framework_under_the_prefix_by_option(
    chromium: Browser, tmp_path: Path
) -> None:
    options = {"html": {"address": "upstream"}}  # its router reads location.pathname
    async with node_app("react-router/server.mjs", "/api/time") as upstream:
        expected, _, _ = await walked(chromium, Place(f"{upstream}/"), pages)
        async with place("prefix", upstream, tmp_path, plugin_options=options) as at:
            texts, outside, complaints = await walked(chromium, at, pages)
            assert (texts, complaints) == (expected, [])
            # The reload asks for what the address bar shows, and the gate leads it back.
            origin = at.root.removesuffix("/api/v1/proxy/")
            assert set(outside) == {f"{origin}/items/1?from=action"}


async def offline(page: Page, root: str) -> list[str]:
    """Installs the service worker, then works without the network."""
    ready = page.locator("body[data-ready]")
    main = page.locator("main")
    texts = []

    async def shown() -> None:
        await expect(ready).to_be_attached()
        await expect(page.get_by_alt_text("logo")).to_have_js_property("naturalWidth", 9)
        texts.append(await main.inner_text())

    await page.goto(root)
    await shown()
    await page.reload()
    await shown()
    await page.context.set_offline(True)
    await page.reload()
    await shown()
    await page.get_by_role("link", name="Notes").click()
    await expect(page.locator("h1")).to_have_text("Notes")
    await shown()
    await page.goto(f"{root}notes?deep")
    await shown()
    await page.go_back()
    await shown()
    return texts


@pytest.mark.parametrize("mount", MOUNTS)
async def test_an_application_that_works_offline(
    chromium: Browser, mount: MountName, tmp_path: Path
) -> None:
    async with built_app("offline") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, offline)
