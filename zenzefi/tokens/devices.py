"""One token, one device at a time.

A claim lives in Redis while Redis answers, else in the database; a claim newly made in Redis is
also written to the database, so that losing Redis does not free it. Devices are kept as keyed
hashes. The node remembers its own claims for a moment, so that a request costs no look-up.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from uuid import UUID

from aiohttp import web
from sqlalchemy import delete, or_
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from zenzefi.config import DevicePolicy
from zenzefi.db.engine import Database
from zenzefi.errors import DeviceConflict, DeviceRequired, InvalidDeviceId
from zenzefi.keys import Keyring
from zenzefi.tokens.access import Access
from zenzefi.tokens.gatekeeper import Gatekeeper
from zenzefi.tokens.models import device_claims
from zenzefi.tokens.shared import Ended, Shared

IDLE = 300
"""Seconds after its last use that a device still holds its token."""
_RENEW = 10.0  # seconds between renewals of a claim in use
_MAX_CLAIMS = 50_000
_SHAPE = re.compile(r"[\x21-\x7e]{8,255}")
_c = device_claims.c


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
        gatekeeper: Gatekeeper,
        shared: Shared | None,
    ) -> None:
        self.policy = policy
        self._database = database
        self._keyring = keyring
        self._gatekeeper = gatekeeper
        self._shared = shared
        # token id -> (device, when the claim must be renewed); this node's own recent claims
        self._claims: OrderedDict[UUID, tuple[str, float]] = OrderedDict()
        gatekeeper.on_end(self._heard)

    def held(self, access: Access, device: str | None) -> bool:
        """Whether nothing more is to be asked: no device, policy off, or claimed a moment ago."""
        if device is None or self.policy is DevicePolicy.OFF:
            return True
        known = self._claims.get(access.token_id)
        return known is not None and known[0] == device and known[1] > monotonic()

    async def claim(self, access: Access, device: str | None) -> None:
        """Take or keep the token for this device.

        Raises ``DeviceConflict`` (409) while another one holds it, ``DatabaseUnavailable``.
        """
        if device is None or self.held(access, device):
            return
        token_id = access.token_id
        hashed = self._hash(device)
        taken = None
        if self._shared is not None:
            taken = await self._shared.claim_device(token_id, hashed.hex(), IDLE)
        if taken == 0:
            raise DeviceConflict
        if taken != 1:
            try:
                await self._claim_in_database(token_id, hashed)
            except DeviceConflict:
                if self._shared is not None:  # Redis has come back without its memory
                    await self._shared.release_device(token_id)
                raise
        until = monotonic() + _RENEW
        self._claims[token_id] = (device, until)
        self._claims.move_to_end(token_id)
        while len(self._claims) > _MAX_CLAIMS:
            self._claims.popitem(last=False)

    async def _claim_in_database(self, token_id: UUID, device: bytes) -> None:
        now = self._gatekeeper.now()
        insert = insert_sqlite if self._database.dialect == "sqlite" else insert_postgresql
        statement = insert(device_claims).values(
            token_id=token_id, device=device, claimed_at=now, last_seen_at=now
        )
        free = or_(_c.device == device, _c.last_seen_at < now - timedelta(seconds=IDLE))
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
        """Forget which device holds this token, on every node."""
        async with self._database.begin() as connection:
            await connection.execute(delete(device_claims).where(_c.token_id == token_id))
        if self._shared is not None:
            await self._shared.release_device(token_id)
        await self._gatekeeper.announce(Ended("device", token_id, "device_released"), [])

    def name_of(self, device: str | None) -> str | None:
        """A short name for lists of sessions, from which the device's id can't be told."""
        return None if device is None else self._hash(device).hex()[:12]

    def _hash(self, device: str) -> bytes:
        return self._keyring.index("device", device)

    def _heard(self, ended: Ended) -> None:
        if ended.kind == "device":
            self._claims.pop(ended.id, None)


DEVICES: web.AppKey[Devices] = web.AppKey("devices", Devices)
