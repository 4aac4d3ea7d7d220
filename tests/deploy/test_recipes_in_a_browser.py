"""The forward-auth recipes in Chromium: sign in, use the application, lose access."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.kit.account_site import buy, register
from tests.kit.auth_request_recipes import HOST, RECIPES, Addresses, running_recipe
from tests.kit.gates import SECRET_KEY, running_gate
from tests.kit.ports import free_ports
from zenzefi.client.certificate import server_context
from zenzefi.demo import running_demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Origins:
    """Where a browser finds the account pages and the application; no final slash."""

    account_pages: str
    application: str


@asynccontextmanager
async def deployment(server: str, database: str, folder: Path) -> AsyncIterator[Origins]:
    """The demo site served by a recipe, and the account pages served by the gate, both over TLS."""
    port, account_port = free_ports(2)
    origins = Origins(f"https://gate.example:{account_port}", f"https://{HOST}:{port}")
    async with running_demo() as application:
        settings = {
            "secret_key": SECRET_KEY,
            "data_dir": folder / "gate",
            "database_url": database,
            "zenzefi_target_url": application,
            "trusted_proxies": "127.0.0.1/32",
            "backend_url": origins.account_pages,
            "proxy_host": f"{HOST}:{port}",
        }
        async with running_gate(**settings) as gate:
            runner = gate.server.runner
            assert runner is not None
            tls, _ = server_context(folder / "tls")
            await web.TCPSite(runner, "127.0.0.1", account_port, ssl_context=tls).start()
            addresses = Addresses(
                application=application.removeprefix("http://"),
                gate=f"127.0.0.1:{gate.port}",
                account_pages=f"{origins.account_pages}/",
            )
            async with running_recipe(server, folder / "server", port, addresses):
                yield origins


@pytest.mark.parametrize("server", RECIPES)
async def test_a_browser_signs_in_uses_the_application_and_loses_access(
    chromium: Browser, server: str, sqlite_database: str, tmp_path: Path
) -> None:
    (tmp_path / "server").mkdir()
    async with deployment(server, sqlite_database, tmp_path) as origins:
        context = await chromium.new_context(base_url=origins.account_pages)
        page = await context.new_page()
        page.set_default_timeout(30_000)

        async def expect_refusal() -> None:
            response = await page.goto(f"{origins.application}/")
            assert response is not None
            if server == "traefik":  # it can't turn the 401 into a redirect
                assert response.status == 401
            else:
                assert page.url.startswith(f"{origins.account_pages}/")

        await expect_refusal()
        await register(page)
        token_page = await buy(page)
        await page.get_by_role("button", name="Open the application").click()
        await expect(page.locator("h1")).to_have_text("We keep the lamps lit.")
        assert page.url.startswith(f"{origins.application}/")
        await page.get_by_role("link", name="Watch the tide live").click()
        await expect(page.locator("#echo")).to_contain_text("connected (echo.v2)")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#echo")).to_have_text("Ahoy")

        await page.goto(token_page)
        await page.get_by_role("link", name="Revoke").click()
        await page.get_by_role("main").get_by_role("button", name="Revoke").click()
        await page.wait_for_load_state()
        await expect_refusal()
        await context.close()
