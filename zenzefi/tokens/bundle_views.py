"""The bundle endpoints."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.api.idempotency import HEADER, IDEMPOTENCY, IdempotencyInFlight, key_of
from zenzefi.api.routing import Routes, actor_of
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound
from zenzefi.settings.catalogue import Catalogue
from zenzefi.tokens.bundle_schemas import BundleOut, BundlePurchased, BundlesOut
from zenzefi.tokens.bundles import BUNDLES, Bundle, Bundles
from zenzefi.tokens.views import token_out

routes = Routes("Money")


def bundle_out(service: Bundles, bundle: Bundle, offered: Catalogue) -> BundleOut:
    """The bundle object of the HTTP contract."""
    return BundleOut(
        id=bundle.id,
        name=bundle.name,
        description=bundle.description,
        duration_hours=bundle.duration_hours,
        token_count=bundle.token_count,
        scope=bundle.scope,
        price_znc=bundle.price,
        total_price=bundle.price,
        single_price_znc=service.single_price(bundle, offered),
        base_price=service.single_price(bundle, offered),
        is_active=bundle.is_active,
    )


@routes.get("/bundles/")
async def bundles(request: web.Request) -> BundlesOut:
    """Bundles on sale."""
    service = request.app[BUNDLES]
    offered = await service.offers.current()
    found = await service.listed()
    return BundlesOut(items=[bundle_out(service, bundle, offered) for bundle in found])


@routes.post(
    "/bundles/{bundle_id}/purchase",
    errors=(NotFound, InsufficientBalance, IdempotencyInFlight),
    headers=(HEADER,),
)
async def buy_bundle(request: web.Request, user: User, bundle_id: UUID) -> BundlePurchased:
    """Buy a bundle: all its tokens at once."""
    service = request.app[BUNDLES]

    async def work(connection: AsyncConnection) -> BundlePurchased:
        bought = await service.purchase(connection, actor_of(request, user), user.id, bundle_id)
        return BundlePurchased(
            bundle_id=bundle_id,
            tokens=[token_out(token) for token in bought.tokens],
            cost_znc=bought.price,
            new_balance=bought.balance,
        )

    return await request.app[IDEMPOTENCY].run(
        user.id, key_of(request), f"bundles.{bundle_id.hex}", None, BundlePurchased, work
    )
