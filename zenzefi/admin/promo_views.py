"""Operations of the administration API for promo codes."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.admin.promo_schemas import NewPromoCode, PromoCodeChange, PromoCodeOut
from zenzefi.admin.schemas import AdminPage
from zenzefi.api.models import Listing
from zenzefi.api.routing import Routes, actor_of
from zenzefi.errors import NotFound
from zenzefi.tokens.errors import PromoCodeTaken
from zenzefi.tokens.promo_codes import PROMO_CODES

routes = Routes("Administration")


@routes.get("/admin/promo-codes")
async def promo_codes(request: web.Request, admin: User, query: AdminPage) -> Listing[PromoCodeOut]:
    """Promo codes, newest first."""
    found, total = await request.app[PROMO_CODES].listed(limit=query.limit, offset=query.offset)
    items = [PromoCodeOut.model_validate(one, from_attributes=True) for one in found]
    return Listing[PromoCodeOut](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.post("/admin/promo-codes", status=201, errors=(PromoCodeTaken,))
async def create_promo_code(request: web.Request, admin: User, body: NewPromoCode) -> PromoCodeOut:
    """Create a promo code. Discount, limit and period of a code never change."""
    made = await request.app[PROMO_CODES].create(
        actor_of(request, admin),
        code=body.code,
        percent=body.percent,
        amount=body.amount_znc,
        max_uses=body.max_uses,
        starts_at=body.starts_at,
        ends_at=body.ends_at,
    )
    return PromoCodeOut.model_validate(made, from_attributes=True)


@routes.patch("/admin/promo-codes/{code_id}", errors=(NotFound,))
async def change_promo_code(
    request: web.Request, admin: User, code_id: UUID, body: PromoCodeChange
) -> PromoCodeOut:
    """Switch a promo code on or off."""
    found = await request.app[PROMO_CODES].switch(
        actor_of(request, admin), code_id, is_active=body.is_active
    )
    return PromoCodeOut.model_validate(found, from_attributes=True)
