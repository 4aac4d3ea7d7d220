"""Device claims: a token is used by one device at a time, on all nodes.

A claim is stored in Redis while Redis is available, otherwise in the database. A new claim in Redis
is written to the database as well and refreshed there in batches, so that the loss of Redis does
not release it. Open connections of a device renew its claim. Device IDs are stored as keyed hashes.
Each node caches its recent claims, so that most requests need no look-up.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from uuid import UUID

from aiohttp import web
from sqlalchemy import bindparam, delete, or_, update
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.bounded import BoundedDict
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.db.upsert import insert_into
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import CACHE_ENTRIES
from zenzefi.settings import DevicePolicy
from zenzefi.tasks import repeat_every
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import DeviceConflict, DeviceRequired, InvalidDeviceId
from zenzefi.tokens.invalidation import DEVICE_RELEASED, InvalidationMessage
from zenzefi.tokens.models import device_claims
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.validation import TokenValidator

IDLE = 300
"""Seconds after the last use of a token for which the device keeps its claim."""
_RENEW = 10  # seconds between renewals of a claim in use
KEEP = 30
"""Seconds between two writes of claims to the database. A claim there may look older than it is by
this time."""
_MAX_CLAIMS = 50_000
_BATCH = 500
_SHAPE = re.compile(r"[\x21-\x7e]{8,255}")
Hashes = tuple[bytes, ...]
"""The keyed hashes of one device ID under all accepted keys, the one of the issuing key first."""
_c = device_claims.c
_SEEN = (
    update(device_claims)
    .where(_c.token_id == bindparam("token"), _c.device == bindparam("by"))
    .values(last_seen_at=bindparam("seen"), device=bindparam("current"))
)


def device_of(headers: Sequence[str], policy: DevicePolicy) -> str | None:
    """The device ID in the ``X-Device-ID`` headers of a request; ``None`` if there is none.

    Raises ``InvalidDeviceId`` (400) for a malformed or repeated header, and ``DeviceRequired``
    (403) if the policy requires the header.
    """
    if not headers:
        if policy is DevicePolicy.REQUIRED:
            raise DeviceRequired
        return None
    if len(headers) > 1 or not _SHAPE.fullmatch(headers[0]):
        raise InvalidDeviceId
    return headers[0]


class Devices:
    """The service of device claims."""

    def __init__(
        self,
        policy: DevicePolicy,
        database: Database,
        keyring: Keyring,
        token_validator: TokenValidator,
        redis_cache: RedisCache | None,
    ) -> None:
        self.policy = policy
        self._database = database
        self._keyring = keyring
        self._token_validator = token_validator
        self._redis_cache = redis_cache
        # Recent claims made by this node: token ID -> (device, time until which it is used).
        self._claims: BoundedDict[UUID, tuple[str, float]] = BoundedDict(_MAX_CLAIMS)
        self._claiming: dict[tuple[UUID, str], asyncio.Task[None]] = {}
        # Claims renewed in Redis and not yet written to the database: token ID -> keyed hashes.
        self._renewed: dict[UUID, Hashes] = {}
        token_validator.on_invalidation(self._on_invalidation)

    def has_claim(self, access: TokenAccess, device: str | None) -> bool:
        """Whether the device may use the token without :meth:`claim`.

        That is the case without a device ID, without a policy, and after a recent claim.
        """
        if device is None or self.policy is DevicePolicy.OFF:
            return True
        known = self._claims.get(access.token_id)
        return known is not None and known[0] == device and known[1] > monotonic()

    async def claim(self, access: TokenAccess, device: str | None) -> None:
        """Claim the token for this device, or renew the claim.

        Raises ``DeviceConflict`` (409) if another device has the claim, and
        ``DatabaseUnavailable``.
        """
        if device is None or self.has_claim(access, device):
            return
        key = access.token_id, device
        # A page makes dozens of concurrent requests; they share one claim.
        claiming = self._claiming.get(key)
        if claiming is None:
            claiming = asyncio.create_task(self._claim(*key), name="device claim")
            self._claiming[key] = claiming
            claiming.add_done_callback(lambda done: self._on_claimed(key, done))
        await asyncio.shield(claiming)

    def _on_claimed(self, key: tuple[UUID, str], done: asyncio.Task[None]) -> None:
        self._claiming.pop(key, None)
        if not done.cancelled():
            done.exception()  # retrieved: all callers may have been cancelled

    async def _claim(self, token_id: UUID, device: str) -> None:
        hashes = self._hashes(device)
        result = None
        if self._redis_cache is not None:
            result = await self._redis_cache.claim_device(token_id, hashes, IDLE + _RENEW)
        if result == 0:
            raise DeviceConflict
        if result == 1:
            if len(self._renewed) < _MAX_CLAIMS:
                self._renewed[token_id] = hashes
        else:
            try:
                await self._claim_in_database(token_id, hashes)
            except DeviceConflict:
                if self._redis_cache is not None:  # Redis was restarted and has lost the claims
                    await self._redis_cache.release_device(token_id)
                raise
        self._claims[token_id] = device, monotonic() + _RENEW

    async def _claim_in_database(self, token_id: UUID, hashes: Hashes) -> None:
        device = hashes[0]
        now = self._token_validator.now()
        statement = insert_into(self._database.dialect, device_claims).values(
            token_id=token_id, device=device, claimed_at=now, last_seen_at=now
        )
        free = or_(_c.device.in_(hashes), _c.last_seen_at < now - timedelta(seconds=IDLE + KEEP))
        async with self._database.begin() as connection:
            result = await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[_c.token_id],
                    set_={"device": device, "last_seen_at": now},
                    where=free,
                )
            )
        if result.rowcount != 1:
            raise DeviceConflict

    async def release(self, token_id: UUID) -> None:
        """Release the claim on a token, and close the connections of the token on every node."""
        async with self._database.begin() as connection:
            await connection.execute(delete(device_claims).where(_c.token_id == token_id))
        await self._token_validator.announce(
            InvalidationMessage("device", token_id, DEVICE_RELEASED), []
        )

    def name_of(self, device: str | None) -> str | None:
        """A short name for lists of sessions. The device ID can't be derived from it."""
        return None if device is None else self._hashes(device)[0].hex()[:12]

    def _hashes(self, device: str) -> Hashes:
        """The hash for new claims, and those under the other accepted keys."""
        return tuple(self._keyring.indexes("device", device))

    def _on_invalidation(self, message: InvalidationMessage) -> None:
        if message.kind == "device":
            self._claims.pop(message.id, None)
            self._renewed.pop(message.id, None)

    # --- renewal

    async def keep(self) -> None:
        """Renew the claims of devices with open connections, and write all renewed claims.

        Raises ``DatabaseUnavailable``; the claims are then written by the next call.
        """
        busy = [
            (token_id, self._hashes(device))
            for token_id, devices in self._token_validator.open_connections.devices().items()
            for device in devices
        ]
        if self._redis_cache is not None:
            for start in range(0, len(busy), _BATCH):
                await self._redis_cache.keep_devices(busy[start:][:_BATCH], IDLE + _RENEW)
        renewed, self._renewed = self._renewed, {}
        now = self._token_validator.now()
        rows = [
            {"token": token_id, "by": hashed, "current": hashes[0], "seen": now}
            for token_id, hashes in {*renewed.items(), *busy}
            for hashed in hashes
        ]
        if not rows:
            return
        try:
            async with self._database.begin() as connection:
                await connection.execute(_SEEN, rows)
        except BaseException:
            self._renewed = renewed | self._renewed
            raise

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renew and write claims while the context is open, and write them at its exit."""
        if self.policy is DevicePolicy.OFF:
            yield
            return
        try:
            async with repeat_every(
                lambda: KEEP,
                self._keep_periodically,
                name="device claims",
                ignored=(DatabaseUnavailable,),
            ):
                yield
        finally:
            with suppress(DatabaseUnavailable, SQLAlchemyError):
                await self.keep()

    async def _keep_periodically(self) -> None:
        CACHE_ENTRIES.labels("device_claims").set(len(self._claims))
        await self.keep()


DEVICES: web.AppKey[Devices] = web.AppKey("devices", Devices)
"""The application's :class:`Devices`."""
