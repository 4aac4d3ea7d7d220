"""The page on which users choose which e-mails they get."""

from __future__ import annotations

from aiohttp import web

from zenzefi import i18n
from zenzefi.db.engine import DATABASE
from zenzefi.i18n import N_
from zenzefi.i18n import gettext as _
from zenzefi.mail import notice_choices
from zenzefi.mail.notice_kinds import NoticeKind
from zenzefi.web.outgoing_mail import require_mail
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account/profile")

_LABELS = {
    NoticeKind.TOKEN_ENDS_SOON: N_("a token ends soon"),
    NoticeKind.TOKEN_ENDED: N_("a token has ended"),
    NoticeKind.RENEWAL_SOON: N_("a token will be renewed soon"),
    NoticeKind.RENEWED: N_("a token has been renewed"),
    NoticeKind.RENEWAL_FAILED: N_("a token could not be renewed"),
    NoticeKind.BALANCE_LOW: N_("the balance is low"),
    NoticeKind.PAYMENT_ARRIVED: N_("a payment has arrived"),
    NoticeKind.PAYMENT_FAILED: N_("a payment has failed"),
    NoticeKind.NEW_SIGN_IN: N_("the account is used with a new browser"),
}


@routes.get("/account/notices")
async def choices(page: PageContext) -> web.StreamResponse:
    """All kinds of notices, and which of them are on."""
    require_mail(page.request)
    return page.render(
        "account/notices.html",
        kinds=[(kind.value, _(label)) for kind, label in _LABELS.items()],
        muted=await notice_choices.muted(page.request.app[DATABASE], page.user.id),
    )


@routes.post("/account/notices")
async def save(page: PageContext) -> web.StreamResponse:
    """Store the choices, and the language of the page for the e-mails."""
    require_mail(page.request)
    form = await page.form()
    muted = [kind for kind in NoticeKind if form.text(kind.value) != "on"]
    await notice_choices.store(
        page.request.app[DATABASE], page.user.id, muted, locale=i18n.current().language
    )
    page.flash("good", _("Your choices are saved."))
    return page.redirect("/account/notices")
