"""A browser with more cookies than the gate reads: the button works, without scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.kit.browser_gates import MOUNTS, MountName, place
from tests.kit.echo_upstream import serving

pytestmark = pytest.mark.browser


async def welcome(request: web.Request) -> web.Response:
    return web.Response(text="<h1>Welcome</h1>", content_type="text/html")


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/page", welcome)
    return app


@pytest.mark.parametrize("mount", [*MOUNTS, "insecure"])
async def test_the_button_of_the_page_ends_a_lockout(
    chromium: Browser, tmp_path: Path, mount: MountName
) -> None:
    """``insecure`` is plain HTTP away from loopback, where no browser knows Clear-Site-Data."""
    async with (
        serving(application()) as upstream,
        place(mount, upstream, tmp_path, has_page_texts=True) as found,
    ):
        context = await chromium.new_context(
            java_script_enabled=False, ignore_https_errors=True, locale="ru"
        )
        host = found.root.split("/")[2].rpartition(":")[0]
        await context.add_cookies(
            [
                {"name": f"visit{n}", "value": "v" * 4000, "domain": host, "path": "/"}
                for n in range(20)
            ]
        )
        page = await context.new_page()
        refused = await page.goto(f"{found.root}page?a=1")
        assert refused is not None
        assert refused.status == 431
        await expect(page.locator("h1")).to_have_text("Слишком много cookie")
        async with page.expect_navigation():
            await page.get_by_role("button", name="Удалить cookie").click()
        assert page.url.startswith(found.root)
        assert await context.cookies() == []
        again = await page.goto(f"{found.root}page?a=1")
        assert again is not None
        assert again.status != 431
        await context.close()
