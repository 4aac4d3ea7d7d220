"""Operations of the administration API that help customers."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from zenzefi.accounts.errors import EmailTaken
from zenzefi.accounts.identity import User
from zenzefi.accounts.links import Purpose
from zenzefi.admin import help_mail
from zenzefi.admin.customer_help import CUSTOMER_HELP, PasswordRecentlyReset, TwoStepNotEnabled
from zenzefi.admin.help_mail import MailNotConfigured
from zenzefi.admin.help_schemas import (
    AddressCorrection,
    Debit,
    Debited,
    HelpDone,
    IssuedToken,
    NoteChange,
    NoteOut,
    TokenIssued,
    TokenRefunded,
)
from zenzefi.api.idempotency import HEADER, IDEMPOTENCY, IdempotencyInFlight, key_of
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import Routes, actor_of
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound, RateLimited
from zenzefi.settings import SETTINGS
from zenzefi.tokens.service import TOKENS

routes = Routes("Administration")


async def send_link(request: web.Request, admin: User, user_id: UUID, purpose: Purpose) -> None:
    """Send a one-time link to a user. Raises what :meth:`CustomerHelp.link` raises."""
    help_mail.require_mail(request.app)
    user, secret = await request.app[CUSTOMER_HELP].link(actor_of(request, admin), user_id, purpose)
    origin = request.app[SETTINGS].public_origin
    help_mail.send(request.app, user, help_mail.message_with_link(origin, user, purpose, secret))


@routes.post(
    "/admin/users/{user_id}/reset-password",
    permission=KeyPermission.ADMIN_ACCOUNTS,
    errors=(NotFound, MailNotConfigured, RateLimited),
)
async def reset_password(request: web.Request, admin: User, user_id: UUID) -> HelpDone:
    """Send the user a link to choose a new password."""
    await send_link(request, admin, user_id, Purpose.RESET)
    return HelpDone()


@routes.post(
    "/admin/users/{user_id}/reset-two-step",
    permission=KeyPermission.ADMIN_ACCOUNTS,
    errors=(
        NotFound,
        MailNotConfigured,
        TwoStepNotEnabled,
        PasswordRecentlyReset,
        RateLimited,
    ),
)
async def reset_two_step(request: web.Request, admin: User, user_id: UUID) -> HelpDone:
    """Send the user a link that switches two-step sign-in off, after the password."""
    await send_link(request, admin, user_id, Purpose.SECOND_FACTOR)
    return HelpDone()


@routes.patch(
    "/admin/users/{user_id}/email",
    permission=KeyPermission.ADMIN_ACCOUNTS,
    errors=(NotFound, EmailTaken),
)
async def correct_address(
    request: web.Request, admin: User, user_id: UUID, body: AddressCorrection
) -> HelpDone:
    """Correct the e-mail address of a user. The old address is notified."""
    before = await request.app[CUSTOMER_HELP].correct_address(
        actor_of(request, admin), user_id, body.email
    )
    origin = request.app[SETTINGS].public_origin
    help_mail.send(request.app, before, help_mail.address_changed(origin, before))
    return HelpDone()


@routes.post(
    "/admin/users/{user_id}/end-sign-ins",
    permission=KeyPermission.ADMIN_ACCOUNTS,
    errors=(NotFound,),
)
async def end_sign_ins(request: web.Request, admin: User, user_id: UUID) -> HelpDone:
    """End all sign-ins of a user, on every node. Access tokens stay valid."""
    await request.app[CUSTOMER_HELP].end_sign_ins(actor_of(request, admin), user_id)
    return HelpDone()


@routes.get("/admin/users/{user_id}/note", errors=(NotFound,))
async def note(request: web.Request, admin: User, user_id: UUID) -> NoteOut:
    """The note on a user."""
    await request.app[CUSTOMER_HELP].user(user_id)
    return NoteOut(note=await request.app[CUSTOMER_HELP].note(user_id))


@routes.patch("/admin/users/{user_id}/note", errors=(NotFound,))
async def set_note(request: web.Request, admin: User, user_id: UUID, body: NoteChange) -> NoteOut:
    """Replace the note on a user, which only administrators see."""
    await request.app[CUSTOMER_HELP].set_note(actor_of(request, admin), user_id, body.note)
    return NoteOut(note=body.note)


@routes.post(
    "/admin/users/{user_id}/debit",
    errors=(NotFound, InsufficientBalance, IdempotencyInFlight),
    headers=(HEADER,),
)
async def debit(request: web.Request, admin: User, user_id: UUID, body: Debit) -> Debited:
    """Debit an account, with a reason for the ledger."""

    async def work(connection: AsyncConnection) -> Debited:
        movement = await request.app[CUSTOMER_HELP].debit(
            connection,
            actor_of(request, admin),
            user_id,
            amount=body.amount,
            reason=body.reason,
        )
        return Debited(
            transaction_id=movement.id,
            user_id=user_id,
            amount=body.amount,
            new_balance=movement.balance,
        )

    return await request.app[IDEMPOTENCY].run(
        admin.id, key_of(request), f"debit.{user_id.hex}", body, Debited, work
    )


@routes.post(
    "/admin/users/{user_id}/tokens",
    status=201,
    errors=(NotFound, IdempotencyInFlight),
    headers=(HEADER,),
)
async def issue_token(
    request: web.Request, admin: User, user_id: UUID, body: IssuedToken
) -> TokenIssued:
    """Give a user a token free of charge."""

    async def work(connection: AsyncConnection) -> TokenIssued:
        token = await request.app[CUSTOMER_HELP].issue_token(
            connection,
            actor_of(request, admin),
            user_id,
            duration_hours=body.duration_hours,
            scope=body.scope,
            reason=body.reason,
        )
        return TokenIssued(token_id=token.id, token_prefix=token.prefix)

    return await request.app[IDEMPOTENCY].run(
        admin.id, key_of(request), f"issue.{user_id.hex}", body, TokenIssued, work
    )


@routes.post("/admin/tokens/{token_id}/refund", errors=(NotFound,))
async def refund_token(request: web.Request, admin: User, token_id: UUID) -> TokenRefunded:
    """Revoke a token with the refund that its owner would get."""
    revoked = await request.app[TOKENS].revoke(
        actor_of(request, admin), token_id, owner_id=None, reason="revoked_by_administrator"
    )
    return TokenRefunded(refund_amount=revoked.refund, new_balance=revoked.balance)
