"""Offers: the price list in force, and the versions that administrators publish.

A version holds a whole price list and the time from which it is in force. The list in force is that
of the version that began last; without one, the settings apply. Versions are never changed or
deleted, so that every price of the past can be explained. A purchase reads the list in its own
transaction: it is the same on every node, and a published price applies at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from zenzefi.audit.log import Actor, record
from zenzefi.billing.models import offer_versions
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.settings import Settings
from zenzefi.settings.catalogue import Catalogue
from zenzefi.tokens.errors import OffersChanged

_v = offer_versions.c
_SHOWN = 50


@dataclass(frozen=True, slots=True)
class OfferVersion:
    """A published price list. ``catalogue`` is ``None`` where it returns to the settings."""

    number: int
    catalogue: Catalogue | None
    effective_from: datetime
    actor_id: UUID | None
    created_at: datetime
    is_in_force: bool


class Offers:
    """The service of offers."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def current(self, connection: AsyncConnection | None = None) -> Catalogue:
        """The price list in force, read in the caller's transaction if there is one."""
        if connection is None:
            async with self._database.read() as reader:
                return await self.current(reader)
        query = (
            select(_v.content)
            .where(_v.effective_from <= utcnow())
            .order_by(_v.effective_from.desc(), _v.number.desc())
            .limit(1)
        )
        content = (await connection.execute(query)).scalar_one_or_none()
        return self._settings.catalogue if content is None else _catalogue(content)

    async def versions(self) -> list[OfferVersion]:
        """The latest versions, newest first."""
        is_past = (_v.effective_from <= utcnow()).label("is_past")
        query = select(offer_versions, is_past).order_by(_v.number.desc()).limit(_SHOWN)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        past = [row for row in rows if row.is_past]
        in_force = max(past, key=lambda row: (row.effective_from, row.number), default=None)
        return [
            OfferVersion(
                row.number,
                None if row.content is None else _catalogue(row.content),
                row.effective_from,
                row.actor_id,
                row.created_at,
                row is in_force,
            )
            for row in rows
        ]

    async def publish(
        self,
        actor: Actor,
        catalogue: Catalogue | None,
        *,
        effective_from: datetime | None = None,
        seen: int,
    ) -> int:
        """Publish a price list; returns the number of the version.

        ``catalogue=None`` returns to the settings. ``effective_from=None`` is now. ``seen`` is the
        number of the latest version that the administrator has seen (0: none). Raises
        ``OffersChanged`` if there is a newer one.
        """
        content = None if catalogue is None else catalogue.content()
        try:
            async with self._database.begin() as connection:
                newest = (await connection.execute(select(func.max(_v.number)))).scalar_one() or 0
                if newest != seen:
                    raise OffersChanged
                await connection.execute(
                    offer_versions.insert().values(
                        id=uuid4(),
                        number=newest + 1,
                        content=None if content is None else json.dumps(content),
                        effective_from=effective_from or utcnow(),
                        actor_id=actor.user_id,
                    )
                )
                await record(
                    connection,
                    actor,
                    "offers.published",
                    "offers",
                    None,
                    number=newest + 1,
                    effective_from=None if effective_from is None else effective_from.isoformat(),
                    **({"prices": "settings"} if content is None else content),
                )
        except IntegrityError as error:  # another administrator published at the same time
            raise OffersChanged from error
        return newest + 1


def _catalogue(content: str) -> Catalogue:
    return Catalogue.of_content(json.loads(content))
