"""Operations of the administration API."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from zenzefi.accounts.identity import User
from zenzefi.accounts.schemas import UserOut
from zenzefi.admin.schemas import (
    AdminPayment,
    AdminPaymentListing,
    AdminPaymentPage,
    AdminSession,
    AdminSessionPage,
    AdminToken,
    AdminTokenPage,
    AuditOut,
    AuditPage,
    BundleChange,
    Credit,
    Credited,
    NewBundle,
    PaymentTotalOut,
    TokenRevocation,
    UserChange,
    UserPage,
)
from zenzefi.admin.service import ADMINISTRATION, LastAdministrator
from zenzefi.api.idempotency import HEADER, IDEMPOTENCY, IdempotencyInFlight, key_of
from zenzefi.api.models import Listing
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import Routes, actor_of
from zenzefi.audit.reading import AUDIT_LOG, AuditFilter
from zenzefi.billing.errors import PaymentNotOpen
from zenzefi.billing.ledger import Kind
from zenzefi.billing.payment_search import PAYMENT_SEARCH, PaymentFilter
from zenzefi.billing.payments import PAYMENTS, Payment, Refund
from zenzefi.billing.providers.base import NotRefundable, ProviderFailed
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import Invalid, NotFound
from zenzefi.tokens.bundle_schemas import BundleOut
from zenzefi.tokens.bundle_views import bundle_out
from zenzefi.tokens.bundles import BUNDLES
from zenzefi.tokens.errors import InvalidDuration
from zenzefi.tokens.schemas import SessionEnded, SessionOut
from zenzefi.tokens.service import TOKENS
from zenzefi.tokens.session_queries import SESSION_QUERIES
from zenzefi.tokens.sessions import SESSION_TRACKER

routes = Routes("Administration")
_CREDITS = (Kind.DEPOSIT, Kind.BONUS, Kind.ADJUSTMENT)


@routes.get("/admin/users")
async def users(request: web.Request, admin: User, query: UserPage) -> Listing[UserOut]:
    """Users, newest first."""
    found, total = await request.app[ADMINISTRATION].users(
        search=query.search, is_active=query.is_active, limit=query.limit, offset=query.offset
    )
    items = [UserOut.of(user) for user in found]
    return Listing[UserOut](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.patch(
    "/admin/users/{user_id}",
    permission=KeyPermission.ADMIN_ACCOUNTS,
    errors=(NotFound, LastAdministrator),
)
async def change_user(
    request: web.Request, admin: User, user_id: UUID, body: UserChange
) -> UserOut:
    """Activate or deactivate a user, grant or remove administrator rights.

    Deactivation ends the user's tokens and sessions immediately, on every node.
    """
    changed = await request.app[ADMINISTRATION].change_user(
        actor_of(request, admin), user_id, body.model_dump(exclude_unset=True)
    )
    return UserOut.of(changed)


@routes.post(
    "/admin/users/{user_id}/credit", errors=(NotFound, IdempotencyInFlight), headers=(HEADER,)
)
async def credit(request: web.Request, admin: User, user_id: UUID, body: Credit) -> Credited:
    """Credit an account, with a reason for the ledger."""
    if body.transaction_type not in _CREDITS:
        raise Invalid.field(
            "body",
            "transaction_type",
            type="enum",
            msg=f"must be one of: {', '.join(kind.value for kind in _CREDITS)}",
            input=body.transaction_type.value,
        )

    async def work(connection: AsyncConnection) -> Credited:
        movement = await request.app[ADMINISTRATION].credit(
            connection,
            actor_of(request, admin),
            user_id,
            amount=body.amount,
            reason=body.reason,
            kind=body.transaction_type,
        )
        return Credited(
            transaction_id=movement.id,
            user_id=user_id,
            amount=body.amount,
            new_balance=movement.balance,
            transaction_type=body.transaction_type,
            description=body.reason,
        )

    return await request.app[IDEMPOTENCY].run(
        admin.id, key_of(request), f"credit.{user_id.hex}", body, Credited, work
    )


@routes.get("/admin/tokens")
async def tokens(request: web.Request, admin: User, query: AdminTokenPage) -> Listing[AdminToken]:
    """Access tokens, newest first, without their values."""
    found, total = await request.app[ADMINISTRATION].tokens(
        user_id=query.user_id,
        active_only=query.active_only,
        limit=query.limit,
        offset=query.offset,
    )
    items = [
        AdminToken(
            id=token.id,
            token_prefix=token.prefix,
            user_id=token.user_id,
            username=username,
            name=token.name,
            duration_hours=token.duration_hours,
            scope=token.scope,
            cost_znc=token.cost,
            refunded_znc=token.refunded,
            created_at=token.created_at,
            activated_at=token.activated_at,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
            is_active=token.is_active,
        )
        for token, username in found
    ]
    return Listing[AdminToken](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.delete("/admin/tokens/{token_id}", errors=(NotFound,))
async def revoke_token(request: web.Request, admin: User, token_id: UUID) -> TokenRevocation:
    """Revoke a token, without a refund."""
    revoked = await request.app[TOKENS].revoke(
        actor_of(request, admin),
        token_id,
        owner_id=None,
        refund=False,
        reason="revoked_by_administrator",
    )
    if revoked.was_active:
        return TokenRevocation(message="The access token is revoked. Nothing was refunded.")
    return TokenRevocation(message="This access token had been revoked already.")


@routes.get("/admin/sessions")
async def sessions(
    request: web.Request, admin: User, query: AdminSessionPage
) -> Listing[AdminSession]:
    """Sessions, last seen first."""
    found, total = await request.app[SESSION_QUERIES].listed(
        user_id=query.user_id,
        active_only=query.active_only,
        limit=query.limit,
        offset=query.offset,
    )
    administration = request.app[ADMINISTRATION]
    names = await administration.names(session.user_id for session in found)
    prefixes = await administration.token_prefixes(session.token_id for session in found)
    items = [
        AdminSession(
            **SessionOut.model_validate(session, from_attributes=True).model_dump(),
            username=names.get(session.user_id),
            token_prefix=prefixes.get(session.token_id),
        )
        for session in found
    ]
    return Listing[AdminSession](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.delete("/admin/sessions/{session_id}", errors=(NotFound,))
async def end_session(request: web.Request, admin: User, session_id: UUID) -> SessionEnded:
    """End a session and close its open connections."""
    await request.app[SESSION_TRACKER].end(actor_of(request, admin), session_id)
    return SessionEnded()


@routes.get("/admin/audit-logs")
async def audit_logs(request: web.Request, admin: User, query: AuditPage) -> Listing[AuditOut]:
    """The audit log, newest first."""
    audit_filter = AuditFilter(
        actor_id=query.user_id, action=query.action, resource_type=query.resource_type
    )
    found, total = await request.app[AUDIT_LOG].listed(
        audit_filter, limit=query.limit, offset=query.offset
    )
    items = [AuditOut.model_validate(row, from_attributes=True) for row in found]
    return Listing[AuditOut](items=items, total=total, limit=query.limit, offset=query.offset)


@routes.get("/admin/bundles")
async def bundles(request: web.Request, admin: User) -> list[BundleOut]:
    """All bundles, including those not on sale."""
    service = request.app[BUNDLES]
    offered = await service.offers.current()
    return [bundle_out(service, one, offered) for one in await service.listed(active_only=False)]


@routes.post("/admin/bundles", status=201, errors=(InvalidDuration,))
async def create_bundle(request: web.Request, admin: User, body: NewBundle) -> BundleOut:
    """Create a bundle and put it on sale."""
    service = request.app[BUNDLES]
    offered = await service.offers.current()
    if body.duration_hours not in offered.known_durations:
        raise InvalidDuration.among(offered.known_durations)
    request.app[TOKENS].check_scope(body.scope)
    values = body.model_dump()
    values["price"] = values.pop("price_znc")
    return bundle_out(service, await service.create(actor_of(request, admin), **values), offered)


@routes.patch("/admin/bundles/{bundle_id}", errors=(NotFound,))
async def change_bundle(
    request: web.Request, admin: User, bundle_id: UUID, body: BundleChange
) -> BundleOut:
    """Change a bundle for later buyers, or take it off sale."""
    service = request.app[BUNDLES]
    values = body.model_dump(exclude_unset=True)
    if "price_znc" in values:
        values["price"] = values.pop("price_znc")
    changed = await service.change(actor_of(request, admin), bundle_id, **values)
    return bundle_out(service, changed, await service.offers.current())


def _payment(payment: Payment) -> AdminPayment:
    return AdminPayment(
        payment_id=payment.id,
        user_id=payment.user_id,
        provider=payment.provider,
        reference=payment.reference,
        charge=payment.charge,
        amount_znc=payment.amount_znc,
        amount_rub=payment.amount_rub,
        currency=payment.currency,
        reversed_znc=payment.reversed_znc,
        shortfall_znc=payment.shortfall_znc,
        status=payment.status,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        credited_at=payment.credited_at,
    )


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)


@routes.get("/admin/payments")
async def payments(
    request: web.Request, admin: User, query: AdminPaymentPage
) -> AdminPaymentListing:
    """Payments, newest first, with the totals of all that match."""
    until = None if query.until is None else query.until + timedelta(days=1)
    wanted = PaymentFilter(
        user_id=query.user_id,
        number=query.number or None,
        status=query.status,
        since=_midnight(query.since),
        until=_midnight(until),
    )
    found, totals = await request.app[PAYMENT_SEARCH].find(
        wanted, limit=query.limit, offset=query.offset
    )
    return AdminPaymentListing(
        items=[_payment(payment) for payment in found],
        total=sum(one.payments for one in totals),
        limit=query.limit,
        offset=query.offset,
        totals=[PaymentTotalOut.of(one) for one in totals],
    )


@routes.post(
    "/admin/payments/{payment_id}/confirm",
    errors=(NotFound, PaymentNotOpen, IdempotencyInFlight),
    headers=(HEADER,),
)
async def confirm_payment(request: web.Request, admin: User, payment_id: UUID) -> AdminPayment:
    """Confirm and credit a manual payment, once."""

    async def work(connection: AsyncConnection) -> AdminPayment:
        payments = request.app[PAYMENTS]
        return _payment(await payments.confirm(connection, actor_of(request, admin), payment_id))

    return await request.app[IDEMPOTENCY].run(
        admin.id, key_of(request), f"confirm.{payment_id.hex}", None, AdminPayment, work
    )


class _RefundRequest(BaseModel):
    """The stored response of a refund request, so that a retry continues it."""

    payment: AdminPayment
    refund: Refund


@routes.post(
    "/admin/payments/{payment_id}/refund",
    errors=(NotFound, NotRefundable, ProviderFailed, IdempotencyInFlight),
    headers=(HEADER,),
)
async def refund_payment(request: web.Request, admin: User, payment_id: UUID) -> AdminPayment:
    """Request a refund from the payment provider; the balance changes when the provider confirms.

    Returns the payment as it was before the refund. Repeated requests before the confirmation are
    one refund.
    """
    payments = request.app[PAYMENTS]

    async def work(connection: AsyncConnection) -> _RefundRequest:
        payment, refund = await payments.request_refund(
            connection, actor_of(request, admin), payment_id
        )
        return _RefundRequest(payment=_payment(payment), refund=refund)

    requested = await request.app[IDEMPOTENCY].run(
        admin.id, key_of(request), f"refund.{payment_id.hex}", None, _RefundRequest, work
    )
    await payments.send_refund(requested.refund)
    return requested.payment
