"""Pages about access tokens: details, opening, revoking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from aiohttp import web
from markupsafe import Markup

from zenzefi import i18n
from zenzefi.errors import GateError, NotFound
from zenzefi.i18n import gettext as _
from zenzefi.rate_limits.middleware import limit_release
from zenzefi.settings import SETTINGS
from zenzefi.tokens.devices import DEVICES
from zenzefi.tokens.errors import NotRenewable
from zenzefi.tokens.renewal_views import RenewalOn
from zenzefi.tokens.renewals import RENEWALS, Renewal
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.session_queries import SESSION_QUERIES
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import labels, usage
from zenzefi.web.forms import Form
from zenzefi.web.open_upstream import redirect_to_upstream
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes
from zenzefi.web.view_models import TokenCard, token_card

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account")

_CHARTED = timedelta(days=90)


async def _card(page: PageContext, token_id: UUID) -> TokenCard:
    token = await page.request.app[TOKENS].find(token_id, page.user.id)
    return token_card(token, page.request.app[SETTINGS])


# --- one token


async def _token_page(
    page: PageContext, token_id: UUID, form: Form | None = None, *, status: int = 200
) -> web.Response:
    shown = await _card(page, token_id)
    uses = page.request.app[SESSION_QUERIES]
    use = await uses.of_token(token_id)
    return page.render(
        "account/token.html",
        status=status,
        token=shown,
        form=form or Form({"name": shown.name}),
        renewal=await _renewal(page, token_id),
        device_seen_at=await uses.device_seen_at(token_id),
        use=use,
        chart=await _chart(page, shown),
    )


async def _chart(page: PageContext, shown: TokenCard) -> Markup:
    """Traffic from the first use to now, or to the end of the token; at most 90 days."""
    if shown.activated_at is None:
        return Markup()
    now = page.request.app[TOKEN_VALIDATOR].now()
    end = now if shown.expires_at is None else min(now, shown.expires_at)
    begin = max(shown.activated_at, end - _CHARTED)
    sessions = await page.request.app[SESSION_QUERIES].since(begin, token_id=shown.id)
    return usage.chart(_("Traffic"), sessions, begin, end)


@dataclass(frozen=True, slots=True)
class RenewalCard:
    """The renewal of a token, as its page shows it."""

    renewal: Renewal | None
    price: Decimal | None
    """The current price in ZNC; ``None`` where such tokens are not on sale."""
    reason: str

    @property
    def is_on(self) -> bool:
        """Whether the token will be renewed when it ends."""
        return self.renewal is not None and self.renewal.is_on


async def _renewal(page: PageContext, token_id: UUID) -> RenewalCard:
    tokens = page.request.app[TOKENS]
    token = await tokens.find(token_id, page.user.id)
    found = await page.request.app[RENEWALS].find(token_id, page.user.id)
    try:
        price: Decimal | None = await tokens.price(token.duration_hours, token.scope)
    except GateError:
        price = None
    reason = labels.renewal_reason(found.reason) if found is not None and found.reason else ""
    return RenewalCard(found, price, reason)


@routes.get("/account/tokens/{id}")
async def one(page: PageContext) -> web.StreamResponse:
    """One token with its value, device and sessions."""
    return await _token_page(page, path_id(page))


@routes.post("/account/tokens/{id}/name")
async def rename(page: PageContext) -> web.StreamResponse:
    """Name a token."""
    token_id, form = path_id(page), await page.form()
    name = form.text("name")
    if len(name) > 100:
        form.fail("name", _("At most 100 characters, please."))
    if not name.isprintable():
        form.fail("name", _("Please use one line of printable characters."))
    if not form.ok:
        return await _token_page(page, token_id, form, status=422)
    await page.request.app[TOKENS].rename(token_id, page.user.id, name or None)
    page.flash("good", _("The name is saved."))
    return page.redirect(f"/account/tokens/{token_id}")


@routes.post("/account/tokens/{id}/renewal")
async def renew(page: PageContext) -> web.StreamResponse:
    """Renew a token when it ends, up to a price."""
    token_id, form = path_id(page), await page.form()
    entry = Form({"ceiling_znc": form.amount_text("ceiling")}).read(RenewalOn, "ceiling_znc")
    if entry is None:
        form.fail("ceiling", _("Please enter an amount, such as 100 or 12.50."))
        return await _token_page(page, token_id, form, status=422)
    try:
        await page.request.app[RENEWALS].switch_on(
            page.actor, token_id, page.user.id, entry.ceiling_znc
        )
    except NotRenewable:
        page.flash("bad", _("This token has ended. Buy a new one."))
    else:
        page.flash("good", _("The token will be renewed when it ends."))
    return page.redirect(f"/account/tokens/{token_id}")


@routes.post("/account/tokens/{id}/renewal/stop")
async def stop_renewal(page: PageContext) -> web.StreamResponse:
    """Do not renew a token when it ends."""
    try:
        await page.request.app[RENEWALS].stop(page.actor, path_id(page), page.user.id)
    except NotRenewable:
        page.flash("info", _("The token has been renewed before."))
    else:
        page.flash("good", _("The token will not be renewed."))
    return page.redirect(f"/account/tokens/{path_id(page)}")


@routes.post("/account/tokens/{id}/release")
async def release(page: PageContext) -> web.StreamResponse:
    """Release the device of a token."""
    shown = await _card(page, path_id(page))
    await limit_release(page.request, shown.id)
    await page.request.app[DEVICES].release(shown.id)
    page.flash(
        "good", _("The device is released. The next device that connects can use the token.")
    )
    return page.redirect(f"/account/tokens/{shown.id}")


@routes.post("/account/tokens/{id}/sessions/{session}/end")
async def end_session(page: PageContext) -> web.StreamResponse:
    """End a session and close its open connections; the token stays valid."""
    await page.request.app[SESSION_TRACKER].end(page.actor, path_id(page, "session"), page.user.id)
    page.flash("good", _("The session has ended, and its open connections are closed."))
    return page.redirect(f"/account/tokens/{path_id(page)}")


@routes.get("/account/tokens/{id}/revoke")
async def revoke_form(page: PageContext) -> web.StreamResponse:
    """Confirmation of a revocation, with the refund."""
    shown = await _card(page, path_id(page))
    if shown.ended:
        return page.redirect(f"/account/tokens/{shown.id}")
    return page.render(
        "account/revoke.html",
        token=shown,
        balance_after=page.user.currency_balance + shown.refund,
    )


@routes.post("/account/tokens/{id}/revoke")
async def revoke(page: PageContext) -> web.StreamResponse:
    """Revoke a token."""
    done = await page.request.app[TOKENS].revoke(page.actor, path_id(page), owner_id=page.user.id)
    if done.refund > 0:
        amount = i18n.money(done.refund)
        page.flash("good", _("The token is revoked. %(amount)s has been refunded.", amount=amount))
    else:
        page.flash("good", _("The token is revoked."))
    return page.redirect("/account")


@routes.post("/account/tokens/{id}/open")
async def open_application(page: PageContext) -> web.StreamResponse:
    """Set the proxy cookie in this browser and redirect to the upstream."""
    token = await page.request.app[TOKENS].find(path_id(page), page.user.id)
    if not token.is_active or token.plaintext is None:
        raise NotFound
    return await redirect_to_upstream(page, token.plaintext)
