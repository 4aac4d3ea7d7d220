"""The look-ups of access tokens that reach the database: counted, or held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zenzefi.tokens import repository


class LookupCounter:
    """Counts the look-ups that reach the database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find = repository.find

        async def counted(*arguments: Any) -> Any:
            self.count += 1
            return await find(*arguments)

        monkeypatch.setattr(repository, "find", counted)


class HeldLookup:
    """Look-ups that have read the database and return only after :meth:`release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_read = asyncio.Event()
        self._released = asyncio.Event()
        find = repository.find

        async def held(*arguments: Any) -> Any:
            found = await find(*arguments)
            self.has_read.set()
            await self._released.wait()
            return found

        monkeypatch.setattr(repository, "find", held)

    def release(self) -> None:
        """Let the look-ups return."""
        self._released.set()
