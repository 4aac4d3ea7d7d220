"""Real applications behind the gate: the same text and the same result as without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.kit.applications import (
    built_app,
    python_app,
    same_behind_the_gate,
    shop,
    walked,
)
from tests.kit.browser_gates import MountName, Place, place

pytestmark = [pytest.mark.apps, pytest.mark.browser, pytest.mark.timeout(300)]


MOUNTS: tuple[MountName, ...] = ("prefix", "own")


async def swagger(page: Page, root: str) -> list[str]:
    await page.goto(f"{root}docs")
    block = page.locator("#operations-default-read_item_items__number__get")
    await block.locator(".opblock-summary").click()
    await block.get_by_role("button", name="Try it out").click()
    await block.locator("input[placeholder=number]").fill("1")
    await block.get_by_role("button", name="Execute").click()
    response = block.locator(".responses-table.live-responses-table .response")
    await expect(response).to_contain_text("rope")
    return [
        await page.locator(".info h2").inner_text(),
        await response.locator(".response-col_status").inner_text(),
        await block.locator(".request-url").inner_text(),
        *await page.locator(".opblock-summary-path").all_inner_texts(),
    ]


@pytest.mark.parametrize("mount", MOUNTS)
async def test_swagger_ui_of_fastapi(chromium: Browser, mount: MountName, tmp_path: Path) -> None:
    async with python_app("fastapi_app.py", "/openapi.json") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, swagger)


async def chat(page: Page, root: str) -> list[str]:
    await page.goto(f"{root}chat")
    await expect(page.locator("body[data-open=yes]")).to_be_visible()
    for word in ("Ahoy", "Is anybody there?"):
        await page.locator("input").fill(word)
        await page.get_by_role("button").click()
        await expect(page.locator("li").last).to_have_text(word)
    return await page.locator("li").all_inner_texts()


@pytest.mark.parametrize("mount", MOUNTS)
async def test_a_chat_over_events(chromium: Browser, mount: MountName, tmp_path: Path) -> None:
    async with python_app("fastapi_app.py", "/openapi.json") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, chat)


async def django_admin(page: Page, root: str) -> list[str]:
    await page.goto(f"{root}admin/")
    texts = [await page.locator("#site-name").inner_text()]
    await page.locator("#id_username").fill("admin")
    await page.locator("#id_password").fill("lamp-oil-1871")
    await page.get_by_role("button", name="Log in").click()
    texts.append(await page.locator("#content h1").inner_text())
    await page.get_by_role("link", name="Groups").click()
    await page.get_by_role("link", name="Add group").click()
    await page.locator("#id_name").fill("Boatmen of the north")
    await page.locator("#id_permissions_add_all, #id_permissions_add_all_link").first.click()
    chosen = page.locator("#id_permissions_to option")  # the admin's script moves them there
    await expect(chosen).not_to_have_count(0)
    await page.get_by_role("button", name="Save and continue editing").click()
    texts.append(await page.locator(".messagelist").inner_text())
    await expect(chosen).not_to_have_count(0)
    texts.append(str(await chosen.count()))
    await page.locator("#id_name").fill("Boatmen of the south")
    await page.get_by_role("button", name="Save", exact=True).click()
    texts.append(await page.locator(".messagelist").inner_text())
    texts += await page.locator("#result_list tbody th").all_inner_texts()
    await page.get_by_role("link", name="Boatmen of the south").first.click()
    await page.get_by_role("link", name="Delete").click()
    await page.get_by_role("button", name="Yes").click()
    texts.append(await page.locator(".messagelist").inner_text())
    await page.locator("#logout-form button").click()
    texts.append(await page.locator("#content h1").inner_text())
    return texts


@pytest.mark.parametrize("mount", MOUNTS)
async def test_the_admin_of_django(chromium: Browser, mount: MountName, tmp_path: Path) -> None:
    data = tmp_path / "django"
    data.mkdir()
    async with python_app("django_site.py", "/admin/login/", str(data)) as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, django_admin)


async def nicegui(page: Page, root: str) -> list[str]:
    await page.goto(root)
    button = page.get_by_role("button", name="Blow")
    await button.click()
    await expect(page.get_by_text("blown 1 times")).to_be_visible()
    await button.click()
    await expect(page.get_by_text("blown 2 times")).to_be_visible()
    await page.get_by_label("Keeper").fill("Ada")
    await expect(page.get_by_text("kept by Ada")).to_be_visible()
    return [await page.locator("body").inner_text()]


@pytest.mark.parametrize("mount", MOUNTS)
async def test_a_nicegui_application(chromium: Browser, mount: MountName, tmp_path: Path) -> None:
    async with python_app("nicegui_app.py", "/") as upstream:
        await same_behind_the_gate(chromium, upstream, mount, tmp_path, nicegui)


@pytest.mark.parametrize("app", ["react", "vue", "angular"])
async def test_single_page_applications_at_a_root(
    chromium: Browser, app: str, tmp_path: Path
) -> None:
    async with built_app(app) as upstream:
        await same_behind_the_gate(chromium, upstream, "own", tmp_path, shop)


async def test_angular_routes_under_the_prefix_by_its_base_element(
    chromium: Browser, tmp_path: Path
) -> None:
    async with built_app("angular") as upstream:
        expected, _, _ = await walked(chromium, Place(f"{upstream}/"), shop)
        async with place("prefix", upstream, tmp_path) as at:
            texts, outside, complaints = await walked(chromium, at, shop)
            # The application shows location.pathname, which has the prefix.
            assert [text.replace("/api/v1/proxy/", "/") for text in texts] == expected
            assert (outside, complaints, at.unmounted_requests()) == ([], [], [])


@pytest.mark.parametrize("app", ["react", "vue", "angular"])
async def test_routers_with_their_default_base_route_work_under_the_prefix_by_option(
    chromium: Browser, app: str, tmp_path: Path
) -> None:
    options = {"html": {"address": "upstream"}}
    async with built_app(app) as upstream:
        expected, _, _ = await walked(chromium, Place(f"{upstream}/"), shop)
        async with place("prefix", upstream, tmp_path, plugin_options=options) as at:
            texts, outside, complaints = await walked(chromium, at, shop)
            assert texts == expected
            assert complaints == []
            # The reload asks for what the address bar shows, and the gate leads it back.
            origin = at.root.removesuffix("/api/v1/proxy/")
            assert set(outside) == {f"{origin}/items"}


@pytest.mark.parametrize("app", ["react", "vue"])
async def test_without_the_switch_such_routers_find_no_route_under_the_prefix(
    chromium: Browser, app: str, tmp_path: Path
) -> None:
    async with built_app(app) as upstream, place("prefix", upstream, tmp_path) as at:
        context = await at.open(chromium)
        page = await context.new_page()
        await page.goto(at.root)
        await expect(page.locator("h1")).to_have_text("No such route")
        await context.close()
