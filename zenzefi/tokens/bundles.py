"""The service of bundles: several tokens sold at one price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web
from sqlalchemy import Row, select, update

from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger
from zenzefi.billing.ledger import Kind
from zenzefi.billing.models import bundle_purchases, bundles
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import TOKEN_PURCHASES
from zenzefi.settings import Settings
from zenzefi.settings.catalogue import Catalogue
from zenzefi.tokens.allowed_scopes import require_allowed
from zenzefi.tokens.offers import Offers
from zenzefi.tokens.scopes import EXAMPLES, FULL
from zenzefi.tokens.token_records import TokenRecord, insert_token

_b = bundles.c


@dataclass(frozen=True, slots=True)
class Bundle:
    """Tokens of one duration and scope that are sold together."""

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


@dataclass(frozen=True, slots=True)
class BundlePurchase:
    """A bundle that was bought: its tokens, the price paid and the new balance in ZNC."""

    id: UUID
    bundle: Bundle
    tokens: list[TokenRecord]
    price: Decimal
    balance: Decimal


def _bundle(row: Row[Any]) -> Bundle:
    return Bundle(**{name: row._mapping[name] for name in Bundle.__dataclass_fields__})


def shares(price: Decimal, count: int) -> list[Decimal]:
    """The price of each of ``count`` tokens: equal within 0.01 ZNC, with the sum ``price``."""
    cents = int(price.scaleb(2))
    share, rest = divmod(cents, count)
    return [Decimal(share + (position < rest)).scaleb(-2) for position in range(count)]


class Bundles:
    """The service of bundles."""

    def __init__(self, settings: Settings, database: Database, keyring: Keyring) -> None:
        self._settings = settings
        self.offers = Offers(settings, database)
        self._database = database
        self._keyring = keyring

    def single_price(self, bundle: Bundle, offered: Catalogue) -> Decimal:
        """The price of the same tokens bought one by one, in ZNC.

        The bundle's own price where single tokens like these are not on sale.
        """
        price = offered.price(bundle.duration_hours, bundle.scope)
        return bundle.price if price is None else price * bundle.token_count

    async def listed(self, *, active_only: bool = True) -> list[Bundle]:
        """Bundles, cheapest first; by default only those on sale."""
        query = select(bundles).order_by(_b.price, _b.name, _b.id).limit(500)
        if active_only:
            query = query.where(_b.is_active)
        async with self._database.read() as connection:
            found = [_bundle(row) for row in await connection.execute(query)]
        return [one for one in found if not active_only or self._is_sold(one)]

    async def find(self, bundle_id: UUID) -> Bundle:
        """A bundle, on sale or not. Raises ``NotFound``."""
        async with self._database.read() as connection:
            query = select(bundles).where(_b.id == bundle_id)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("There is no such bundle.")
        return _bundle(row)

    def _is_sold(self, bundle: Bundle) -> bool:
        return bundle.scope in {FULL, *EXAMPLES, *self._settings.scopes}

    async def on_sale(self, connection: AsyncConnection, bundle_id: UUID) -> Bundle:
        """A bundle on sale, whose row is locked against changes. Raises ``NotFound``."""
        query = select(bundles).where(_b.id == bundle_id, _b.is_active)
        row = (await connection.execute(query.with_for_update(read=True))).one_or_none()
        bundle = None if row is None else _bundle(row)
        if bundle is None or not self._is_sold(bundle):
            raise NotFound("There is no such bundle on sale.")
        return bundle

    async def purchase(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        bundle_id: UUID,
        *,
        agreed: Decimal | None = None,
    ) -> BundlePurchase:
        """Buy a bundle inside the caller's transaction.

        ``agreed`` is a price in ZNC that was agreed before; without it the current one applies.
        The cost of each token, which is also the amount of its refund, is its share of the price.
        Raises ``NotFound`` for a bundle that is not on sale (also for one whose scope was removed
        from the settings, because its tokens would permit nothing), and ``InsufficientBalance`` and
        ``ScopeNotAllowed``.
        """
        bundle = await self.on_sale(connection, bundle_id)
        await require_allowed(connection, self._settings, user_id, bundle.scope)
        price = bundle.price if agreed is None else agreed
        purchase_id = uuid4()
        await connection.execute(
            bundle_purchases.insert().values(
                id=purchase_id,
                bundle_id=bundle_id,
                user_id=user_id,
                price_paid=price,
                token_count=bundle.token_count,
            )
        )
        if price > 0:
            await ledger.move(
                connection,
                user_id,
                -price,
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
            for cost in shares(price, bundle.token_count)
        ]
        await record(
            connection,
            actor,
            "bundle.purchased",
            "bundle",
            bundle_id,
            tokens=bundle.token_count,
            price=f"{price:.2f}",
        )
        TOKEN_PURCHASES.labels(bundle.duration_hours).inc(bundle.token_count)
        balance = await ledger.balance(connection, user_id)
        return BundlePurchase(purchase_id, bundle, tokens, price, balance)

    async def create(self, actor: Actor, **values: Any) -> Bundle:
        """Create a bundle from validated values."""
        bundle_id = uuid4()
        async with self._database.begin() as connection:
            await connection.execute(bundles.insert().values(id=bundle_id, **values))
            await record(connection, actor, "bundle.created", "bundle", bundle_id, **values)
            row = (await connection.execute(select(bundles).where(_b.id == bundle_id))).one()
        return _bundle(row)

    async def change(self, actor: Actor, bundle_id: UUID, **values: Any) -> Bundle:
        """Change a bundle. Tokens already sold stay as they are. Raises ``NotFound``."""
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
