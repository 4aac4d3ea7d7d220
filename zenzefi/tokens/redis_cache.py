"""Data that nodes share through Redis: validated tokens, sign-ins, device claims and messages.

Theory of operation
===================

Redis is optional and never the source of truth. Every method returns "unknown" or "not done" when
Redis fails, and raises nothing for it; the caller then uses the database.

States of the connection to Redis, as seen by one node:

- *available*: operations run, each with a timeout of :data:`_OPERATION_TIMEOUT` (and a half).
- *paused*: an operation failed or timed out. For :data:`_PAUSE` seconds operations fail at once,
  so that a slow Redis does not delay requests. Invalidations and :meth:`RedisCache.ping` are tried
  nevertheless. The first success makes it available again.
- *refusing*: Redis responds with an error (read-only, out of memory, wrong type of a key). There is
  no pause, because these responses are fast, and reads may still work.

States of a token's entry ``active_token:<sha256>``:

- *absent*: the token is not cached. A look-up reads the database and stores the access.
- *access*: written after the database confirmed an activated token. It expires with the token. It
  is used without the database only while it is fresh (``validation.TRUSTED``).
- *tombstone*: written by an invalidation for :data:`~.redis_entries.TOMBSTONE_LIFE` seconds. The
  token is refused without a query. Only the reactivation of a user deletes it earlier.

Invariants:

- An entry is written only if it still has the content that was read before the database was queried
  (compare-and-set in Lua). So a node that read the database just before a revocation can't replace
  the tombstone.
- A device claim changes its owner only after it expired or was released (compare-and-set in Lua).
- A lost subscription is noticed within about two seconds: pings on it must be confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from zenzefi.deadline import Deadline
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.redis_entries import TOMBSTONE, TOMBSTONE_LIFE, RedisEntry, decode, encode
from zenzefi.tokens.token_format import cache_name

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

CHANNEL = "zenzefi:ended"
_PAUSE = 1.0  # seconds without operations after a failure
_REFUSAL_LOG_INTERVAL = 60.0  # seconds between two log lines about refusals
_OPERATION_TIMEOUT = 1.0  # seconds
_CLIENT_TIMEOUT = 30.0  # seconds after which the client library gives up
_MAX_CONNECTIONS = 50
_PING_TIMEOUT = 1.0  # seconds without a message or pong after which a subscription is lost
_PING_WAITS = 4  # waits that make up this time
_DEVICE_KEY = "token_device:"
_SPENT_KEY = "spent:"
_SIGN_IN_KEY = "sign_in:"

# Compare-and-set: the entry is written if its content is ARGV[1], or if it is absent.
# A value of another type than string was not written by a gate and is replaced.
_PUT = """
local held = redis.pcall('GET', KEYS[1])
if not held or type(held) == 'table' or held == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
"""
# 0: another device has the claim; 1: the claim is renewed; 2: the claim is new.
# From ARGV[2] on: the hashes of this device under all accepted keys; the first one is stored.
_CLAIM = """
local held = redis.call('GET', KEYS[1])
local is_own = not held
for at = 2, #ARGV do is_own = is_own or held == ARGV[at] end
if not is_own then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[1])
if held then return 1 end
return 2
"""
_T = TypeVar("_T")


class RedisCache:
    """The connection of one node to Redis."""

    def __init__(self, url: str) -> None:
        # Imported here: the library takes ten megabytes, which a gate without Redis does not need.
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.exceptions import RedisError, ResponseError

        self._failures = (RedisError, OSError, TimeoutError)
        self._refusal = ResponseError
        # A blocking pool: many concurrent operations wait for a connection and do not fail.
        self._redis: Redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                # _try() has a shorter timeout, which a blocked event loop does not use up.
                socket_timeout=_CLIENT_TIMEOUT,
                socket_connect_timeout=_CLIENT_TIMEOUT,
                max_connections=_MAX_CONNECTIONS,
                timeout=_CLIENT_TIMEOUT,
            )
        )
        self._paused_until = 0.0
        self._is_unavailable = False
        self._refusal_logged_at = -_REFUSAL_LOG_INTERVAL

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def _try(self, work: Callable[[], Awaitable[_T]], *, insist: bool = False) -> _T | None:
        """The result of ``work``, or ``None`` when Redis fails, times out or refuses.

        ``insist`` runs the operation also during a pause.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._paused_until and not insist:
            return None
        try:
            async with Deadline(_OPERATION_TIMEOUT * 1.5):
                result = await work()
        except self._refusal as error:
            # Redis is available: read-only, out of memory, or a key of another type.
            self._refused(error)
            return None
        except (*self._failures, ValueError) as error:
            self._paused_until = loop.time() + _PAUSE
            if not self._is_unavailable:
                self._is_unavailable = True
                log.warning("Redis unavailable: error=%s", type(error).__name__)
            return None
        if self._is_unavailable:
            self._is_unavailable = False
            log.info("Redis available again")
        return result

    def _refused(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now > self._refusal_logged_at + _REFUSAL_LOG_INTERVAL:
            self._refusal_logged_at = now
            # Error messages of Redis (READONLY, OOM ...) contain no values of the command.
            log.warning("Redis command failed: error=%s", str(error)[:100])

    async def ping(self) -> bool:
        """Whether Redis responds now, also during a pause."""
        try:
            async with Deadline(_OPERATION_TIMEOUT):
                return bool(await self._redis.ping())
        except self._failures:
            return False

    # --- validated tokens

    async def get(self, tokens: list[str], now: datetime) -> dict[str, RedisEntry]:
        """The entries of these tokens. Absent ones, or all if Redis fails, are left out."""
        held = await self._read([cache_name(token) for token in tokens])
        return {
            token: decode(raw, now)
            for token, raw in zip(tokens, held or (), strict=False)
            if isinstance(raw, bytes)
        }

    async def put(
        self, validated: Sequence[tuple[str, TokenAccess, RedisEntry | None]], now: datetime
    ) -> None:
        """Store validated, activated tokens until they expire.

        With each token comes the entry that :meth:`get` returned before the database was queried
        (``None``: absent). Only that entry is replaced.
        """
        rows = []
        for token, access, before in validated:
            life = int(access.seconds_left(now))
            if access.is_activated and life > 0:
                known = b"" if before is None else before.raw
                rows.append((cache_name(token), known, encode(access, now), life))
        await self._write(rows)

    async def _read(self, names: list[str]) -> list[Any] | None:
        return await self._try(lambda: self._redis.mget(names))

    async def _write(self, rows: Sequence[tuple[str, bytes, str, int]]) -> None:
        """Compare and set rows of: name, content read before, new content, lifetime in seconds."""

        async def work() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, before, value, life in rows:
                    pipe.eval(_PUT, 1, name, before, value, str(life))
                await pipe.execute()

        if rows:
            await self._try(work)

    # --- sign-ins of browsers

    async def sign_ins(self, indexes: list[bytes]) -> dict[bytes, bytes]:
        """The entries for these indexes of secrets: JSON, or :data:`TOMBSTONE`."""
        held = await self._read([f"{_SIGN_IN_KEY}{index.hex()}" for index in indexes])
        return {
            index: raw
            for index, raw in zip(indexes, held or (), strict=False)
            if isinstance(raw, bytes)
        }

    async def put_sign_ins(self, rows: Sequence[tuple[bytes, bytes, str, int]]) -> None:
        """Store sign-ins, as rows of: index, content that :meth:`sign_ins` returned before (``b""``
        if absent), new content, lifetime in seconds. Only the content returned before is replaced.
        """
        await self._write(
            [
                (f"{_SIGN_IN_KEY}{index.hex()}", before, value, life)
                for index, before, value, life in rows
            ]
        )

    # --- devices

    async def claim_device(self, token_id: UUID, hashes: Sequence[bytes], life: int) -> int | None:
        """0: another device has the claim; 1: renewed; 2: new; ``None``: Redis is unavailable.

        ``hashes`` are those of the device under all accepted keys; the claim is stored under the
        first. ``life`` is the lifetime of the claim in seconds.
        """
        arguments = _claim_arguments(token_id, hashes, life)

        async def work() -> int:
            return int(await self._redis.eval(_CLAIM, 1, *arguments))

        return await self._try(work)

    async def keep_devices(self, claims: Sequence[tuple[UUID, Sequence[bytes]]], life: int) -> None:
        """Renew the claims of many devices. Claims of other devices stay as they are."""

        async def work() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for token_id, hashes in claims:
                    pipe.eval(_CLAIM, 1, *_claim_arguments(token_id, hashes, life))
                await pipe.execute()

        await self._try(work)

    async def release_device(self, token_id: UUID) -> bool:
        """Delete the claim on a token; whether Redis accepted that."""
        name = f"{_DEVICE_KEY}{token_id}"
        return await self._try(lambda: self._redis.delete(name), insist=True) is not None

    # --- values that may be used once

    async def spend(self, name: str, life: int) -> bool | None:
        """Whether this is the first use of ``name`` within ``life`` seconds, on any node.

        ``None``: Redis is unavailable.
        """

        async def work() -> bool:
            return bool(await self._redis.set(f"{_SPENT_KEY}{name}", b"1", nx=True, ex=life))

        return await self._try(work)

    # --- invalidation messages

    async def publish(self, message: InvalidationMessage, entries: list[str]) -> tuple[bool, bool]:
        """Publish a message to all nodes, and write its tombstones.

        Returns whether the message was published, and whether all tombstones were written.
        """

        is_release = message.kind in ("restored", "device")

        async def work() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                if is_release:  # before the nodes receive the message and look the entry up
                    _write_tombstones(pipe, message, entries)
                pipe.publish(CHANNEL, message.to_json())
                if not is_release:
                    _write_tombstones(pipe, message, entries)
                return list(await pipe.execute(raise_on_error=False))

        results = await self._try(work, insist=True)
        if results is None:
            return False, False
        published = results.pop(-1 if is_release else 0)
        refusals = [result for result in results if isinstance(result, Exception)]
        for refusal in refusals[:1]:
            self._refused(refusal)
        return not isinstance(published, Exception), not refusals

    async def write_tombstones(self, message: InvalidationMessage, entries: list[str]) -> bool:
        """Write the tombstones of a published message; whether Redis accepted them."""

        async def work() -> bool:
            async with self._redis.pipeline(transaction=False) as pipe:
                _write_tombstones(pipe, message, entries)
                await pipe.execute()
            return True

        return bool(await self._try(work))

    async def listen(
        self, on_message: Callable[[InvalidationMessage], None], on_change: Callable[[bool], None]
    ) -> None:
        """Subscribe to invalidation messages until cancelled, and subscribe again after failures.

        ``on_change`` is called with ``True`` when the subscription is live, and with ``False``
        when it is lost.
        """
        pause = 0.1
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    async with Deadline(_OPERATION_TIMEOUT):
                        await subscription.subscribe(CHANNEL)
                    pause = 0.1
                    await self._follow(subscription, on_message, on_change)
            except self._failures:
                pass
            except Exception:  # a node must not stay without a subscription
                log.exception("invalidation subscription failed; subscribing again")
            finally:
                on_change(False)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _follow(
        self,
        subscription: Any,
        on_message: Callable[[InvalidationMessage], None],
        on_change: Callable[[bool], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        # Counted in waits instead of seconds: a blocked event loop is not a failure of Redis.
        silent_waits = 0
        pinged = 0.0
        while True:
            now = loop.time()
            if silent_waits >= _PING_WAITS:
                raise TimeoutError
            if now - pinged > _PING_TIMEOUT / _PING_WAITS:
                pinged = now
                async with Deadline(_OPERATION_TIMEOUT):
                    await subscription.ping()
            received = None
            with contextlib.suppress(TimeoutError):
                received = await subscription.get_message(timeout=_PING_TIMEOUT / _PING_WAITS)
            if received is None:
                silent_waits += 1
                continue
            silent_waits = 0
            if received["type"] == "subscribe":
                on_change(True)
            elif received["type"] == "message":
                message = InvalidationMessage.from_json(received["data"])
                if message is not None:
                    try:
                        on_message(message)
                    except Exception:  # must not prevent that later messages are applied
                        log.exception("failed to apply an invalidation message")


def _write_tombstones(pipe: Any, message: InvalidationMessage, entries: list[str]) -> None:
    """Queue the commands for a message: tombstones for its entries; the deletion of the entries of
    a reactivated user, and of the claim of a released device."""
    if message.kind == "device":
        pipe.delete(f"{_DEVICE_KEY}{message.id}")
    for entry in entries:
        if message.kind == "restored":
            pipe.delete(cache_name(entry))
        else:
            is_sign_in = message.kind == "sign_in"
            name = f"{_SIGN_IN_KEY}{entry}" if is_sign_in else cache_name(entry)
            pipe.set(name, TOMBSTONE, ex=TOMBSTONE_LIFE)


def _claim_arguments(token_id: UUID, hashes: Sequence[bytes], life: int) -> list[str]:
    """The key and the arguments of :data:`_CLAIM`."""
    return [f"{_DEVICE_KEY}{token_id}", str(life), *(one.hex() for one in hashes)]
