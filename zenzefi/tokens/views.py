"""The token and session endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.api.idempotency import HEADER, IDEMPOTENCY, IdempotencyInFlight, key_of
from zenzefi.api.models import Listing
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import Routes, actor_of
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.errors import NotFound, RateLimited
from zenzefi.rate_limits.middleware import limit_release
from zenzefi.tokens.devices import DEVICES
from zenzefi.tokens.errors import InvalidDuration, PromoCodeInvalid, PromoCodeUsed
from zenzefi.tokens.promo_codes import PROMO_CODES
from zenzefi.tokens.schemas import (
    Purchase,
    Released,
    Revocation,
    SessionEnded,
    SessionOut,
    SessionPage,
    TokenList,
    TokenOut,
    TokenUsageOut,
    UsageQuery,
)
from zenzefi.tokens.service import TOKENS, Revoked
from zenzefi.tokens.session_queries import SESSION_QUERIES
from zenzefi.tokens.sessions import SESSION_TRACKER
from zenzefi.tokens.token_records import TokenRecord
from zenzefi.tokens.validation import TOKEN_VALIDATOR

routes = Routes("Tokens")


def token_out(token: TokenRecord) -> TokenOut:
    """The token object of the HTTP contract."""
    return TokenOut(
        id=token.id,
        token_id=token.id,
        token=token.plaintext,
        name=token.name,
        duration_hours=token.duration_hours,
        scope=token.scope,
        cost_znc=token.cost,
        created_at=token.created_at,
        activated_at=token.activated_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        is_active=token.is_active,
    )


@routes.post(
    "/tokens/purchase",
    status=201,
    permission=KeyPermission.BUY,
    errors=(
        *(InvalidDuration, InsufficientBalance, IdempotencyInFlight),
        *(PromoCodeInvalid, PromoCodeUsed),
    ),
    headers=(HEADER,),
)
async def purchase(request: web.Request, user: User, body: Purchase) -> TokenOut:
    """Buy an access token.

    Its time starts with the first proxied request. A repeated call with the same Idempotency-Key
    and body returns the same response and charges once.
    """
    tokens = request.app[TOKENS]

    async def work(connection: AsyncConnection) -> TokenOut:
        actor = actor_of(request, user)
        choice: dict[str, Any] = {
            "duration_hours": body.duration_hours,
            "scope": body.scope,
            "name": body.name,
        }
        if body.promo_code is None:
            return token_out(await tokens.purchase(connection, actor, user.id, **choice))
        promo_codes = request.app[PROMO_CODES]
        return token_out(
            await promo_codes.purchase(connection, actor, user.id, body.promo_code, **choice)
        )

    return await request.app[IDEMPOTENCY].run(
        user.id, key_of(request), "tokens.purchase", body, TokenOut, work
    )


@routes.get("/tokens/my-tokens")
async def my_tokens(request: web.Request, user: User, query: TokenList) -> list[TokenOut]:
    """Your tokens, newest first.

    By default only active ones, neither revoked nor expired; ``active_only=false`` lists all.
    """
    found = await request.app[TOKENS].of_user(
        user.id, active_only=query.active_only, limit=query.limit, offset=query.offset
    )
    return [token_out(token) for token in found]


def _message(revoked: Revoked) -> str:
    if not revoked.was_active:
        return "This access token was revoked before. Nothing was refunded again."
    if revoked.refund > 0:
        return f"The access token is revoked. {revoked.refund:.2f} ZNC were refunded."
    if revoked.token.cost == 0:
        return "The access token is revoked. It was free, so nothing was refunded."
    return "The access token is revoked. It was used, so nothing was refunded."


@routes.delete("/tokens/{token_id}", errors=(NotFound, IdempotencyInFlight), headers=(HEADER,))
async def revoke(request: web.Request, user: User, token_id: UUID) -> Revocation:
    """Revoke one of your tokens immediately, on every node.

    An unused token is refunded in full. The connections of the token are closed.
    """
    tokens = request.app[TOKENS]

    async def work(connection: AsyncConnection) -> Revocation:
        revoked = await tokens.revoke_within(
            connection, actor_of(request, user), token_id, owner_id=user.id
        )
        return Revocation(
            revoked=True,
            refund_amount=revoked.refund,
            new_balance=revoked.balance,
            message=_message(revoked),
        )

    response = await request.app[IDEMPOTENCY].run(
        user.id, key_of(request), f"tokens.revoke.{token_id.hex}", None, Revocation, work
    )
    await tokens.announce_revocation(await tokens.find(token_id, user.id))
    return response


@routes.post("/tokens/{token_id}/release-device", errors=(NotFound, RateLimited))
async def release_device(request: web.Request, user: User, token_id: UUID) -> Released:
    """Release the device that uses the token, so that another one can use it.

    The connections of the released device are closed.
    """
    await request.app[TOKENS].find(token_id, user.id)
    await limit_release(request, token_id)
    await request.app[DEVICES].release(token_id)
    return Released(
        released=True,
        message="The device is released. The next device that uses the token is bound to it.",
    )


@routes.get("/tokens/sessions")
async def sessions(request: web.Request, user: User, query: SessionPage) -> Listing[SessionOut]:
    """Sessions of your tokens, last seen first."""
    found, total = await request.app[SESSION_QUERIES].listed(
        user_id=user.id, active_only=query.active_only, limit=query.limit, offset=query.offset
    )
    return Listing[SessionOut](
        items=[SessionOut.model_validate(one, from_attributes=True) for one in found],
        total=total,
        limit=query.limit,
        offset=query.offset,
    )


@routes.get("/tokens/usage")
async def usage(request: web.Request, user: User, query: UsageQuery) -> list[TokenUsageOut]:
    """Requests and traffic of all your tokens, busiest first."""
    begin = request.app[TOKEN_VALIDATOR].now() - timedelta(hours=query.hours)
    found = await request.app[SESSION_QUERIES].by_token(user.id, begin)
    return [TokenUsageOut.model_validate(one, from_attributes=True) for one in found]


@routes.delete("/tokens/sessions/{session_id}", errors=(NotFound,))
async def end_session(request: web.Request, user: User, session_id: UUID) -> SessionEnded:
    """End a session and close its connections; the token stays valid."""
    await request.app[SESSION_TRACKER].end(actor_of(request, user), session_id, user.id)
    return SessionEnded()
