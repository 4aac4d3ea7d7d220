"""Real applications, run as their users run them, each on a free port of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, web
from playwright.async_api import Browser, Page, expect

from tests.apps import install
from tests.kit.browser_gates import MountName, Place, place
from tests.kit.chromium import watch
from tests.kit.ports import free_port

APPS = install.folder()
expect.set_options(timeout=30_000)  # as long as a busy machine may need; no test waits in vain


def _require_installation() -> None:
    if not install.is_installed(APPS):
        pytest.skip("the applications are not installed: run make apps")


@contextlib.asynccontextmanager
async def python_app(script: str, probe: str, *arguments: str) -> AsyncIterator[str]:
    """Run a script of ``tests/apps/python``; yields its origin once ``probe`` returns 200."""
    _require_installation()
    folder = install.HERE / "python"
    command = (APPS / "venv/bin/python", folder / script)
    async with _program(command, folder, probe, *arguments) as origin:
        yield origin


@contextlib.asynccontextmanager
async def node_app(script: str, probe: str, *arguments: str) -> AsyncIterator[str]:
    """Run a script below ``tests/apps/node`` with Node.js; as :func:`python_app`."""
    _require_installation()
    path = APPS / "node" / script
    async with _program((install.node(APPS), path), path.parent, probe, *arguments) as origin:
        yield origin


@contextlib.asynccontextmanager
async def _program(
    command: tuple[str | Path, ...], folder: Path, probe: str, *arguments: str
) -> AsyncIterator[str]:
    """Run a server whose first argument is its port."""
    port = str(free_port())
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "NICEGUI"))}
    process = await asyncio.create_subprocess_exec(
        *command,
        port,
        *arguments,
        cwd=folder,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    origin = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60), ClientSession() as session:
            while True:
                with contextlib.suppress(ClientError):
                    async with session.get(origin + probe) as response:
                        if response.status == 200:
                            break
                if process.returncode is not None:
                    pytest.fail(f"{command[-1]} exited with status {process.returncode}")
                await asyncio.sleep(0.1)
        yield origin
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def built_app(name: str) -> AsyncIterator[str]:
    """Serve a built single-page application: every unknown path is its start page."""
    _require_installation()
    folder = APPS / "node/dist" / name

    async def items(request: web.Request) -> web.Response:
        return web.json_response([{"id": 1, "name": "rope"}, {"id": 2, "name": "lamp oil"}])

    async def logo(request: web.Request) -> web.Response:
        image = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
        return web.Response(text=image, content_type="image/svg+xml")

    async def page(request: web.Request) -> web.StreamResponse:
        named = folder / request.match_info["path"].replace("/", "_")  # files of the root only
        return web.FileResponse(named if named.is_file() else folder / "index.html")

    app = web.Application()
    app.router.add_get("/api/items.json", items)
    app.router.add_get("/logo.svg", logo)
    app.router.add_static("/assets", folder / "assets")
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Walk = Callable[[Page, str], Awaitable[list[str]]]
"""Uses an application at the root it is given; returns the texts that it showed."""


async def walked(
    chromium: Browser, at: Place, walk: Walk
) -> tuple[list[str], list[str], list[str]]:
    """Texts with the place taken out of them; requests outside the mount; complaints."""
    context = await at.open(chromium)
    page = await context.new_page()
    page.set_default_timeout(30_000)
    seen = watch(page)
    try:
        texts = await walk(page, at.root)
    finally:
        await context.close()
    origin = "/".join(at.root.split("/")[:3])
    plain = [text.replace(at.root, "ROOT/").replace(origin + "/", "ROOT/") for text in texts]
    complaints = [error.replace(at.root, "ROOT/") for error in seen.errors]
    return plain, seen.outside(at.root), complaints


async def same_behind_the_gate(
    chromium: Browser, upstream: str, mount: MountName, folder: Path, walk: Walk, **settings: Any
) -> None:
    """Walk without the gate, then behind it: nothing may differ."""
    expected, _, known = await walked(chromium, Place(f"{upstream}/"), walk)
    async with place(mount, upstream, folder, **settings) as at:
        texts, outside, complaints = await walked(chromium, at, walk)
        assert texts == expected
        assert outside == []
        assert [error for error in complaints if error not in known] == []
        assert at.unmounted_requests() == []


async def shop(page: Page, root: str) -> list[str]:
    """Walks by links, by the program, by reload, by history, and in by a deep link."""
    heading = page.locator("h1")
    texts = []

    async def at(title: str) -> None:
        await expect(heading).to_have_text(title)
        if title == "Items":
            await expect(page.get_by_role("link", name="rope")).to_be_visible()
        texts.append(await page.locator("main").inner_text())

    await page.goto(root)
    await at("Home")
    await page.get_by_role("link", name="Items").click()
    await page.get_by_role("link", name="lamp oil").click()
    await at("Item 2")
    await page.get_by_role("button", name="All items").click()
    await at("Items")
    await page.get_by_role("link", name="About").click()
    await at("About")
    logo = page.get_by_alt_text("logo")
    await expect(logo).to_have_js_property("naturalWidth", 9)
    await page.go_back()
    await at("Items")
    await page.reload()
    await at("Items")
    await page.goto(f"{root}items/1")
    await at("Item 1")
    return texts
