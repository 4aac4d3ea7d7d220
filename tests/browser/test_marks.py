"""The runtime computes the marks of origins as the gate does."""

from __future__ import annotations

import random
import re

import pytest
from playwright.async_api import Browser

from zenzefi.origin import Origin
from zenzefi.rewriting.runtime import runtime_source
from zenzefi.rewriting.runtime.marks import marks

pytestmark = pytest.mark.browser

_FUNCTION = re.compile(r"function markOf\(text\) \{.*?\n\}\n", re.DOTALL)


async def test_a_mark_is_the_same_in_the_browser(chromium: Browser) -> None:
    chance = random.Random(16)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-."
    origins = [
        Origin(scheme, "".join(chance.choices(letters, k=length)), chance.randrange(1, 65536))
        for scheme in ("http", "https")
        for length in range(1, 70)
    ]
    key = "00ff80017fe96a3c"
    found = _FUNCTION.search(runtime_source().decode())
    assert found is not None
    page = await chromium.new_page()
    told = await page.evaluate(
        f"([key, origins]) => {{ {found[0]} return origins.map(markOf) }}",
        [key, [str(origin) for origin in origins]],
    )
    assert told == [marks(frozenset([origin]), key).split()[1] for origin in origins]
