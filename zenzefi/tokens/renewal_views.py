"""The endpoints of renewals."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from aiohttp import web

from zenzefi.accounts.identity import User
from zenzefi.api.models import Body, MoneyOut, Output, Price
from zenzefi.api.permissions import KeyPermission
from zenzefi.api.routing import Routes, actor_of
from zenzefi.errors import NotFound
from zenzefi.tokens.errors import NotRenewable
from zenzefi.tokens.renewals import RENEWALS, Renewal
from zenzefi.tokens.service import TOKENS

routes = Routes("Tokens")


class RenewalOn(Body):
    """The renewal of a token when it ends."""

    ceiling_znc: Price
    """The highest price that the renewal may cost, in ZNC."""


class RenewalOut(Output):
    """The renewal of a token."""

    token_id: UUID
    """The token that is renewed."""
    status: Literal["off", "waiting", "stopped", "renewed", "failed"]
    """`waiting`: it is renewed when it ends. `off`: its renewal was never switched on."""
    ceiling_znc: MoneyOut | None
    """The highest price that the renewal may cost, in ZNC, or `null`."""
    reason: str | None
    """Why it failed or was stopped, or `null`; for example `insufficient_balance`."""
    price_znc: MoneyOut | None
    """The price paid, in ZNC; `null` unless it was renewed."""
    next_token_id: UUID | None
    """The new token; `null` unless it was renewed."""


def _out(token_id: UUID, found: Renewal | None) -> RenewalOut:
    if found is None:
        return RenewalOut(
            token_id=token_id,
            status="off",
            ceiling_znc=None,
            reason=None,
            price_znc=None,
            next_token_id=None,
        )
    return RenewalOut.model_validate(
        {
            "token_id": found.token_id,
            "status": found.status,
            "ceiling_znc": found.ceiling,
            "reason": found.reason,
            "price_znc": found.price,
            "next_token_id": found.next_token_id,
        }
    )


@routes.get("/tokens/{token_id}/renewal", errors=(NotFound,))
async def renewal(request: web.Request, user: User, token_id: UUID) -> RenewalOut:
    """The renewal of one of your tokens."""
    await request.app[TOKENS].find(token_id, user.id)
    return _out(token_id, await request.app[RENEWALS].find(token_id, user.id))


@routes.post(
    "/tokens/{token_id}/renewal",
    permission=KeyPermission.BUY,
    errors=(NotFound, NotRenewable),
)
async def switch_on(
    request: web.Request, user: User, token_id: UUID, body: RenewalOn
) -> RenewalOut:
    """Renew one of your tokens from your balance when it ends.

    The new token has the same duration, scope and name, and is renewed in turn. It has a new value,
    and its time starts with its first use. A repeated call changes the ceiling.
    """
    found = await request.app[RENEWALS].switch_on(
        actor_of(request, user), token_id, user.id, body.ceiling_znc
    )
    return _out(token_id, found)


@routes.delete("/tokens/{token_id}/renewal", errors=(NotFound, NotRenewable))
async def stop(request: web.Request, user: User, token_id: UUID) -> RenewalOut:
    """Do not renew one of your tokens when it ends."""
    found = await request.app[RENEWALS].stop(actor_of(request, user), token_id, user.id)
    return _out(token_id, found)
