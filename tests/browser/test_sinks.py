"""Every way in which a script names an address, on its own page of the demo site."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, Page

from tests.browser.bare_prefix import bare_prefix
from tests.browser.conftest import watch
from zenzefi.demo import running_demo
from zenzefi.demo.sinks import SINKS

pytestmark = pytest.mark.browser

EXPECTED_COMPLAINTS = {
    "csp": "Content Security Policy",
    "trusted-types": "requires 'TrustedHTML'",
}
"""What a check provokes on purpose."""


async def final_title(page: Page, seconds: float = 20) -> str:
    """What the check says in the end; asked from outside, since a policy may forbid eval."""
    for _ in range(int(seconds / 0.05)):
        title = await page.title()
        if title != "running":
            return title
        await asyncio.sleep(0.05)
    return "no answer"


async def run_sinks(chromium: Browser, root: str, names: list[str]) -> dict[str, object]:
    """Open each check below ``root``; what came out other than well, by name."""
    failures: dict[str, object] = {}
    for name in names:
        context = await chromium.new_context()
        page = await context.new_page()
        seen = watch(page)
        await page.goto(f"{root}sinks/{name}")
        title = await final_title(page)
        complaints = [
            error
            for error in seen.errors
            if name not in EXPECTED_COMPLAINTS or EXPECTED_COMPLAINTS[name] not in error
        ]
        outside = seen.outside(root)
        if title != "ok" or outside or complaints:
            failures[name] = {"title": title, "outside": outside, "complaints": complaints}
        await context.close()
    return failures


async def test_every_check_holds_without_a_gate(chromium: Browser) -> None:
    async with running_demo() as origin:
        assert await run_sinks(chromium, f"{origin}/", SINKS) == {}


async def test_every_check_holds_under_a_prefix_and_nothing_leaves_it(chromium: Browser) -> None:
    async with running_demo() as origin, bare_prefix(origin) as seen:
        assert await run_sinks(chromium, seen.root, SINKS) == {}
        assert seen.strays == []
