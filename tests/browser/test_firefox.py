"""The pages of the self-check in Firefox, which has other engines for scripts and styles."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.kit.browser_gates import Place, place
from tests.kit.firefox import Firefox
from tests.kit.proxy_gates import TOKEN
from zenzefi.demo import running_demo
from zenzefi.demo.sinks import SINKS
from zenzefi.gate_cookies import SIGN_IN, is_sealed, stored_name
from zenzefi.proxy.interfaces import SIGN_INS
from zenzefi.settings import SETTINGS, parse_origin

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ONE_IMPORT_MAP = {"import"}
"""Checks that need a second import map in a page; Firefox reads the first only."""


async def sign_in(browser: Firefox, at: Place) -> None:
    """Give the browser the token and its sign-in at the gate."""
    assert at.app is not None
    agent = await browser.evaluate("navigator.userAgent")
    where = parse_origin(f"http://{at.host}")
    name = stored_name(SIGN_IN, at.app[SETTINGS].public_origin, where.host, agent)
    secret = at.app[SIGN_INS].add(TOKEN, agent=agent, is_sealed=is_sealed(name, agent))  # type: ignore[attr-defined]
    await browser.set_cookie(where.host, "zenzefi_access_token", TOKEN)
    await browser.set_cookie(where.host, name, secret)


async def failures(browser: Firefox, at: Place) -> dict[str, str]:
    """Open each check; the results other than ``ok``."""
    found = {}
    for name in SINKS:
        await browser.open(f"{at.root}sinks/{name}")
        title = "running"
        async with asyncio.timeout(120):
            while title == "running":
                await asyncio.sleep(0.05)
                title = await browser.evaluate("document.title")
        if title != "ok":
            found[name] = title
    return found


@pytest.mark.parametrize("address", ["mount", "upstream"])
async def test_a_check_that_holds_without_the_gate_holds_under_the_prefix(
    firefox: Firefox, tmp_path: Path, address: str
) -> None:
    options = {"html": {"address": address}}
    async with running_demo() as origin, place("prefix", origin, tmp_path, options) as at:
        without = await failures(firefox, Place(f"{origin}/"))
        assert len(without) < len(SINKS) // 4
        await sign_in(firefox, at)
        under = await failures(firefox, at)
        assert {name: under[name] for name in under.keys() - without.keys() - ONE_IMPORT_MAP} == {}
