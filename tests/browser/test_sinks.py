"""Every way in which a script names an address, on its own page of the demo site."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import watch
from tests.browser.gates import Place, place
from zenzefi.demo import running_demo
from zenzefi.demo.sinks import SINKS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

EXPECTED_COMPLAINTS = {
    "csp": "Content Security Policy",
    "trusted-types": "requires 'TrustedHTML'",
}
"""What a check provokes on purpose."""


async def final_title(page: Page, seconds: float = 60) -> str:
    """What the check says in the end; asked from outside, since a policy may forbid eval."""
    for _ in range(int(seconds / 0.05)):
        title = await page.title()
        if title != "running":
            return title
        await asyncio.sleep(0.05)
    return "no answer"


async def run_sinks(
    chromium: Browser, at: Place, names: list[str], query: str = ""
) -> dict[str, object]:
    """Open each check in its own profile; what came out other than well, by name."""
    failures: dict[str, object] = {}
    few = asyncio.Semaphore(3)

    async def run(name: str) -> None:
        context = await at.open(chromium)
        page = await context.new_page()
        seen = watch(page)
        await page.goto(f"{at.root}sinks/{name}{query}")
        title = await final_title(page)
        complaints = [
            error
            for error in seen.errors
            if name not in EXPECTED_COMPLAINTS or EXPECTED_COMPLAINTS[name] not in error
        ]
        outside = seen.outside(at.root)
        if title != "ok" or outside or complaints:
            failures[name] = {"title": title, "outside": outside, "complaints": complaints}
        await context.close()

    async def in_turn(name: str) -> None:
        async with few:
            await run(name)

    await asyncio.gather(*map(in_turn, names))
    return failures


async def test_every_check_holds_without_a_gate(chromium: Browser) -> None:
    async with running_demo() as origin:
        assert await run_sinks(chromium, Place(f"{origin}/"), SINKS) == {}


async def lasting_strays(chromium: Browser, at: Place) -> list[str]:
    """Strays that come again when everything is walked a second time.

    Chromium now and then runs a classic worker's first ``importScripts`` past the runtime (about
    once in ten walks on a loaded machine, docs/runtime.md): the 307 recovers it. What leaks by a
    fault of ours leaks every time.
    """
    first = at.strays()
    if not first:
        return []
    at.forget_strays()
    assert await run_sinks(chromium, at, SINKS) == {}
    return sorted(set(first) & set(at.strays()))


@pytest.mark.parametrize("address", ["mount", "upstream"])
async def test_every_check_holds_under_the_prefix_and_nothing_leaves_it(
    chromium: Browser, tmp_path: Path, address: str
) -> None:
    options = {"html": {"address": address}}
    async with running_demo() as origin, place("prefix", origin, tmp_path, options) as at:
        assert await run_sinks(chromium, at, SINKS) == {}
        assert await lasting_strays(chromium, at) == []


async def test_workers_hold_where_browsers_do_not_say_what_a_script_is_for(
    chromium: Browser, tmp_path: Path
) -> None:
    async with running_demo() as origin, place("insecure", origin, tmp_path) as at:
        assert await run_sinks(chromium, at, ["worker", "worker-blob", "fetch"]) == {}
        assert at.strays() == []


async def test_every_check_holds_at_an_own_origin_which_has_no_runtime(
    chromium: Browser, tmp_path: Path
) -> None:
    async with running_demo() as origin, place("own", origin, tmp_path) as at:
        assert await run_sinks(chromium, at, SINKS, "?linked") == {}
