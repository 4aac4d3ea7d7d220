"""Sign-outs at an identity provider: back-channel logout, and the way to the provider's own page.

A provider sends a signed logout token to the gate when a person signs out there (OpenID Connect
Back-Channel Logout 1.0). It ends the page sessions that were started with the identity, the proxy
sign-ins opened from them and the open connections of those browsers, on every node. With
``end_connections`` it also closes the connections of programs under the tokens of the user; the
tokens stay valid.

A captured logout token is harmless when it is sent again: it ends only sessions that were started
before it was issued.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, and_, select, update

from zenzefi.accounts.models import user_identities, web_sessions
from zenzefi.audit.log import Actor, record
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import BadRequest
from zenzefi.oidc.provider import IdentityProvider
from zenzefi.oidc.signed_tokens import LEEWAY, InvalidToken, check_audience
from zenzefi.tokens.invalidation import SIGNED_OUT, InvalidationMessage
from zenzefi.tokens.sign_ins import BrowserSignIns
from zenzefi.tokens.validation import TokenValidator

log = logging.getLogger(__name__)

EVENT = "http://schemas.openid.net/event/backchannel-logout"
MAX_AGE = 300
"""Seconds for which a logout token without ``exp`` is accepted."""
_w, _i = web_sessions.c, user_identities.c


class LogoutTokenRejected(BadRequest):
    """A logout token that is invalid (Back-Channel Logout 1.0, 2.6)."""

    code = "logout_token_rejected"
    default = "The logout token is invalid."


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A verified logout token: who has signed out, where, and when."""

    subject: str | None
    sid: str | None
    """The provider's session; ``None``: all sessions of the person."""
    issued_at: datetime


def check_logout_token(
    claims: Mapping[str, Any], *, issuer: str, client_id: str, now: int
) -> LogoutToken:
    """Check the verified claims of a logout token. Raises ``InvalidToken``."""
    if claims.get("iss") != issuer:
        raise InvalidToken("it is of another issuer")
    check_audience(claims, client_id)
    if "nonce" in claims:  # an ID token
        raise InvalidToken("it has a nonce")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise InvalidToken("it is not a logout token")
    issued, expires = claims.get("iat"), claims.get("exp", 0)
    if not _is_time(issued) or not _is_time(expires):
        raise InvalidToken("its times are malformed")
    if issued > now + LEEWAY or now > (expires or issued + MAX_AGE) + LEEWAY:
        raise InvalidToken("it has expired, or was issued in the future")
    subject, sid = claims.get("sub"), claims.get("sid")
    if not all(value is None or _is_name(value) for value in (subject, sid)):
        raise InvalidToken("it names no person and no session")
    if subject is None and sid is None:
        raise InvalidToken("it names no person and no session")
    return LogoutToken(subject, sid, datetime.fromtimestamp(issued, UTC))


def _is_time(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isascii()


class ProviderLogouts:
    """The service that ends sign-ins when a person signs out at a provider."""

    def __init__(
        self, database: Database, sign_ins: BrowserSignIns, token_validator: TokenValidator
    ) -> None:
        self._database = database
        self._sign_ins = sign_ins
        self._token_validator = token_validator

    async def receive(self, actor: Actor, provider: IdentityProvider, token: str) -> int:
        """Verify a logout token and end what it names; the number of ended page sessions.

        Raises ``LogoutTokenRejected``, ``ProviderUnavailable``.
        """
        try:
            claims = await provider.verified(await provider.metadata(), token)
            logout = check_logout_token(
                claims,
                issuer=provider.options.issuer,
                client_id=provider.options.client_id,
                now=int(time.time()),
            )
        except InvalidToken as error:
            log.warning(
                "identity provider: logout token rejected",
                extra={"provider": provider.name, "reason": str(error)},
            )
            raise LogoutTokenRejected from None
        return await self._end(actor, provider, logout)

    async def _end(self, actor: Actor, provider: IdentityProvider, logout: LogoutToken) -> int:
        whose = [_i.issuer == provider.options.issuer]
        if logout.subject is not None:
            whose.append(_i.subject == logout.subject)
        meant = [_w.created_at <= logout.issued_at + timedelta(seconds=LEEWAY)]
        if logout.sid is not None:
            named = _w.provider_sid == logout.sid
            if logout.subject is not None:  # the ID tokens of some providers name no session
                named |= _w.provider_sid.is_(None)
            meant.append(named)
        found, count = await self._end_sessions(actor, provider, and_(*whose), and_(*meant))
        for session_id, _ in found:
            await self._sign_ins.end(session_id)
        if count and provider.options.end_connections:
            for user_id in dict.fromkeys(user_id for _, user_id in found):
                message = InvalidationMessage("connections", user_id, SIGNED_OUT)
                await self._token_validator.announce(message, [])
        return count

    async def _end_sessions(
        self,
        actor: Actor,
        provider: IdentityProvider,
        whose: ColumnElement[bool],
        meant: ColumnElement[bool],
    ) -> tuple[Sequence[tuple[UUID, UUID]], int]:
        """End the page sessions. Returns their IDs and users, and how many had not ended before.

        Ended ones are returned too: if ending their proxy sign-ins failed, the provider repeats the
        token.
        """
        async with self._database.begin() as connection:
            query = (
                select(_w.id, _w.user_id)
                .join(user_identities, _w.identity_id == _i.id)
                .where(whose, meant)
            )
            found = [(row.id, row.user_id) for row in (await connection.execute(query)).all()]
            if not found:
                return found, 0
            ids = [session_id for session_id, _ in found]
            done = await connection.execute(
                update(web_sessions)
                .where(_w.id.in_(ids), _w.ended_at.is_(None))
                .values(ended_at=utcnow(), id_token=None)
            )
            if not done.rowcount:
                return found, 0
            for user_id in dict.fromkeys(user_id for _, user_id in found):
                await record(
                    connection,
                    actor,
                    "user.signed_out_by_provider",
                    "user",
                    user_id,
                    provider=provider.name,
                )
        return found, done.rowcount


LOGOUTS: web.AppKey[ProviderLogouts] = web.AppKey("provider_logouts", ProviderLogouts)
