"""Results of the API client. Fields that a newer gate adds are ignored."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class _Received(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class AccountInfo(_Received):
    """The account of the caller."""

    id: UUID
    """The user's ID."""
    email: str
    """The e-mail address."""
    username: str
    """The username."""
    full_name: str | None
    """The full name."""
    is_superuser: bool
    """Whether the user is an administrator."""
    currency_balance: Decimal
    """The balance in ZNC."""


class BalanceInfo(_Received):
    """The balance of the caller."""

    balance: Decimal
    """The balance in ZNC."""


class TransactionInfo(_Received):
    """One row of the ledger."""

    id: UUID
    """The transaction's ID."""
    amount: Decimal
    """The signed amount in ZNC."""
    balance_after: Decimal
    """The balance after this row, in ZNC."""
    transaction_type: str
    """The kind of ledger row."""
    description: str
    """The reason, in English."""
    created_at: datetime
    """When the transaction was made."""


class TokenInfo(_Received):
    """An access token of the caller."""

    id: UUID
    """The token's ID."""
    token: str | None
    """Its value, a secret; ``None`` if the gate can no longer decrypt it."""
    name: str | None
    """A name given by the owner."""
    duration_hours: int
    """How long it lasts from its first use, in hours."""
    scope: str
    """The name of its scope."""
    cost_znc: Decimal
    """The price paid, in ZNC."""
    created_at: datetime
    """When it was bought."""
    activated_at: datetime | None
    """When it was first used."""
    expires_at: datetime | None
    """When it ends; ``None`` while it is unused."""
    revoked_at: datetime | None
    """When it was revoked."""
    is_active: bool
    """Whether it is neither revoked nor expired."""


class RevocationInfo(_Received):
    """The result of revoking a token."""

    revoked: bool
    """Whether the token is revoked now."""
    refund_amount: Decimal
    """The amount refunded, in ZNC."""
    new_balance: Decimal
    """The balance afterwards, in ZNC."""


class SessionInfo(_Received):
    """One session: the requests of one client with one token."""

    id: UUID
    """The session's ID."""
    token_id: UUID
    """The access token's ID."""
    address: str | None
    """The client's address."""
    agent: str | None
    """The client's User-Agent."""
    started_at: datetime
    """When the session began."""
    last_seen_at: datetime
    """When its last request was made."""
    ended_at: datetime | None
    """When it ended."""
    requests: int
    """The number of requests."""


class BundleInfo(_Received):
    """Tokens sold together."""

    id: UUID
    """The bundle's ID."""
    name: str
    """The bundle's name."""
    duration_hours: int
    """How long each token lasts from its first use, in hours."""
    token_count: int
    """How many tokens the bundle holds."""
    scope: str
    """The scope of each token."""
    price_znc: Decimal
    """The price in ZNC."""


class BundlePurchaseInfo(_Received):
    """A bundle that was bought."""

    bundle_id: UUID
    """The bundle's ID."""
    tokens: list[TokenInfo]
    """The tokens, with their values."""
    cost_znc: Decimal
    """The price paid, in ZNC."""
    new_balance: Decimal
    """The balance afterwards, in ZNC."""


class TokenStateInfo(_Received):
    """The state of an access token at the proxy."""

    token_id: UUID
    """The token's ID."""
    scope: str
    """The name of its scope."""
    duration_hours: int
    """How long it lasts from its first use, in hours."""
    is_activated: bool
    """Whether its time runs."""
    expires_at: datetime | None
    """When it ends; ``None`` while it is unused."""
    time_remaining_seconds: int
    """Seconds left; the whole duration while it is unused."""


class TransactionPageInfo(_Received):
    """A page of the ledger."""

    items: list[TransactionInfo]
    """The rows, newest first."""
    total: int
    """The number of rows on all pages."""


class SessionPageInfo(_Received):
    """A page of sessions."""

    items: list[SessionInfo]
    """The sessions, last seen first."""
    total: int
    """The number of sessions on all pages."""


class BundleListInfo(_Received):
    """The bundles on sale."""

    items: list[BundleInfo]
    """The bundles, the cheapest first."""
