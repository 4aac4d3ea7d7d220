"""A sign-in provider of another site sends its response as a form, in Chromium, at both mounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser

from tests.kit.browser_gates import MountName, place
from tests.kit.echo_upstream import serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.mark.parametrize("mount", ["own", "prefix"])
async def test_the_response_of_a_provider_arrives_with_the_applications_cookies(
    chromium: Browser, mount: MountName, tmp_path: Path
) -> None:
    received: list[tuple[dict[str, str], str | None, str | None]] = []

    async def application(request: web.Request) -> web.Response:
        if request.method == "POST":
            fields = {name: str(value) for name, value in (await request.post()).items()}
            origin = request.headers.get("Origin")
            received.append((fields, request.cookies.get("session"), origin))
            return web.Response(text="<h1>signed in</h1>", content_type="text/html")
        return web.Response(text="<h1>app</h1>", headers={"Set-Cookie": "session=7; SameSite=Lax"})

    async def provider(request: web.Request) -> web.Response:
        target = request.query["to"]
        form = f"<form method=post action='{target}'><input name=code value='a&amp;b'>"
        form += "<input name=submit value=1><input name=state value=s></form>"
        script = "<script>HTMLFormElement.prototype.submit.call(document.forms[0])</script>"
        return web.Response(text=form + script, content_type="text/html")

    app, login = web.Application(), web.Application()
    app.router.add_route("*", "/{path:.*}", application)
    login.router.add_get("/", provider)
    async with serving(app) as upstream, serving(login) as at:
        # The gate is at app.localhost, or at 127.0.0.1: for each, the other name is another site.
        site = at if mount == "own" else at.replace("127.0.0.1", "login.localhost")
        async with place(
            mount,
            upstream,
            tmp_path,
            form_post_origins=[site],
            form_post_paths=["/signin-oidc"],
        ) as where:
            context = await where.open(chromium)
            page = await context.new_page()
            await page.goto(where.root)
            await page.goto(f"{site}/?to={where.root}signin-oidc")
            await page.get_by_role("heading", name="signed in").wait_for()
            await page.goto(f"{site}/?to={where.root}transfer")
            await page.wait_for_url(f"{where.root}transfer")
            assert await page.locator("form").count() == 0
            await context.close()
    fields = {"code": "a&b", "submit": "1", "state": "s"}
    assert received == [(fields, "7", upstream)]
