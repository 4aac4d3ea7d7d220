"""What nodes share through Redis: validated tokens, device claims, and word of what has ended.

Every method here survives the loss of Redis: it answers "unknown" or "not done" and never raises
for it. After a failure Redis is left alone for a moment, so that a slow one does not slow requests.

An entry ``active_token:<sha256>`` holds either a validated, activated token or a *tombstone*: word
that the token has ended. Entries are only written where none is (``SET NX``), so a node that read
the database just before a revocation can't bring the token back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from zenzefi.tokens.access import Access
from zenzefi.tokens.value import cache_name

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

CHANNEL = "zenzefi:ended"
TOMBSTONE_LIFE = 600  # seconds; longer than any look-up that could still be under way
_TRUSTED_FOR = 60.0  # seconds after which an entry is checked with the database again
_PAUSE = 1.0  # seconds without Redis after it failed
_OPERATION_TIMEOUT = 1.0
_SILENCE = 2.0  # seconds without an answer to a ping after which a subscription is dead
_DEVICE_KEY = "token_device:"
_SPENT_KEY = "spent:"

# Replace the entry only if it is still the one that was read.
_REPLACE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""
# The device that holds the token keeps it; a free token goes to the one who asks.
_CLAIM = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
if held then return 1 end
return 2
"""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ended:
    """Word of an end. ``reason`` is told to what is closed.

    ``kind``: ``token``, ``user``, ``session``, ``holds`` (only what is open under a token),
    ``device`` (released), or ``restored`` (a user who may come in again).
    """

    kind: str
    id: UUID
    reason: str

    def to_json(self) -> str:
        """As it is published."""
        return json.dumps({"kind": self.kind, "id": str(self.id), "reason": self.reason})

    @classmethod
    def from_json(cls, raw: bytes | str) -> Ended | None:
        """What another node published; ``None`` for anything else on the channel."""
        try:
            value = json.loads(raw)
            return cls(str(value["kind"]), UUID(value["id"]), str(value["reason"])[:100])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Entry:
    """What Redis knows of a token: validated, or (``access=None``) ended."""

    access: Access | None
    is_fresh: bool
    raw: bytes


class Shared:
    """The Redis side of one node."""

    def __init__(self, url: str) -> None:
        # Ten megabytes that a gate without Redis need not carry.
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self._failures = (RedisError, OSError, TimeoutError)
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_OPERATION_TIMEOUT,
            socket_connect_timeout=_OPERATION_TIMEOUT,
            max_connections=50,
        )
        self._paused_until = 0.0
        self._complained = False

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def _try(self, work: Callable[[], Awaitable[_T]]) -> _T | None:
        """The result, or ``None`` when Redis is away, slow or refuses."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._paused_until:
            return None
        try:
            async with asyncio.timeout(_OPERATION_TIMEOUT * 1.5):
                result = await work()
        except (*self._failures, ValueError) as error:
            self._paused_until = loop.time() + _PAUSE
            if not self._complained:
                self._complained = True
                log.warning("Redis failed (%s): going on without it", type(error).__name__)
            return None
        if self._complained:
            self._complained = False
            log.info("Redis is back")
        return result

    async def ping(self) -> bool:
        """Whether Redis answers now (asked even while it is left alone)."""
        try:
            async with asyncio.timeout(_OPERATION_TIMEOUT):
                return bool(await self._redis.ping())
        except self._failures:
            return False

    # --- validated tokens

    async def get(self, token: str, now: datetime) -> Entry | None:
        """What is known of this token; garbage counts as nothing."""
        raw = await self._try(lambda: self._redis.get(cache_name(token)))
        return _entry(raw, now) if isinstance(raw, bytes) else None

    async def put(self, token: str, access: Access, now: datetime, known: Entry | None) -> None:
        """Remember a validated, activated token for the rest of its life.

        ``known`` is what :meth:`get` returned before: only that is replaced.
        """
        if access.activated_at is None:
            return
        life = int(access.seconds_left(now))
        if life <= 0:
            return
        name, value = cache_name(token), _value(access, now)
        if known is None:
            await self._try(lambda: self._redis.set(name, value, ex=life, nx=True))
            return
        await self._try(lambda: self._redis.eval(_REPLACE, 1, name, known.raw, value, str(life)))

    async def bury(self, tokens: list[str]) -> bool:
        """Leave tombstones; whether Redis took them."""

        async def work() -> bool:
            async with self._redis.pipeline(transaction=False) as pipe:
                for token in tokens:
                    pipe.set(cache_name(token), '{"ended":true}', ex=TOMBSTONE_LIFE)
                await pipe.execute()
            return True

        return not tokens or bool(await self._try(work))

    async def unbury(self, tokens: list[str]) -> bool:
        """Forget these tokens' entries, so that the database is asked again."""
        if not tokens:
            return True
        names = [cache_name(token) for token in tokens]

        async def work() -> bool:
            for name in names:
                await self._redis.delete(name)
            return True

        return bool(await self._try(work))

    # --- devices

    async def claim_device(self, token_id: UUID, device: str, life: int) -> int | None:
        """0: another device holds it; 1: renewed; 2: newly claimed; ``None``: Redis is away."""

        async def work() -> int:
            return int(
                await self._redis.eval(_CLAIM, 1, f"{_DEVICE_KEY}{token_id}", device, str(life))
            )

        return await self._try(work)

    async def release_device(self, token_id: UUID) -> bool:
        """Forget the claim; whether Redis took it."""
        done = await self._try(lambda: self._redis.delete(f"{_DEVICE_KEY}{token_id}"))
        return done is not None

    # --- things that work once

    async def spend(self, name: str, life: int) -> bool | None:
        """Whether this is the first use of ``name`` within ``life`` seconds, on any node.

        ``None``: Redis is away.
        """

        async def work() -> bool:
            return bool(await self._redis.set(f"{_SPENT_KEY}{name}", b"1", nx=True, ex=life))

        return await self._try(work)

    # --- word of ends

    async def publish(self, ended: Ended) -> bool:
        """Tell all nodes; whether Redis took it."""
        return await self._try(lambda: self._redis.publish(CHANNEL, ended.to_json())) is not None

    async def listen(self, heard: Callable[[Ended], None], live: Callable[[bool], None]) -> None:
        """Hear what ends, for ever; ``live`` is told when the subscription stands and falls."""
        pause = 0.1
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    pause = 0.1
                    await self._follow(subscription, heard, live)
            except self._failures:
                pass
            finally:
                live(False)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _follow(
        self,
        subscription: Any,
        heard: Callable[[Ended], None],
        live: Callable[[bool], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        answered = loop.time()
        pinged = 0.0
        while True:
            now = loop.time()
            if now - answered > _SILENCE:
                raise TimeoutError
            if now - pinged > _SILENCE / 4:
                pinged = now
                async with asyncio.timeout(_OPERATION_TIMEOUT):
                    await subscription.ping()
            message = None
            with contextlib.suppress(TimeoutError):
                message = await subscription.get_message(timeout=_SILENCE / 4)
            if message is None:
                continue
            answered = loop.time()
            if message["type"] == "subscribe":
                live(True)
            elif message["type"] == "message":
                ended = Ended.from_json(message["data"])
                if ended is not None:
                    heard(ended)


def _value(access: Access, now: datetime) -> str:
    return json.dumps(
        {
            "token_id": str(access.token_id),
            "user_id": str(access.user_id),
            "scope": access.scope,
            "duration_hours": access.duration_hours,
            "activated_at": None
            if access.activated_at is None
            else access.activated_at.isoformat(),
            "checked_at": now.isoformat(),
        }
    )


def _entry(raw: bytes, now: datetime) -> Entry | None:
    try:
        value = json.loads(raw)
        if value.get("ended") is True:
            return Entry(None, True, raw)
        activated_at = datetime.fromisoformat(value["activated_at"])
        checked_at = datetime.fromisoformat(value["checked_at"])
        hours, scope = value["duration_hours"], value["scope"]
        if activated_at.tzinfo is None or checked_at.tzinfo is None:
            return None
        if type(hours) is not int or hours <= 0 or not isinstance(scope, str):
            return None
        access = Access(
            token_id=UUID(value["token_id"]),
            user_id=UUID(value["user_id"]),
            scope=scope,
            duration_hours=hours,
            activated_at=activated_at.astimezone(UTC),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return Entry(access, abs((now - checked_at).total_seconds()) < _TRUSTED_FOR, raw)
