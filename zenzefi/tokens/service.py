"""The service of access tokens: purchase, list, rename and revoke."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy import Row, select, update

from zenzefi.audit.log import Actor, record
from zenzefi.billing import ledger
from zenzefi.billing.ledger import ZERO, Kind
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import Invalid, NotFound
from zenzefi.keys import Keyring
from zenzefi.observability.metrics import TOKEN_PURCHASES, TOKEN_REVOCATIONS
from zenzefi.settings import Settings
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.allowed_scopes import require_allowed
from zenzefi.tokens.errors import InvalidDuration
from zenzefi.tokens.invalidation import REVOKED, InvalidationMessage
from zenzefi.tokens.models import access_tokens, usage_sessions
from zenzefi.tokens.offers import Offers
from zenzefi.tokens.refunds import refund_due
from zenzefi.tokens.scopes import FULL, Scopes
from zenzefi.tokens.sessions import end_sessions
from zenzefi.tokens.token_records import (
    TokenRecord,
    insert_token,
    is_active,
    select_tokens,
    token_record,
)
from zenzefi.tokens.validation import TokenValidator

_t = access_tokens.c


@dataclass(frozen=True, slots=True)
class Revoked:
    """The result of a revocation. ``was_active``: the token had not been revoked before."""

    token: TokenRecord
    refund: Decimal
    balance: Decimal
    was_active: bool


class Tokens:
    """The service of access tokens."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        keyring: Keyring,
        token_validator: TokenValidator,
        scopes: Scopes,
    ) -> None:
        self._settings = settings
        self._database = database
        self.keyring = keyring
        self.token_validator = token_validator
        self.scopes = scopes
        self.offers = Offers(settings, database)

    def check_scope(self, scope: str) -> None:
        """Raise ``Invalid`` (422) for an unknown scope."""
        if scope not in self.scopes.names:
            raise Invalid.field(
                "body",
                "scope",
                type="unknown_scope",
                msg=f"This gate knows the scopes: {', '.join(self.scopes.names)}",
                input=scope[:50],
            )

    async def require_allowed(self, connection: AsyncConnection, user_id: UUID, scope: str) -> None:
        """Raise ``ScopeNotAllowed`` unless the user can buy tokens with this scope."""
        await require_allowed(connection, self._settings, user_id, scope)

    async def price(
        self, duration_hours: int, scope: str, connection: AsyncConnection | None = None
    ) -> Decimal:
        """The current price in ZNC, read in the caller's transaction if there is one.

        Raises ``InvalidDuration`` (400) and ``Invalid`` (422: unknown scope).
        """
        offered = await self.offers.current(connection)
        if duration_hours not in offered.all_durations(self.scopes.names):
            raise InvalidDuration.among(offered.durations(FULL))
        self.check_scope(scope)
        price = offered.price(duration_hours, scope)
        if price is None:
            raise InvalidDuration.among(offered.durations(scope))
        return price

    async def purchase(
        self,
        connection: AsyncConnection,
        actor: Actor,
        user_id: UUID,
        *,
        duration_hours: int,
        scope: str,
        name: str | None = None,
        agreed: Decimal | None = None,
    ) -> TokenRecord:
        """Buy one token inside the caller's transaction: debit, token and ledger row together.

        ``agreed`` is a price in ZNC that was agreed before (:mod:`zenzefi.tokens.orders`); without
        it the current one applies. Raises ``InvalidDuration``, ``Invalid`` (unknown scope),
        ``InsufficientBalance``, ``ScopeNotAllowed``.
        """
        await self.require_allowed(connection, user_id, scope)
        if agreed is None:
            price = await self.price(duration_hours, scope, connection)
        else:
            self.check_scope(scope)
            price = agreed
        token = await insert_token(
            connection,
            self.keyring,
            user_id=user_id,
            duration_hours=duration_hours,
            scope=scope,
            cost=price,
            name=name,
        )
        if price > 0:
            await ledger.move(
                connection,
                user_id,
                -price,
                Kind.PURCHASE,
                f"Access token for {duration_hours} h",
                token_id=token.id,
            )
        await record(
            connection,
            actor,
            "token.purchased",
            "token",
            token.id,
            duration_hours=duration_hours,
            scope=scope,
            cost=f"{price:.2f}",
        )
        TOKEN_PURCHASES.labels(duration_hours).inc()
        return token

    async def of_user(
        self, user_id: UUID, *, active_only: bool = False, limit: int = 1000, offset: int = 0
    ) -> list[TokenRecord]:
        """The tokens of a user, newest first."""
        query = select_tokens().where(_t.user_id == user_id)
        if active_only:
            query = query.where(is_active())
        query = query.order_by(_t.created_at.desc(), _t.id).limit(limit).offset(offset)
        async with self._database.read() as connection:
            return [token_record(row, self.keyring) for row in await connection.execute(query)]

    async def find(self, token_id: UUID, user_id: UUID | None = None) -> TokenRecord:
        """One token; ``user_id`` restricts it to tokens of this user. Raises ``NotFound``."""
        async with self._database.read() as connection:
            return token_record(await self._row(connection, token_id, user_id), self.keyring)

    async def _row(
        self, connection: AsyncConnection, token_id: UUID, user_id: UUID | None
    ) -> Row[Any]:
        query = select_tokens().where(_t.id == token_id)
        if user_id is not None:
            query = query.where(_t.user_id == user_id)
        row: Row[Any] | None = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("There is no such access token.")
        return row

    async def revoke(
        self,
        actor: Actor,
        token_id: UUID,
        *,
        owner_id: UUID | None,
        refund: bool = True,
        reason: str = "revoked_by_owner",
    ) -> Revoked:
        """Revoke a token on every node, and refund it by the rule of :func:`refund_due`.

        ``owner_id=None`` is for administrators. With a concurrent first use there is one outcome:
        the token is refunded in full and was never valid, or it was used. Raises ``NotFound``.
        """
        async with self._database.begin() as connection:
            revoked = await self.revoke_within(
                connection, actor, token_id, owner_id=owner_id, refund=refund, reason=reason
            )
        await self.announce_revocation(revoked.token)
        return revoked

    async def revoke_within(
        self,
        connection: AsyncConnection,
        actor: Actor,
        token_id: UUID,
        *,
        owner_id: UUID | None,
        refund: bool = True,
        reason: str = "revoked_by_owner",
    ) -> Revoked:
        """:meth:`revoke` inside the caller's transaction; then :meth:`announce_revocation`."""
        before = await self._row(connection, token_id, owner_id)
        revocation = (
            update(access_tokens)
            .where(_t.id == token_id, _t.revoked_at.is_(None))
            .values(revoked_at=utcnow(), revoked_reason=reason)
        )
        unused = revocation.where(_t.activated_at.is_(None))
        was_active = was_unused = (await connection.execute(unused)).rowcount == 1
        if not was_unused:
            was_active = (await connection.execute(revocation)).rowcount == 1
        row = await self._row(connection, token_id, owner_id)
        amount = ZERO
        if was_active:
            amount = self._due(row, was_unused=was_unused) if refund else ZERO
            if amount > 0:
                await connection.execute(
                    update(access_tokens).where(_t.id == token_id).values(refunded=amount)
                )
                await ledger.move(
                    connection,
                    before.user_id,
                    amount,
                    Kind.REFUND,
                    f"Refund of an access token for {before.duration_hours} h",
                    token_id=token_id,
                )
            await end_sessions(connection, usage_sessions.c.token_id == token_id, "revoked")
            TOKEN_REVOCATIONS.inc()
            await record(
                connection, actor, "token.revoked", "token", token_id, refund=f"{amount:.2f}"
            )
        balance = await ledger.balance(connection, before.user_id)
        return Revoked(token_record(row, self.keyring), amount, balance, was_active)

    async def announce_revocation(self, token: TokenRecord) -> None:
        """Invalidate a revoked token on every node, and close its connections."""
        await self.token_validator.announce(
            InvalidationMessage("token", token.id, REVOKED),
            [token.plaintext] if token.plaintext else [],
        )

    def _due(self, row: Row[Any], *, was_unused: bool) -> Decimal:
        access = TokenAccess(row.id, row.user_id, row.scope, row.duration_hours, row.activated_at)
        return refund_due(
            row.cost,
            duration_hours=row.duration_hours,
            seconds_left=None if was_unused else access.seconds_left(row.revoked_at),
            used_tokens=self._settings.refund_used_tokens,
        )

    async def rename(self, token_id: UUID, user_id: UUID, name: str | None) -> TokenRecord:
        """Set the name that the owner gives to a token. Raises ``NotFound``."""
        async with self._database.begin() as connection:
            await self._row(connection, token_id, user_id)
            await connection.execute(
                update(access_tokens).where(_t.id == token_id).values(name=name or None)
            )
            return token_record(await self._row(connection, token_id, user_id), self.keyring)

    async def plaintexts_of_user(self, connection: AsyncConnection, user_id: UUID) -> list[str]:
        """A user's active tokens in plain text, to invalidate or restore them together."""
        query = select(_t.token_encrypted).where(_t.user_id == user_id, is_active())
        found = []
        for row in await connection.execute(query):
            try:
                found.append(self.keyring.decrypt(row.token_encrypted).decode("ascii"))
            except LookupError:
                continue
        return found


TOKENS: web.AppKey[Tokens] = web.AppKey("tokens", Tokens)
