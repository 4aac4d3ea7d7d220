"""One token, one device at a time.

A claim lives in Redis while Redis answers, else in the database; a claim newly made in Redis is
also written to the database, and refreshed there in batches, so that losing Redis does not free it.
What a device has open keeps its claim. Devices are kept as keyed hashes. The node remembers its own
claims for a moment, so that a request costs no look-up.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from uuid import UUID

from aiohttp import web
from sqlalchemy import bindparam, delete, or_, update
from sqlalchemy.exc import SQLAlchemyError

from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseUnavailable
from zenzefi.db.upsert import insert_into
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import CACHE_ENTRIES
from zenzefi.settings import DevicePolicy
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import DeviceConflict, DeviceRequired, InvalidDeviceId
from zenzefi.tokens.invalidation import InvalidationMessage
from zenzefi.tokens.models import device_claims
from zenzefi.tokens.redis_cache import RedisCache
from zenzefi.tokens.validation import DEVICE_RELEASED, TokenValidator

log = logging.getLogger(__name__)

IDLE = 300
"""Seconds after its last use that a device still holds its token."""
_RENEW = 10  # seconds between renewals of a claim in use
KEEP = 30
"""Seconds between two refreshings in the database, and of what is open: there a claim may look so
much older than it is."""
_MAX_CLAIMS = 50_000
_BATCH = 500
_SHAPE = re.compile(r"[\x21-\x7e]{8,255}")
_c = device_claims.c
_SEEN = (
    update(device_claims)
    .where(_c.token_id == bindparam("token"), _c.device == bindparam("by"))
    .values(last_seen_at=bindparam("seen"))
)


def device_of(headers: Sequence[str], policy: DevicePolicy) -> str | None:
    """The device named by the ``X-Device-ID`` headers of a request; ``None``: it names none.

    Raises ``InvalidDeviceId`` (400) for a malformed or repeated one, ``DeviceRequired`` (403) where
    the policy wants one.
    """
    if not headers:
        if policy is DevicePolicy.REQUIRED:
            raise DeviceRequired
        return None
    if len(headers) > 1 or not _SHAPE.fullmatch(headers[0]):
        raise InvalidDeviceId
    return headers[0]


class Devices:
    """Claims of devices on tokens, shared by all nodes."""

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
        # token id -> (device, when the claim must be renewed); this node's own recent claims
        self._claims: OrderedDict[UUID, tuple[str, float]] = OrderedDict()
        self._claiming: dict[tuple[UUID, str], asyncio.Task[None]] = {}
        self._seen: dict[UUID, bytes] = {}  # renewed in Redis, not yet written down
        token_validator.on_end(self._heard)

    def held(self, access: TokenAccess, device: str | None) -> bool:
        """Whether nothing more is to be asked: no device, policy off, or claimed a moment ago."""
        if device is None or self.policy is DevicePolicy.OFF:
            return True
        known = self._claims.get(access.token_id)
        return known is not None and known[0] == device and known[1] > monotonic()

    async def claim(self, access: TokenAccess, device: str | None) -> None:
        """Take or keep the token for this device.

        Raises ``DeviceConflict`` (409) while another one holds it, ``DatabaseUnavailable``.
        """
        if device is None or self.held(access, device):
            return
        key = access.token_id, device
        # A page asks for fifty things at once: one claim for all of them.
        claiming = self._claiming.get(key)
        if claiming is None:
            claiming = asyncio.create_task(self._claim(*key), name="device claim")
            self._claiming[key] = claiming
            claiming.add_done_callback(lambda done: self._claimed(key, done))
        await asyncio.shield(claiming)

    def _claimed(self, key: tuple[UUID, str], done: asyncio.Task[None]) -> None:
        self._claiming.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen here: everybody who asked may have given up meanwhile

    async def _claim(self, token_id: UUID, device: str) -> None:
        hashed = self._hash(device)
        taken = None
        if self._redis_cache is not None:
            taken = await self._redis_cache.claim_device(token_id, hashed.hex(), IDLE + _RENEW)
        if taken == 0:
            raise DeviceConflict
        if taken == 1:
            if len(self._seen) < _MAX_CLAIMS:
                self._seen[token_id] = hashed
        else:
            try:
                await self._claim_in_database(token_id, hashed)
            except DeviceConflict:
                if self._redis_cache is not None:  # Redis has come back without its memory
                    await self._redis_cache.release_device(token_id)
                raise
        until = monotonic() + _RENEW
        self._claims[token_id] = (device, until)
        self._claims.move_to_end(token_id)
        while len(self._claims) > _MAX_CLAIMS:
            self._claims.popitem(last=False)

    async def _claim_in_database(self, token_id: UUID, device: bytes) -> None:
        now = self._token_validator.now()
        statement = insert_into(self._database.dialect, device_claims).values(
            token_id=token_id, device=device, claimed_at=now, last_seen_at=now
        )
        free = or_(_c.device == device, _c.last_seen_at < now - timedelta(seconds=IDLE + KEEP))
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
        """Forget which device holds this token, and close what is open under it, on every node."""
        async with self._database.begin() as connection:
            await connection.execute(delete(device_claims).where(_c.token_id == token_id))
        await self._token_validator.announce(
            InvalidationMessage("device", token_id, DEVICE_RELEASED), []
        )

    def name_of(self, device: str | None) -> str | None:
        """A short name for lists of sessions, from which the device's id can't be told."""
        return None if device is None else self._hash(device).hex()[:12]

    def _hash(self, device: str) -> bytes:
        return self._keyring.index("device", device)

    def _heard(self, ended: InvalidationMessage) -> None:
        if ended.kind == "device":
            self._claims.pop(ended.id, None)
            self._seen.pop(ended.id, None)

    # --- claims that last

    async def keep(self) -> None:
        """Renew the claims of devices that have something open, and write down all that were
        renewed since the last time. Raises ``DatabaseUnavailable``; nothing is lost then."""
        busy = [
            (token_id, self._hash(device))
            for token_id, devices in self._token_validator.open_connections.of_devices().items()
            for device in devices
        ]
        if self._redis_cache is not None:
            for start in range(0, len(busy), _BATCH):
                some = [(token_id, hashed.hex()) for token_id, hashed in busy[start:][:_BATCH]]
                await self._redis_cache.keep_devices(some, IDLE + _RENEW)
        seen, self._seen = self._seen, {}
        now = self._token_validator.now()
        rows = [
            {"token": token_id, "by": hashed, "seen": now}
            for token_id, hashed in {*seen.items(), *busy}
        ]
        if not rows:
            return
        try:
            async with self._database.begin() as connection:
                await connection.execute(_SEEN, rows)
        except BaseException:
            self._seen = seen | self._seen
            raise

    async def _keep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(KEEP)
            CACHE_ENTRIES.labels("device_claims").set(len(self._claims))
            try:
                await self.keep()
            except DatabaseUnavailable:
                continue
            except SQLAlchemyError:
                log.exception("claims of devices can't be written down")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the claims of devices in use, for as long as the node runs."""
        if self.policy is DevicePolicy.OFF:
            yield
            return
        task = asyncio.create_task(self._keep_for_ever(), name="device claims")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(DatabaseUnavailable, SQLAlchemyError):
                await self.keep()


DEVICES: web.AppKey[Devices] = web.AppKey("devices", Devices)
