"""Waiting for a condition that the program under test makes true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, within: float = 10.0) -> None:
    """Wait until ``condition()`` is true.

    Raises ``TimeoutError`` after ``within`` seconds: long enough for a busy machine, so that only
    a condition that never becomes true fails the test.
    """
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - no event announces what is waited for
            await asyncio.sleep(0.01)
