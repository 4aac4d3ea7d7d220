"""What nodes share through Redis: validated tokens, device claims, and word of what has ended.

Every method here survives the loss of Redis: it answers "unknown" or "not done" and never raises
for it. After a failure Redis is left alone for a moment, so that a slow one does not slow requests.

An entry ``active_token:<sha256>`` holds either a validated, activated token or a *tombstone*: word
that the token has ended. An entry is only written where there is still what was read before, so a
node that read the database just before a revocation can't bring the token back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from zenzefi.deadline import Deadline
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.token_format import cache_name

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

CHANNEL = "zenzefi:ended"
TOMBSTONE_LIFE = 600  # seconds; longer than any look-up that could still be under way
TOMBSTONE = b'{"ended":true}'
_PAUSE = 1.0  # seconds without Redis after it failed
_COMPLAINT = 60.0  # seconds between two lines of the log about refusals
_OPERATION_TIMEOUT = 1.0
_LAST_RESORT = 30.0  # seconds after which the client library gives up
_CONNECTIONS = 50
_SILENCE = 1.0  # seconds without an answer to a ping after which a subscription is dead
_SILENT_WAITS = 4  # that make up this silence
_DEVICE_KEY = "token_device:"
_SPENT_KEY = "spent:"
_SIGN_IN_KEY = "sign_in:"

# Write the entry only if there is still what was read before: nothing (an empty ARGV[1]) or this.
# What is no string at all is nobody's: it is replaced.
_PUT = """
local held = redis.pcall('GET', KEYS[1])
if not held or type(held) == 'table' or held == ARGV[1] then
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
class RedisEntry:
    """What Redis holds for a token: validated, ended, or garbage (neither).

    ``age``: seconds since the database said so.
    """

    raw: bytes
    access: TokenAccess | None = None
    age: float = 0.0

    @property
    def is_tombstone(self) -> bool:
        """Whether it says that the token has ended."""
        return self.raw == TOMBSTONE


class RedisCache:
    """The Redis side of one node."""

    def __init__(self, url: str) -> None:
        # Ten megabytes that a gate without Redis need not carry.
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.exceptions import RedisError, ResponseError

        self._failures = (RedisError, OSError, TimeoutError)
        self._refusal = ResponseError
        # One that is busy makes others wait: being many is no failure of Redis.
        self._redis: Redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                # _try() gives up sooner, by a deadline that a pause of the loop does not use up.
                socket_timeout=_LAST_RESORT,
                socket_connect_timeout=_LAST_RESORT,
                max_connections=_CONNECTIONS,
                timeout=_LAST_RESORT,
            )
        )
        self._paused_until = 0.0
        self._is_away = False
        self._complained = -_COMPLAINT

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def _try(self, work: Callable[[], Awaitable[_T]], *, insist: bool = False) -> _T | None:
        """The result, or ``None`` when Redis is away, slow or refuses.

        ``insist``: also while it is left alone.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._paused_until and not insist:
            return None
        try:
            async with Deadline(_OPERATION_TIMEOUT * 1.5):
                result = await work()
        except self._refusal as error:
            # It answers, and at once: read-only, out of memory, something else under the name.
            self._refused(error)
            return None
        except (*self._failures, ValueError) as error:
            self._paused_until = loop.time() + _PAUSE
            if not self._is_away:
                self._is_away = True
                log.warning("Redis failed (%s): going on without it", type(error).__name__)
            return None
        if self._is_away:
            self._is_away = False
            log.info("Redis is back")
        return result

    def _refused(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now > self._complained + _COMPLAINT:
            self._complained = now
            # Its own words (READONLY, OOM ...) carry no values of ours.
            log.warning("Redis refuses to do its part: %s", str(error)[:100])

    async def ping(self) -> bool:
        """Whether Redis answers now (asked even while it is left alone)."""
        try:
            async with Deadline(_OPERATION_TIMEOUT):
                return bool(await self._redis.ping())
        except self._failures:
            return False

    # --- validated tokens

    async def get(self, tokens: list[str], now: datetime) -> dict[str, RedisEntry]:
        """What is held for these tokens."""
        held = await self._read([cache_name(token) for token in tokens])
        return {
            token: _entry(raw, now)
            for token, raw in zip(tokens, held or (), strict=False)
            if isinstance(raw, bytes)
        }

    async def put(
        self, validated: Sequence[tuple[str, TokenAccess, RedisEntry | None]], now: datetime
    ) -> None:
        """Remember validated, activated tokens for the rest of their lives.

        With each comes what :meth:`get` returned before: only that is replaced.
        """

        rows = []
        for token, access, before in validated:
            life = int(access.seconds_left(now))
            if access.is_activated and life > 0:
                known = b"" if before is None else before.raw
                rows.append((cache_name(token), known, _value(access, now), life))
        await self._write(rows)

    async def _read(self, names: list[str]) -> list[Any] | None:
        return await self._try(lambda: self._redis.mget(names))

    async def _write(self, rows: Sequence[tuple[str, bytes, str, int]]) -> None:
        """Name, what was read before, value, life in seconds."""

        async def work() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, before, value, life in rows:
                    pipe.eval(_PUT, 1, name, before, value, str(life))
                await pipe.execute()

        if rows:
            await self._try(work)

    # --- sign-ins of browsers

    async def sign_ins(self, indexes: list[bytes]) -> dict[bytes, bytes]:
        """What is held for these indexes of secrets: an entry, or :data:`TOMBSTONE`."""
        held = await self._read([f"{_SIGN_IN_KEY}{index.hex()}" for index in indexes])
        return {
            index: raw
            for index, raw in zip(indexes, held or (), strict=False)
            if isinstance(raw, bytes)
        }

    async def put_sign_ins(self, rows: Sequence[tuple[bytes, bytes, str, int]]) -> None:
        """Remember live sign-ins: index, what :meth:`sign_ins` returned before (``b""`` for
        nothing), value, life in seconds. Only what was returned before is replaced."""
        await self._write(
            [
                (f"{_SIGN_IN_KEY}{index.hex()}", before, value, life)
                for index, before, value, life in rows
            ]
        )

    # --- devices

    async def claim_device(self, token_id: UUID, device: str, life: int) -> int | None:
        """0: another device holds it; 1: renewed; 2: newly claimed; ``None``: Redis is away."""

        async def work() -> int:
            return int(
                await self._redis.eval(_CLAIM, 1, f"{_DEVICE_KEY}{token_id}", device, str(life))
            )

        return await self._try(work)

    async def keep_devices(self, claims: Sequence[tuple[UUID, str]], life: int) -> None:
        """Renew many claims of devices that still hold their tokens."""

        async def work() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for token_id, device in claims:
                    pipe.eval(_CLAIM, 1, f"{_DEVICE_KEY}{token_id}", device, str(life))
                await pipe.execute()

        await self._try(work)

    async def release_device(self, token_id: UUID) -> bool:
        """Forget the claim; whether Redis took it."""
        name = f"{_DEVICE_KEY}{token_id}"
        return await self._try(lambda: self._redis.delete(name), insist=True) is not None

    # --- things that work once

    async def spend(self, name: str, life: int) -> bool | None:
        """Whether this is the first use of ``name`` within ``life`` seconds, on any node.

        ``None``: Redis is away.
        """

        async def work() -> bool:
            return bool(await self._redis.set(f"{_SPENT_KEY}{name}", b"1", nx=True, ex=life))

        return await self._try(work)

    # --- word of ends

    async def announce(self, ended: InvalidationMessage, tokens: list[str]) -> tuple[bool, bool]:
        """Tell all nodes; whether that was done, and whether the tokens' entries say so too."""

        is_freed = ended.kind in ("restored", "device")

        async def work() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                if is_freed:  # before anybody is told to ask again
                    _dig(pipe, ended, tokens)
                pipe.publish(CHANNEL, ended.to_json())
                if not is_freed:
                    _dig(pipe, ended, tokens)
                return list(await pipe.execute(raise_on_error=False))

        results = await self._try(work, insist=True)
        if results is None:
            return False, False
        told = results.pop(-1 if is_freed else 0)
        refusals = [result for result in results if isinstance(result, Exception)]
        for refusal in refusals[:1]:
            self._refused(refusal)
        return not isinstance(told, Exception), not refusals

    async def bury(self, ended: InvalidationMessage, tokens: list[str]) -> bool:
        """Only the entries of :meth:`announce`; whether Redis took them."""

        async def work() -> bool:
            async with self._redis.pipeline(transaction=False) as pipe:
                _dig(pipe, ended, tokens)
                await pipe.execute()
            return True

        return bool(await self._try(work))

    async def listen(
        self, heard: Callable[[InvalidationMessage], None], live: Callable[[bool], None]
    ) -> None:
        """Hear what ends, for ever; ``live`` is told when the subscription stands and falls."""
        pause = 0.1
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    async with Deadline(_OPERATION_TIMEOUT):
                        await subscription.subscribe(CHANNEL)
                    pause = 0.1
                    await self._follow(subscription, heard, live)
            except self._failures:
                pass
            except Exception:  # whatever it is: a node that is deaf for ever would be the worst
                log.exception("listening for ends failed; beginning anew")
            finally:
                live(False)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _follow(
        self,
        subscription: Any,
        heard: Callable[[InvalidationMessage], None],
        live: Callable[[bool], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        # Silence is counted in waits, not by the clock: a pause of the loop is no silence of Redis.
        silent_waits = 0
        pinged = 0.0
        while True:
            now = loop.time()
            if silent_waits >= _SILENT_WAITS:
                raise TimeoutError
            if now - pinged > _SILENCE / _SILENT_WAITS:
                pinged = now
                async with Deadline(_OPERATION_TIMEOUT):
                    await subscription.ping()
            message = None
            with contextlib.suppress(TimeoutError):
                message = await subscription.get_message(timeout=_SILENCE / _SILENT_WAITS)
            if message is None:
                silent_waits += 1
                continue
            silent_waits = 0
            if message["type"] == "subscribe":
                live(True)
            elif message["type"] == "message":
                ended = InvalidationMessage.from_json(message["data"])
                if ended is not None:
                    try:
                        heard(ended)
                    except Exception:  # what is wrong with one must not keep the others unheard
                        log.exception("failed to apply an invalidation message")


def _dig(pipe: Any, ended: InvalidationMessage, tokens: list[str]) -> None:
    """Tombstones for what has ended; for a user who was restored they go, as does the claim of a
    device that was released."""
    if ended.kind == "device":
        pipe.delete(f"{_DEVICE_KEY}{ended.id}")
    for token in tokens:
        if ended.kind == "restored":
            pipe.delete(cache_name(token))
        else:
            name = f"{_SIGN_IN_KEY}{token}" if ended.kind == "sign_in" else cache_name(token)
            pipe.set(name, TOMBSTONE, ex=TOMBSTONE_LIFE)


def _value(access: TokenAccess, now: datetime) -> str:
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


def _entry(raw: bytes, now: datetime) -> RedisEntry:
    try:
        value = json.loads(raw)
        activated_at = datetime.fromisoformat(value["activated_at"])
        checked_at = datetime.fromisoformat(value["checked_at"])
        hours, scope = value["duration_hours"], value["scope"]
        if activated_at.tzinfo is None or checked_at.tzinfo is None:
            return RedisEntry(raw)
        if type(hours) is not int or hours <= 0 or not isinstance(scope, str):
            return RedisEntry(raw)
        access = TokenAccess(
            token_id=UUID(value["token_id"]),
            user_id=UUID(value["user_id"]),
            scope=scope,
            duration_hours=hours,
            activated_at=activated_at.astimezone(UTC),
        )
        access.seconds_left(now)  # the end of its time is a time
        age = abs((now - checked_at).total_seconds())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return RedisEntry(raw)
    return RedisEntry(raw, access, age)
