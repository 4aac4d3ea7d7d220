"""Token invalidation: messages between nodes, with tombstones in Redis for nodes that missed one.

Theory of operation
===================

A node that revokes a token, deactivates a user, ends a session, releases a device or signs a
browser out commits that to the database first. Then it announces an :class:`InvalidationMessage`:

1. The node applies the message: its cache rejects the token, and open connections are closed.
2. Redis publishes the message on the channel ``zenzefi:ended``. The other nodes do the same as in
   step 1, usually within milliseconds.
3. Redis stores a *tombstone* instead of the cached entry of each token concerned. A node that did
   not receive the message finds the tombstone at its next look-up in Redis.

Steps 2 and 3 are one pipeline. For ``restored`` and ``device`` the entries are deleted before the
message is published, so that a node which reacts to the message does not read an old entry.

States of a message on the node that announces it:

- *unpublished*: in ``_unpublished``, in the order of the announcements. It is sent at once and
  every :data:`RETRY` seconds until Redis accepts it.
- *without tombstones*: published, but Redis refused to write (it is read-only or out of memory). It
  is in ``_without_tombstones`` and retried in the same way.
- *done*: published, and all its tombstones are stored.

A later message about the same token or user replaces an earlier one that is not done. Otherwise a
delayed tombstone of a deactivation could follow the reactivation.

States of the subscription (:class:`Subscription`): *live* while Redis responds to pings on it, else
*lost*. Each change clears the caches, rechecks the open connections, and prevents that look-ups
which started before it are cached, because messages may have been missed in between.

Guarantees:

- On the node that announces, the invalidation is effective before the message is sent; on nodes
  with a live subscription after the delivery by Redis.
- A lost message delays an invalidation and never cancels it. Lifetimes in ``validation`` bound the
  delay, because every cached entry is rechecked in the database.
- Both queues are bounded by :data:`MAX_QUEUED`. A message that does not fit is dropped; its
  invalidation is then found by the recheck.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

from zenzefi.tasks import repeat

if TYPE_CHECKING:
    from zenzefi.tokens.redis_cache import RedisCache

MAX_QUEUED = 10_000
RETRY = 0.5
"""Seconds between two attempts to send what Redis did not accept."""
KINDS = frozenset(("token", "user", "session", "device", "sign_in", "restored", "connections"))

# Reasons that closed connections get, for instance in the close frame of a WebSocket.
REVOKED = "The access token was revoked."
EXPIRED = "The access token has expired."
DEACTIVATED = "The account was deactivated."
SESSION_ENDED = "The session was ended."
DEVICE_RELEASED = "The device was released."
SIGNED_OUT = "This browser was logged out."


@dataclass(frozen=True, slots=True)
class InvalidationMessage:
    """One invalidation. ``reason`` is the text that closed connections get.

    ``kind`` says what ``id`` identifies: ``token`` (revoked), ``user`` (deactivated), ``session``
    (ended), ``device`` (the ID of a token whose device was released: its connections are closed,
    the token stays valid), ``sign_in`` (a browser was signed out: the token stays valid for other
    clients), ``restored`` (a user was reactivated), or ``connections`` (the connections of a user
    are closed, the tokens stay valid; a node that misses the message keeps them open).
    """

    kind: str
    id: UUID
    reason: str

    def to_json(self) -> str:
        """The published form."""
        return json.dumps({"kind": self.kind, "id": str(self.id), "reason": self.reason})

    @classmethod
    def from_json(cls, raw: bytes | str) -> InvalidationMessage | None:
        """Parse a message of another node; ``None`` for any other data on the channel."""
        try:
            value = json.loads(raw)
            message = cls(str(value["kind"]), UUID(value["id"]), str(value["reason"])[:100])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return message if message.kind in KINDS else None


class Subscription:
    """The state of this node's subscription to invalidation messages."""

    def __init__(self) -> None:
        self.is_live = False
        self.changed_at = 0.0
        """When it last became live or was lost, in seconds of ``time.monotonic``."""

    def change(self, is_live: bool) -> bool:
        """Set the state; whether it was different before."""
        if is_live == self.is_live:
            return False
        self.is_live = is_live
        self.changed_at = monotonic()
        return True


@dataclass(frozen=True, slots=True)
class _Queued:
    message: InvalidationMessage
    entries: list[str]  # the tokens, or the index of a sign-in, that get a tombstone


class InvalidationChannel:
    """Sends invalidation messages to the other nodes in order, and receives theirs.

    ``on_message`` is called with each received message, ``on_change`` when the subscription becomes
    live (``True``) or is lost (``False``).
    """

    def __init__(
        self,
        redis_cache: RedisCache | None,
        on_message: Callable[[InvalidationMessage], None],
        on_change: Callable[[bool], None],
    ) -> None:
        self._redis_cache = redis_cache
        self._on_message = on_message
        self._on_change = on_change
        self._unpublished: deque[_Queued] = deque()
        self._without_tombstones: deque[_Queued] = deque()
        self._sending = asyncio.Lock()

    def __len__(self) -> int:
        """The number of messages that are not done."""
        return len(self._unpublished) + len(self._without_tombstones)

    async def announce(self, message: InvalidationMessage, entries: list[str]) -> None:
        """Send a message to all nodes now, or as soon as Redis accepts it.

        ``entries`` are the tokens (for ``sign_in`` the hexadecimal index) that get a tombstone.
        """
        if self._redis_cache is None:
            return
        if message.kind in ("token", "user", "restored"):
            for queue in (self._unpublished, self._without_tombstones):
                for queued in [one for one in queue if one.message.id == message.id]:
                    queue.remove(queued)
        _append(self._unpublished, _Queued(message, entries))
        if not self._sending.locked():  # otherwise the current sender sends this message as well
            await self._send(self._redis_cache)

    async def _send(self, redis_cache: RedisCache) -> None:
        async with self._sending:
            while self._unpublished:
                queued = self._unpublished[0]
                is_published, is_stored = await redis_cache.publish(queued.message, queued.entries)
                if not is_published:
                    return
                # A later message may have replaced this one during the await.
                if self._unpublished and self._unpublished[0] is queued:
                    self._unpublished.popleft()
                    if not is_stored:
                        _append(self._without_tombstones, queued)

    async def _retry(self, redis_cache: RedisCache) -> None:
        if self._unpublished and not self._sending.locked():
            await self._send(redis_cache)
        while self._without_tombstones:
            queued = self._without_tombstones[0]
            if not await redis_cache.write_tombstones(queued.message, queued.entries):
                break
            if self._without_tombstones and self._without_tombstones[0] is queued:
                self._without_tombstones.popleft()

    def background_work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """The coroutines that have to run while the node runs, with the names of their tasks."""
        if self._redis_cache is None:
            return []
        retrying = "unsent invalidation messages"
        return [
            (
                "invalidation subscription",
                self._redis_cache.listen(self._on_message, self._on_change),
            ),
            (retrying, repeat(RETRY, partial(self._retry, self._redis_cache), name=retrying)),
        ]


def _append(queue: deque[_Queued], queued: _Queued) -> None:
    queue.append(queued)
    while len(queue) > MAX_QUEUED:
        queue.popleft()
