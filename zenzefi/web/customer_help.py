"""Page for administrators that helps one customer."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from zenzefi import i18n
from zenzefi.accounts.errors import EmailTaken
from zenzefi.accounts.links import Purpose
from zenzefi.admin import help_mail
from zenzefi.admin.customer_help import CUSTOMER_HELP, PasswordRecentlyReset, TwoStepNotEnabled
from zenzefi.admin.help_schemas import AddressCorrection, Explained, IssuedToken, NoteChange
from zenzefi.api.idempotency import IDEMPOTENCY, form_key
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound, RateLimited
from zenzefi.i18n import gettext as _
from zenzefi.settings import DURATIONS, SETTINGS
from zenzefi.tokens.service import TOKENS
from zenzefi.web import confirmation, view_models
from zenzefi.web.forms import Form
from zenzefi.web.outgoing_mail import has_mail
from zenzefi.web.page import PageContext, path_id
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.ADMINISTRATOR, section="/admin")

_BASE = "/admin/users/{id}/help"


async def _help_page(
    page: PageContext, form: Form | None = None, *, status: int = 200
) -> web.Response:
    app, user_id = page.request.app, path_id(page)
    person = await app[CUSTOMER_HELP].user(user_id)
    note = await app[CUSTOMER_HELP].note(user_id)
    return page.render(
        "admin/help.html",
        status=status,
        person=person,
        form=form or Form({"email": person.email, "note": note, "duration_hours": "24"}),
        note=note,
        once=secrets.token_urlsafe(18),
        durations=[(str(hours), i18n.hours(hours)) for hours in DURATIONS],
        scopes=[
            (one.name, one.title)
            for one in view_models.scope_choices(app[TOKENS].scopes.names, app[SETTINGS])
        ],
        mail=has_mail(page.request),
        confirmations=confirmation,
    )


@routes.get(_BASE)
async def help_form(page: PageContext) -> web.StreamResponse:
    """The page with all actions for this customer."""
    return await _help_page(page)


async def _send_link(page: PageContext, user_id: UUID, purpose: Purpose) -> None:
    app = page.request.app
    help_mail.require_mail(app)
    user, secret = await app[CUSTOMER_HELP].link(page.actor, user_id, purpose)
    origin = app[SETTINGS].public_origin
    help_mail.send(app, user, help_mail.message_with_link(origin, user, purpose, secret))
    page.flash("good", _("A link is on its way to %(email)s.", email=user.email))


async def _reset_password(page: PageContext, user_id: UUID) -> None:
    await _send_link(page, user_id, Purpose.RESET)


async def _reset_two_step(page: PageContext, user_id: UUID) -> None:
    await _send_link(page, user_id, Purpose.SECOND_FACTOR)


async def _end_sign_ins(page: PageContext, user_id: UUID) -> None:
    await page.request.app[CUSTOMER_HELP].end_sign_ins(page.actor, user_id)
    page.flash("good", _("All sign-ins of this account have ended."))


_ACTIONS: dict[str, Callable[[PageContext, UUID], Awaitable[None]]] = {
    "reset-password": _reset_password,
    "reset-two-step": _reset_two_step,
    "end-sign-ins": _end_sign_ins,
}


@routes.post(_BASE)
async def act(page: PageContext) -> web.StreamResponse:
    """Send a link, or end the sign-ins."""
    user_id, form = path_id(page), await page.form()
    action = _ACTIONS.get(form.text("action"))
    if action is None:
        raise NotFound
    try:
        await action(page, user_id)
    except help_mail.MailNotConfigured:
        page.flash("bad", _("This site sends no e-mail. Set MAIL_URL."))
    except TwoStepNotEnabled:
        page.flash("bad", _("This user has no two-step sign-in."))
    except PasswordRecentlyReset:
        page.flash(
            "bad",
            _(
                "A link has replaced this user's password in the last three days. Until then, no "
                "link can switch two-step sign-in off: the mailbox alone would be enough for both."
            ),
        )
    except RateLimited:
        page.flash("bad", _("This user was sent several links. Wait an hour."))
    return page.redirect(f"/admin/users/{user_id}/help")


@routes.post(_BASE + "/email")
async def correct_address(page: PageContext) -> web.StreamResponse:
    """Correct the e-mail address."""
    user_id, form = path_id(page), await page.form()
    entry = form.read(AddressCorrection, "email")
    if entry is not None:
        try:
            before = await page.request.app[CUSTOMER_HELP].correct_address(
                page.actor, user_id, entry.email
            )
        except EmailTaken:
            form.fail("email", _("An account with this address already exists."))
        else:
            app = page.request.app
            notice = help_mail.address_changed(app[SETTINGS].public_origin, before)
            help_mail.send(app, before, notice)
            page.flash("good", _("The address is corrected. It is not confirmed yet."))
            return page.redirect(f"/admin/users/{user_id}")
    return await _help_page(page, form, status=422)


@routes.post(_BASE + "/note")
async def set_note(page: PageContext) -> web.StreamResponse:
    """Replace the note."""
    user_id, form = path_id(page), await page.form()
    entry = form.read(NoteChange, "note")
    if entry is None:
        return await _help_page(page, form, status=422)
    await page.request.app[CUSTOMER_HELP].set_note(page.actor, user_id, entry.note)
    page.flash("good", _("Saved."))
    return page.redirect(f"/admin/users/{user_id}")


class _Issued(BaseModel):
    """Stored result of an issue: a form sent twice issues one token."""

    token_id: UUID


@routes.post(_BASE + "/token")
async def issue_token(page: PageContext) -> web.StreamResponse:
    """Give the user a token free of charge."""
    user_id, form = path_id(page), await page.form()
    hours, scope = form.text("duration_hours"), form.text("scope")
    if hours not in map(str, DURATIONS):
        form.fail("duration_hours", _("Please choose how long the token lasts."))
    if scope not in page.request.app[TOKENS].scopes.names:
        form.fail("scope", _("Please choose a scope."))
    reason = Form({"reason": form.text("reason")}).read(Explained, "reason")
    if reason is None:
        form.fail("reason", _("Please fill this in."))
    if not form.ok or reason is None:
        return await _help_page(page, form, status=422)
    given = IssuedToken(duration_hours=int(hours), scope=scope, reason=reason.reason)

    async def work(connection: AsyncConnection) -> _Issued:
        token = await page.request.app[CUSTOMER_HELP].issue_token(
            connection,
            page.actor,
            user_id,
            duration_hours=given.duration_hours,
            scope=given.scope,
            reason=given.reason,
        )
        return _Issued(token_id=token.id)

    await page.request.app[IDEMPOTENCY].run(
        page.user.id,
        form_key(form.text("once"), given),
        f"pages.issue.{user_id.hex}",
        given,
        _Issued,
        work,
    )
    page.flash("good", _("The token is issued. The user sees it in the list of tokens."))
    return page.redirect(f"/admin/users/{user_id}")
