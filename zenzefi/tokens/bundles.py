"""Bundles: several tokens at one price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger
from zenzefi.billing.ledger import Kind
from zenzefi.billing.models import bundle_purchases, bundles
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import TOKEN_PURCHASES
from zenzefi.settings import Settings
from zenzefi.tokens.scopes import EXAMPLES, FULL
from zenzefi.tokens.token_records import TokenRecord, insert_token

_b = bundles.c


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is sold together."""

    id: UUID
    name: str
    description: str
    duration_hours: int
    token_count: int
    scope: str
    price: Decimal
    is_active: bool
    created_at: datetime
    updated_at: datetime


def _bundle(row: Row[Any]) -> Bundle:
    return Bundle(**{name: row._mapping[name] for name in Bundle.__dataclass_fields__})


def shares(price: Decimal, count: int) -> list[Decimal]:
    """What each of ``count`` tokens cost: equal to the hundredth, and exactly ``price`` in sum."""
    cents = int(price.scaleb(2))
    share, rest = divmod(cents, count)
    return [Decimal(share + (position < rest)).scaleb(-2) for position in range(count)]


class Bundles:
    """The service of bundles."""

    def __init__(self, settings: Settings, database: Database, keyring: Keyring) -> None:
        self._settings = settings
        self._database = database
        self._keyring = keyring

    def single_price(self, bundle: Bundle) -> Decimal:
        """What the same tokens cost one by one."""
        return self._settings.price(bundle.duration_hours) * bundle.token_count

    async def listed(self, *, active_only: bool = True) -> list[Bundle]:
        """Bundles on sale, cheapest first."""
        query = select(bundles).order_by(_b.price, _b.name, _b.id).limit(500)
        if active_only:
            query = query.where(_b.is_active)
        async with self._database.read() as connection:
            found = [_bundle(row) for row in await connection.execute(query)]
        return [one for one in found if not active_only or self._is_sold(one)]

    def _is_sold(self, bundle: Bundle) -> bool:
        return bundle.scope in {FULL, *EXAMPLES, *self._settings.scopes}

    async def purchase(
        self, connection: AsyncConnection, actor: Actor, user_id: UUID, bundle_id: UUID
    ) -> tuple[Bundle, list[TokenRecord], Decimal]:
        """Buy one, inside the caller's transaction; the tokens and the new balance.

        Each token's cost is its share of the price, and that is what a refund gives back. Raises
        ``NotFound`` for one not on sale (also one whose scope the settings no longer know: its
        tokens would open nothing), ``InsufficientBalance``.
        """
        row = (
            await connection.execute(
                select(bundles).where(_b.id == bundle_id, _b.is_active).with_for_update(read=True)
            )
        ).one_or_none()
        bundle = None if row is None else _bundle(row)
        if bundle is None or not self._is_sold(bundle):
            raise NotFound("There is no such bundle on sale.")
        purchase_id = uuid4()
        await connection.execute(
            bundle_purchases.insert().values(
                id=purchase_id,
                bundle_id=bundle_id,
                user_id=user_id,
                price_paid=bundle.price,
                token_count=bundle.token_count,
            )
        )
        if bundle.price > 0:
            await ledger.move(
                connection,
                user_id,
                -bundle.price,
                Kind.PURCHASE,
                f"Bundle {bundle.name}",
                bundle_purchase_id=purchase_id,
            )
        tokens = [
            await insert_token(
                connection,
                self._keyring,
                user_id=user_id,
                duration_hours=bundle.duration_hours,
                scope=bundle.scope,
                cost=cost,
                bundle_purchase_id=purchase_id,
            )
            for cost in shares(bundle.price, bundle.token_count)
        ]
        await record(
            connection,
            actor,
            "bundle.purchased",
            "bundle",
            bundle_id,
            tokens=bundle.token_count,
            price=f"{bundle.price:.2f}",
        )
        TOKEN_PURCHASES.labels(bundle.duration_hours).inc(bundle.token_count)
        return bundle, tokens, await ledger.balance(connection, user_id)

    async def create(self, actor: Actor, **values: Any) -> Bundle:
        """Put a bundle on sale (validated values)."""
        bundle_id = uuid4()
        async with self._database.begin() as connection:
            await connection.execute(bundles.insert().values(id=bundle_id, **values))
            await record(connection, actor, "bundle.created", "bundle", bundle_id, **values)
            row = (await connection.execute(select(bundles).where(_b.id == bundle_id))).one()
        return _bundle(row)

    async def change(self, actor: Actor, bundle_id: UUID, **values: Any) -> Bundle:
        """Change a bundle for later buyers. Raises ``NotFound``."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(bundles).where(_b.id == bundle_id).values(**values, updated_at=utcnow())
            )
            row = (
                await connection.execute(select(bundles).where(_b.id == bundle_id))
            ).one_or_none()
            if row is None:
                raise NotFound("There is no such bundle.")
            await record(connection, actor, "bundle.changed", "bundle", bundle_id, **values)
        return _bundle(row)


BUNDLES: web.AppKey[Bundles] = web.AppKey("bundles", Bundles)
