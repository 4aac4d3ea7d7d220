"""The public endpoint of the offers."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from aiohttp import web

from zenzefi import i18n
from zenzefi.api.routing import Routes
from zenzefi.settings import SETTINGS
from zenzefi.tokens.bundle_views import bundle_out
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.offer_schemas import Offer, OfferedScope, OffersOut, PriceIn, Rate
from zenzefi.tokens.scope_texts import scope_text
from zenzefi.tokens.service import TOKENS

routes = Routes("Money")

_CENT = Decimal("0.01")


def _prices(amount: Decimal, rates: dict[str, Decimal]) -> list[PriceIn]:
    return [
        PriceIn(currency=code, amount=(amount * rate).quantize(_CENT, ROUND_HALF_UP))
        for code, rate in rates.items()
    ]


@routes.get("/offers", security="none")
async def offers(request: web.Request) -> OffersOut:
    """All that is on sale: durations, prices, scopes and bundles."""
    settings, tokens, bundles = request.app[SETTINGS], request.app[TOKENS], request.app[BUNDLES]
    offered, scopes, rates = await tokens.offers.current(), tokens.scopes.names, settings.rates
    with i18n.using(i18n.context_of(request)):
        texts = {name: scope_text(name, settings.scope_texts) for name in scopes}
    found = []
    for scope in scopes:
        for hours in offered.durations(scope):
            price = offered.price(hours, scope) or Decimal("0.00")
            found.append(
                Offer(
                    duration_hours=hours,
                    scope=scope,
                    price_znc=price,
                    prices=_prices(price, rates),
                )
            )
    return OffersOut(
        payment_currency=settings.payment_currency,
        rates=[Rate(currency=code, price_of_one_znc=rate) for code, rate in rates.items()],
        scopes=[
            OfferedScope(name=name, title=title, description=note)
            for name, (title, note) in texts.items()
        ],
        offers=found,
        bundles=[bundle_out(bundles, one, offered) for one in await bundles.listed()],
    )
