"""Rate limits of frames and bytes that browsers send over WebSockets, per token.

The relay does not check limits. Its counters are read a few times a second, summed per token and
passed to the limiter, which counts over all nodes. A limit therefore costs nothing per message, and
takes effect within that interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol
from uuid import UUID

from zenzefi.errors import RateLimited
from zenzefi.proxy.websocket.frames import CLOSE_TOO_MUCH
from zenzefi.rate_limits.limiter import Name, RateLimits
from zenzefi.sliced_calls import SlicedCalls
from zenzefi.tasks import repeat

_EVERY = 0.25  # seconds
_KINDS: tuple[tuple[Name, str], ...] = (
    ("websocket_messages", "messages"),
    ("websocket_bytes", "bytes"),
)


class Sender(Protocol):
    """An open WebSocket, as the rate limits see it."""

    @property
    def uploaded(self) -> tuple[int, int]:
        """Frames and bytes from the browser so far."""

    def end(self, code: int, reason: str) -> None:
        """Close it."""


class WebSocketRateLimits:
    """Watches the open WebSockets of one process; works only while there are any."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._watched: dict[UUID, dict[Sender, tuple[int, int]]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, token_id: UUID, sender: Sender) -> Iterator[None]:
        """Meter ``sender`` under this token while it is open."""
        senders = self._watched.setdefault(token_id, {})
        senders[sender] = (0, 0)
        if self._task is None:
            name = "websocket metering"
            self._task = asyncio.create_task(repeat(_EVERY, self._check, name=name), name=name)
        try:
            yield
        finally:
            del senders[sender]
            if not senders:
                del self._watched[token_id]
            if not self._watched:
                self._task.cancel()
                self._task = None

    async def _check(self) -> None:
        kinds = [index for index, (name, _) in enumerate(_KINDS) if self._limits.rates(name)]
        if kinds:
            for token_id in list(self._watched):
                await self._settle(token_id, kinds)

    async def _settle(self, token_id: UUID, kinds: list[int]) -> None:
        """Count the new frames and bytes of one token; close its WebSockets above the limit."""
        senders = self._watched.get(token_id, {})
        new = [0, 0]
        for sender, before in senders.items():
            now = senders[sender] = sender.uploaded
            for kind in kinds:
                new[kind] += now[kind] - before[kind]
        for kind in kinds:
            name, what = _KINDS[kind]
            if not new[kind]:
                continue
            try:
                await self._limits.hit(name, str(token_id), cost=new[kind])
            except RateLimited as refusal:
                wait = refusal.headers["Retry-After"]
                reason = f"Too many {what}. Try again in {wait} seconds."
                SlicedCalls().add([partial(one.end, CLOSE_TOO_MUCH, reason) for one in senders])
                return
