"""Pages that sell access tokens: single tokens and bundles."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext
from zenzefi.settings import SETTINGS
from zenzefi.settings.catalogue import Catalogue
from zenzefi.tokens.allowed_scopes import can_buy
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.errors import PromoCodeInvalid, PromoCodeUsed
from zenzefi.tokens.promo_codes import PROMO_CODES, PromoCode
from zenzefi.tokens.schemas import Purchase
from zenzefi.tokens.scopes import FULL
from zenzefi.tokens.service import TOKENS
from zenzefi.web import view_models
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/buy")

_USUAL_HOURS = 24


class _Bought(BaseModel):
    """Stored result of a purchase: a form sent twice buys once."""

    token_id: UUID


class _PriceChanged(Exception):
    """The price differs from the price shown on the page, so the user must confirm it first."""


def price_changed() -> str:
    """The message for a price that differs from the one on the page."""
    return _(
        "The price has changed in the meantime. Nothing was bought; please check the new price."
    )


async def promo_code(page: PageContext, form: Form) -> PromoCode | None:
    """The promo code in the field ``code``; ``None``, with an error in the form, if not valid."""
    if not form.text("code"):
        return None
    try:
        return await page.request.app[PROMO_CODES].valid(form.text("code"), page.user.id)
    except PromoCodeUsed:
        form.fail("code", _("You have used this promo code before."))
    except PromoCodeInvalid:
        form.fail("code", _("This promo code is not valid."))
    return None


async def _buy_page(page: PageContext, form: Form, *, status: int = 200) -> web.Response:
    app = page.request.app
    settings, tokens = app[SETTINGS], app[TOKENS]
    catalogue = await tokens.offers.current()
    names = [
        name
        for name in tokens.scopes.names
        if catalogue.durations(name) and can_buy(settings, page.user, name)
    ]
    scope = form.text("scope")
    if scope not in names:
        scope = names[0] if names else FULL
    promo = await promo_code(page, form)
    offers = view_models.offers(catalogue, scope) if names else []
    shown = view_models.with_promo_code(offers, promo)
    chosen = form.text("duration_hours")
    if chosen not in {str(offer.hours) for offer in shown}:
        usual = [offer.hours for offer in shown if offer.hours == _USUAL_HOURS]
        chosen = str(usual[0]) if usual else str(shown[0].hours) if shown else ""
    return page.render(
        "account/buy.html",
        status=status,
        form=form,
        once=secrets.token_urlsafe(18),
        offers=shown,
        promo=promo,
        chosen=chosen,
        scope=scope,
        scopes=view_models.scope_choices(names, settings),
        # With prices that depend on the scope, the scope is chosen first.
        by_scope=bool(catalogue.scope_prices),
        bundles=view_models.bundle_cards(
            [
                bundle
                for bundle in await app[BUNDLES].listed()
                if can_buy(settings, page.user, bundle.scope)
            ],
            app[BUNDLES],
            catalogue,
            settings,
        ),
    )


@routes.get("/account/buy")
async def buy_form(page: PageContext) -> web.StreamResponse:
    """Purchase form: durations, scopes and bundles."""
    query = page.request.query
    return await _buy_page(
        page,
        Form(
            {
                "duration_hours": query.get("hours", ""),
                "scope": query.get("scope", FULL),
                "code": query.get("code", ""),
            }
        ),
    )


def _chosen_price(
    form: Form, catalogue: Catalogue, scopes: list[str], promo: PromoCode | None
) -> Decimal | None:
    """The price of what the form chooses; ``None`` with errors in the form."""
    hours, scope = form.whole_number("duration_hours"), form.text("scope") or FULL
    if scope not in scopes:
        form.fail("", _("Please choose a scope."))
        return None
    price = None if hours is None else catalogue.price(hours, scope)
    if price is None:
        form.fail("duration_hours", _("Please choose how long the token lasts."))
        return None
    price = price if promo is None else promo.price(price)
    if form.text(f"seen_{hours}") not in ("", f"{price:.2f}"):
        form.fail("", price_changed())
        return None
    return price


@routes.post("/account/buy")
async def buy(page: PageContext) -> web.StreamResponse:
    """Buy one token; a form sent twice buys once."""
    app, form = page.request.app, await page.form()
    tokens, promo = app[TOKENS], await promo_code(page, form)
    names = [name for name in tokens.scopes.names if can_buy(app[SETTINGS], page.user, name)]
    price = _chosen_price(form, await tokens.offers.current(), names, promo)
    if price is None or not form.ok:
        return await _buy_page(page, form, status=422)
    hours, scope = form.text("duration_hours"), form.text("scope") or FULL

    code = None if promo is None else promo.code

    async def work(connection: AsyncConnection) -> _Bought:
        choice: dict[str, Any] = {"duration_hours": int(hours), "scope": scope}
        if code is None:
            token = await tokens.purchase(connection, page.actor, page.user.id, **choice)
        else:
            token = await app[PROMO_CODES].purchase(
                connection, page.actor, page.user.id, code, **choice
            )
        if token.cost != price:  # another price list came into force since it was read
            raise _PriceChanged
        return _Bought(token_id=token.id)

    try:
        bought = await app[IDEMPOTENCY].run(
            page.user.id,
            form_key(form.text("once"), hours, scope, code or ""),
            "pages.buy",
            Purchase(duration_hours=int(hours), scope=scope, promo_code=code),
            _Bought,
            work,
        )
    except InsufficientBalance:
        query = {"hours": hours, "scope": scope} | ({} if code is None else {"code": code})
        return page.redirect(f"/account/buy/pay?{urlencode(query)}")
    except (PromoCodeInvalid, PromoCodeUsed):  # used up since it was read
        form.fail("code", _("This promo code is not valid."))
        return await _buy_page(page, form, status=422)
    except _PriceChanged:
        form.fail("", price_changed())
        return await _buy_page(page, form, status=422)
    page.flash("good", _("Token bought. Its time starts with the first request."))
    return page.redirect(f"/account/tokens/{bought.token_id}")


class _Bundle(BaseModel):
    """Stored result of a bundle purchase."""

    count: int


@routes.post("/account/bundles/{id}")
async def buy_bundle(page: PageContext) -> web.StreamResponse:
    """Buy a bundle of tokens; a form sent twice buys once."""
    app, bundle_id, form = page.request.app, path_id(page), await page.form()

    async def work(connection: AsyncConnection) -> _Bundle:
        bought = await app[BUNDLES].purchase(connection, page.actor, page.user.id, bundle_id)
        if form.text("seen") not in ("", f"{bought.price:.2f}"):
            raise _PriceChanged
        return _Bundle(count=len(bought.tokens))

    try:
        bought = await app[IDEMPOTENCY].run(
            page.user.id,
            form_key(form.text("once")),
            f"pages.bundle.{bundle_id.hex}",
            None,
            _Bundle,
            work,
        )
    except InsufficientBalance:
        return page.redirect(f"/account/buy/pay?bundle={bundle_id}")
    except _PriceChanged:
        page.flash("bad", price_changed())
        return page.redirect("/account/buy")
    page.flash(
        "good",
        ngettext(
            "%(num)s token bought. Its time starts with the first request.",
            "%(num)s tokens bought. The time of each starts with its first request.",
            bought.count,
        ),
    )
    return page.redirect("/account")
