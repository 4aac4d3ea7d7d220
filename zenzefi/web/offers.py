"""Pages for administrators about what is on sale: the price list, its versions, and bundles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from zenzefi.admin.schemas import NewBundle
from zenzefi.i18n import gettext as _
from zenzefi.settings import SETTINGS
from zenzefi.settings.catalogue import Catalogue, parse_duration, parse_price
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.errors import OffersChanged
from zenzefi.tokens.scopes import FULL
from zenzefi.tokens.service import TOKENS
from zenzefi.web import view_models
from zenzefi.web.forms import Form
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_BLANK_ROWS = 2
_MAX_ROWS = 50


def _fields(catalogue: Catalogue, scopes: list[str]) -> dict[str, str]:
    """The values of the form for a price list."""
    fields = {}
    for row, hours in enumerate(catalogue.known_durations):
        fields[f"hours_{row}"] = f"{hours // 24}d" if hours % 24 == 0 and hours > 24 else f"{hours}"
        for scope in scopes:
            table = catalogue.prices if scope == FULL else catalogue.scope_prices.get(scope, {})
            if hours in table:
                price = table[hours]
                fields[f"price_{row}_{scope}"] = "off" if price is None else f"{price:.2f}"
    return fields


async def _page(
    page: PageContext, form: Form | None = None, bundle: Form | None = None, *, status: int = 200
) -> web.Response:
    app = page.request.app
    tokens, bundles = app[TOKENS], app[BUNDLES]
    catalogue, versions = await tokens.offers.current(), await tokens.offers.versions()
    scopes = tokens.scopes.names
    if form is None:
        form = Form(_fields(catalogue, scopes))
    rows = sum(name.startswith("hours_") for name in form.values)
    choices = view_models.scope_choices(scopes, app[SETTINGS])
    return page.render(
        "admin/offers.html",
        status=status,
        form=form,
        rows=min(_MAX_ROWS, max(rows, len(catalogue.known_durations) + _BLANK_ROWS)),
        scopes=choices,
        bundle_scopes=[(one.name, one.title) for one in choices],
        versions=versions,
        seen=form.text("seen") or str(versions[0].number if versions else 0),
        bundles=await bundles.listed(active_only=False),
        bundle=bundle or Form({"scope": FULL, "token_count": "5", "duration_hours": "24"}),
    )


@routes.get("/admin/offers")
async def offers(page: PageContext) -> web.StreamResponse:
    """The price list in force, its versions, and all bundles."""
    return await _page(page)


def _read(form: Form, scopes: list[str]) -> Catalogue:
    """The price list of the form, with errors in the form."""
    prices: dict[int, Decimal | None] = {}
    special: dict[str, dict[int, Decimal | None]] = {scope: {} for scope in scopes if scope != FULL}
    for row in range(_MAX_ROWS):
        if not form.text(f"hours_{row}"):
            continue
        try:
            hours = parse_duration(form.text(f"hours_{row}"))
        except ValueError:
            form.fail(f"hours_{row}", _("Please enter a duration, such as 6, 12h or 30d."))
            continue
        if hours in prices:
            form.fail(f"hours_{row}", _("This duration is in the list already."))
        for scope, price in _row(form, row, scopes):
            if scope == FULL:
                prices[hours] = price
            else:
                special[scope][hours] = price
        prices.setdefault(hours, None)
    return Catalogue(prices, {scope: table for scope, table in special.items() if table})


def _row(form: Form, row: int, scopes: list[str]) -> Iterator[tuple[str, Decimal | None]]:
    for scope in scopes:
        name = f"price_{row}_{scope}"
        typed = form.text(name).replace(",", ".")
        if not typed:
            continue
        try:
            yield scope, parse_price("off" if typed.lower() == _("off") else typed)
        except ValueError:
            form.fail(name, _("Please enter a price, such as 2.50, 0 for free, or off."))


def _time(form: Form) -> datetime | None:
    """The time from which the price list is in force, in UTC; ``None`` is now."""
    typed = form.text("effective_from")
    if not typed:
        return None
    try:
        return datetime.fromisoformat(typed).replace(tzinfo=UTC)
    except ValueError:
        form.fail("effective_from", _("Please enter a date and a time, such as 2026-12-01 08:00."))
        return None


@routes.post("/admin/offers")
async def publish(page: PageContext) -> web.StreamResponse:
    """Publish a price list, now or from a later time."""
    service, form = page.request.app[TOKENS], await page.form()
    catalogue: Catalogue | None = None
    if form.text("use") != "settings":
        catalogue = _read(form, service.scopes.names)
    effective_from = _time(form)
    seen = form.whole_number("seen")
    if not form.ok:
        return await _page(page, form, status=422)
    try:
        number = await service.offers.publish(
            page.actor,
            catalogue,
            effective_from=effective_from,
            seen=-1 if seen is None else seen,
        )
    except OffersChanged:
        page.flash(
            "bad", _("Another administrator has published offers. Check them and publish again.")
        )
        return page.redirect("/admin/offers")
    page.flash("good", _("Price list %(number)s is published.", number=number))
    return page.redirect("/admin/offers")


# --- bundles


@routes.post("/admin/bundles")
async def create_bundle(page: PageContext) -> web.StreamResponse:
    """Create a bundle and put it on sale."""
    app, form = page.request.app, await page.form()
    values = _bundle(form)
    if values is not None and values["scope"] not in app[TOKENS].scopes.names:
        form.fail("scope", _("Please choose a scope."))
    if values is None or not form.ok:
        return await _page(page, bundle=form, status=422)
    await app[BUNDLES].create(page.actor, **values)
    page.flash("good", _("The bundle is on sale."))
    return page.redirect("/admin/offers#bundles")


@routes.post("/admin/bundles/{id}")
async def change_bundle(page: PageContext) -> web.StreamResponse:
    """Change the price of a bundle, or take it off sale."""
    form = await page.form()
    try:
        price = parse_price(form.text("price").replace(",", "."))
    except ValueError:
        page.flash("bad", _("Please enter a price, such as 2.50, 0 for free, or off."))
        return page.redirect("/admin/offers#bundles")
    values: dict[str, Any] = {"is_active": form.text("is_active") == "yes"}
    if price is not None:
        values["price"] = price
    await page.request.app[BUNDLES].change(page.actor, path_id(page), **values)
    page.flash("good", _("The bundle is changed. Tokens already sold stay as they are."))
    return page.redirect("/admin/offers#bundles")


def _bundle(form: Form) -> dict[str, Any] | None:
    """The values of a new bundle; ``None`` with errors in the form."""
    given: dict[str, Any] = {name: form.text(name) for name in ("name", "description", "scope")}
    given["price_znc"] = form.text("price_znc").replace(",", ".")
    try:
        given["duration_hours"] = parse_duration(form.text("duration_hours"))
    except ValueError:
        form.fail("duration_hours", _("Please enter a duration, such as 6, 12h or 30d."))
        return None
    given["token_count"] = form.whole_number("token_count") or 0
    try:
        values = NewBundle.model_validate(given).model_dump()
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            form.fail(
                str(problem["loc"][0]), _("This value is not accepted. Please enter another one.")
            )
        return None
    values["price"] = values.pop("price_znc")
    return values
