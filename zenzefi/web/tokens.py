"""Pages about access tokens: the list, one token, buying, opening, revoking, how to connect."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import UUID

from aiohttp import web
from markupsafe import Markup
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from zenzefi import i18n
from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.errors import NotFound
from zenzefi.i18n import gettext as _
from zenzefi.origin import PROXY_PREFIX
from zenzefi.rate_limits.middleware import limit_release
from zenzefi.settings import DURATIONS, SETTINGS
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.devices import DEVICES
from zenzefi.tokens.schemas import Purchase
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.session_queries import SESSION_QUERIES, spread
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import charts, view_models
from zenzefi.web.forms import BLANK, Form
from zenzefi.web.open_upstream import browser_address, entrance
from zenzefi.web.page import Access, Page, Routes, path_id
from zenzefi.web.public import site
from zenzefi.web.view_models import Ticket, ticket

routes = Routes(access=Access.SIGNED_IN, section="/account")

_ENDED_SHOWN = 4
_CHART_DAYS = 14
_HOURS = 24


class _Bought(BaseModel):
    """What a purchase is remembered by, so that sending the form twice buys once."""

    token_id: UUID


async def _ticket(page: Page, token_id: UUID) -> Ticket:
    token = await page.request.app[TOKENS].find(token_id, page.user.id)
    return ticket(token, page.request.app[SETTINGS])


async def _tickets(page: Page, *, active_only: bool = False) -> list[Ticket]:
    found = await page.request.app[TOKENS].of_user(page.user.id, active_only=active_only, limit=500)
    return [ticket(token, page.request.app[SETTINGS]) for token in found]


@routes.get("/account")
async def listing(page: Page) -> web.StreamResponse:
    """All tokens: those that can be used first, the running ones before the waiting ones."""
    tickets = await _tickets(page)
    current = [one for one in tickets if not one.ended]
    current.sort(key=lambda one: (one.state != "active", one.seconds_left))
    ended = [one for one in tickets if one.ended]
    shown = ended if page.request.query.get("ended") == "all" else ended[:_ENDED_SHOWN]
    return page.render(
        "account/tokens.html",
        current=current,
        ended=shown,
        more_ended=len(ended) > len(shown),
        active_count=sum(one.state == "active" for one in current),
        site=site(page),
    )


# --- buying


async def _buy_page(page: Page, form: Form, *, status: int = 200) -> web.Response:
    app = page.request.app
    return page.render(
        "account/buy.html",
        status=status,
        form=form,
        once=secrets.token_urlsafe(18),
        offers=view_models.offers(app[SETTINGS]),
        scopes=view_models.scopes(app[TOKENS].scopes.names),
        bundles=await app[BUNDLES].listed(),
    )


@routes.get("/account/buy", section="/account/buy")
async def buy_form(page: Page) -> web.StreamResponse:
    """The choice of durations and scopes."""
    wanted = page.request.query.get("hours", "24")
    chosen = wanted if wanted in map(str, DURATIONS) else "24"
    return await _buy_page(page, Form({"duration_hours": chosen, "scope": "full"}))


@routes.post("/account/buy", section="/account/buy")
async def buy(page: Page) -> web.StreamResponse:
    """Buy one token; sent twice, the form buys once."""
    app = page.request.app
    form = await page.form()
    hours, scope = form.text("duration_hours"), form.text("scope") or "full"
    if hours not in map(str, DURATIONS):
        form.fail("duration_hours", _("Please choose how long the token lasts."))
        return await _buy_page(page, form, status=422)
    if form.text(f"seen_{hours}") not in ("", f"{app[SETTINGS].price(int(hours)):.2f}"):
        form.fail(
            "",
            _(
                "The price has changed in the meantime. Nothing was "
                "bought; please check the new price."
            ),
        )
        return await _buy_page(page, form, status=422)
    if scope not in app[TOKENS].scopes.names:
        form.fail("", _("Please choose what the token opens."))
        return await _buy_page(page, form, status=422)

    async def work(connection: AsyncConnection) -> _Bought:
        token = await app[TOKENS].purchase(
            connection, page.actor, page.user.id, duration_hours=int(hours), scope=scope
        )
        return _Bought(token_id=token.id)

    try:
        bought = await app[IDEMPOTENCY].run(
            page.user.id,
            form_key(form.text("once"), hours, scope),
            "pages.buy",
            Purchase(duration_hours=int(hours), scope=scope),
            _Bought,
            work,
        )
    except InsufficientBalance:
        price = app[SETTINGS].price(int(hours))
        missing = price - page.user.currency_balance
        form.fail(
            "",
            _(
                "This costs %(price)s. Top up %(missing)s more, then buy it.",
                price=i18n.money(price),
                missing=i18n.money(missing),
            ),
        )
        return await _buy_page(page, form, status=422)
    page.flash("good", _("Yours. The clock starts with the first request."))
    return page.redirect(f"/account/tokens/{bought.token_id}")


# --- one token


async def _token_page(
    page: Page, token_id: UUID, form: Form | None = None, *, status: int = 200
) -> web.Response:
    shown = await _ticket(page, token_id)
    uses = page.request.app[SESSION_QUERIES]
    use = await uses.of_token(token_id)
    return page.render(
        "account/token.html",
        status=status,
        token=shown,
        form=form or Form({"name": shown.name}),
        device_seen_at=await uses.device_seen_at(token_id),
        use=use,
        chart=await _chart(page, shown),
    )


async def _chart(page: Page, shown: Ticket) -> Markup:
    """Traffic by the hour for a token of a day or less, by the day for a longer one."""
    zone = i18n.current().zone
    by_hour = shown.hours <= _HOURS
    now = page.request.app[TOKEN_VALIDATOR].now().astimezone(zone)
    last = now.replace(minute=0, second=0, microsecond=0)
    if shown.expires_at is not None:
        last = min(last, shown.expires_at.astimezone(zone).replace(minute=0, second=0))
    if by_hour:
        step, count = timedelta(hours=1), _HOURS
        label = i18n.hour
    else:
        last, step, count = last.replace(hour=0), timedelta(days=1), _CHART_DAYS
        label = i18n.day
    edges = [last - step * back for back in range(count - 1, -2, -1)]
    spans = spread(await page.request.app[SESSION_QUERIES].since(shown.id, edges[0]), edges)
    if not any(received or sent for received, sent in spans):
        return Markup()
    title = _("Traffic by the hour") if by_hour else _("Traffic by the day")
    bars = [charts.Bar(label(edge), *span) for edge, span in zip(edges, spans, strict=False)]
    return charts.traffic(title, bars)


@routes.get("/account/tokens/{id}")
async def one(page: Page) -> web.StreamResponse:
    """A token with its value, device and use."""
    return await _token_page(page, path_id(page))


@routes.post("/account/tokens/{id}/name")
async def rename(page: Page) -> web.StreamResponse:
    """Name a token."""
    token_id, form = path_id(page), await page.form()
    name = form.text("name")
    if len(name) > 100:
        form.fail("name", _("At most 100 characters, please."))
    if not name.isprintable():
        form.fail("name", _("One line of ordinary characters, please."))
    if not form.ok:
        return await _token_page(page, token_id, form, status=422)
    await page.request.app[TOKENS].rename(token_id, page.user.id, name or None)
    page.flash("good", _("The name is saved."))
    return page.redirect(f"/account/tokens/{token_id}")


@routes.post("/account/tokens/{id}/release")
async def release(page: Page) -> web.StreamResponse:
    """Forget which device holds a token."""
    shown = await _ticket(page, path_id(page))
    await limit_release(page.request, shown.id)
    await page.request.app[DEVICES].release(shown.id)
    page.flash("good", _("The device is released. The next one that connects holds the token."))
    return page.redirect(f"/account/tokens/{shown.id}")


@routes.post("/account/tokens/{id}/sessions/{session}/end")
async def end_session(page: Page) -> web.StreamResponse:
    """Close what one session of use has open; the token stays good."""
    await page.request.app[SESSION_TRACKER].end(page.actor, path_id(page, "session"), page.user.id)
    page.flash("good", _("The session has ended, and its open connections are closed."))
    return page.redirect(f"/account/tokens/{path_id(page)}")


@routes.get("/account/tokens/{id}/revoke")
async def revoke_form(page: Page) -> web.StreamResponse:
    """Ask before revoking, and say what comes back."""
    shown = await _ticket(page, path_id(page))
    if shown.ended:
        return page.redirect(f"/account/tokens/{shown.id}")
    return page.render(
        "account/revoke.html",
        token=shown,
        balance_after=page.user.currency_balance + shown.refund,
    )


@routes.post("/account/tokens/{id}/revoke")
async def revoke(page: Page) -> web.StreamResponse:
    """End a token at once."""
    done = await page.request.app[TOKENS].revoke(page.actor, path_id(page), owner_id=page.user.id)
    if done.refund > 0:
        amount = i18n.money(done.refund)
        page.flash("good", _("The token is revoked. %(amount)s came back.", amount=amount))
    else:
        page.flash("good", _("The token is revoked."))
    return page.redirect("/account")


@routes.post("/account/tokens/{id}/open")
async def open_through(page: Page) -> web.StreamResponse:
    """Give this browser the way through, and go there."""
    token = await page.request.app[TOKENS].find(path_id(page), page.user.id)
    if not token.is_active or token.plaintext is None:
        raise NotFound
    return await entrance(page, token.plaintext)


# --- how to connect


@routes.get("/account/connect", section="/account/connect")
async def connect(page: Page) -> web.StreamResponse:
    """Three ways, filled in with the user's own token and this gate's addresses."""
    tickets = [one for one in await _tickets(page, active_only=True) if one.value]
    wanted = page.request.query.get("token", "")
    tickets.sort(key=lambda one: (str(one.id) != wanted, one.state != "active"))
    chosen = tickets[0] if tickets else None
    settings = page.request.app[SETTINGS]
    gate = str(settings.public_origin)
    prefix = gate + PROXY_PREFIX + "/"
    return page.render(
        "account/connect.html",
        token=chosen,
        tokens=[(str(one.id), one.title) for one in sorted(tickets, key=lambda one: one.title)],
        blank=BLANK,
        site=site(page),
        gate=gate,
        entry=browser_address(page),
        prefix=prefix,
        websocket=prefix.replace("http", "ws", 1),
        status_url=f"{prefix}status",
    )
