"""Database tables of access tokens, browser sign-ins, device claims and sessions."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Uuid,
    text,
)

from zenzefi.db.base import Money, id_column, metadata, now_column, time_column

access_tokens = Table(
    "access_tokens",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    # HMAC-SHA-256 of the token under a derived key, for look-ups. The token is encrypted, so that
    # its owner can see it again. Administrators see its first characters.
    Column("token_index", LargeBinary(32), nullable=False, unique=True),
    Column("token_encrypted", LargeBinary, nullable=False),
    Column("prefix", String(8), nullable=False),
    Column("name", String(100)),
    Column("duration_hours", Integer, nullable=False),
    Column("scope", String(50), nullable=False),
    Column("cost", Money, nullable=False),  # the price paid; for a bundle this token's share
    Column("refunded", Money, nullable=False, server_default=text("0")),
    Column("bundle_purchase_id", Uuid, ForeignKey("bundle_purchases.id"), index=True),
    now_column("created_at"),
    time_column("activated_at", nullable=True),
    time_column("revoked_at", nullable=True),
    Column("revoked_reason", String(30)),
    CheckConstraint("duration_hours > 0", name="duration_positive"),
    CheckConstraint("cost >= 0", name="cost_not_negative"),
    CheckConstraint("refunded >= 0 AND refunded <= cost", name="refund_within_cost"),
)
Index("ix_access_tokens_user_id_created_at", access_tokens.c.user_id, access_tokens.c.created_at)
Index("ix_access_tokens_created_at", access_tokens.c.created_at)

renewals = Table(
    "renewals",
    metadata,
    id_column(),
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), nullable=False, unique=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("ceiling", Money, nullable=False),  # the highest price that is paid
    Column("status", String(20), nullable=False),
    Column("reason", String(50)),  # why it failed or was stopped
    Column("price", Money),  # the price paid
    Column("next_token_id", Uuid, ForeignKey("access_tokens.id"), unique=True),
    now_column("created_at"),
    now_column("updated_at"),
    CheckConstraint("ceiling >= 0", name="ceiling_not_negative"),
    CheckConstraint("price IS NULL OR price <= ceiling", name="price_within_ceiling"),
    CheckConstraint(
        "status IN ('waiting', 'stopped', 'renewed', 'failed')",
        name="known_status",
    ),
    CheckConstraint(
        "(status = 'renewed') = (next_token_id IS NOT NULL AND price IS NOT NULL)",
        name="renewed_has_token",
    ),
)
"""Tokens to renew when they end, one row for each token (tokens/renewals.py)."""
Index("ix_renewals_status", renewals.c.status)

proxy_sign_ins = Table(
    "proxy_sign_ins",
    metadata,
    id_column(),
    # HMAC-SHA-256 of the secret in the browser's cookie. The secret itself is not stored.
    Column("secret_index", LargeBinary(32), nullable=False, unique=True),
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), nullable=False, index=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    # Shared by all sign-ins of one browser that were derived from each other: the ID of the page
    # session, or of the first sign-in without a page session. Logging out ends the family.
    Column("family_id", Uuid, nullable=False, index=True),
    Column("network", String(64)),
    Column("agent", String(300)),
    # Whether the cookie has a name that scripts can't write.
    Column("is_sealed", Boolean, nullable=False),
    now_column("created_at"),
    time_column("expires_at", index=True),
    time_column("ended_at", nullable=True),
)

device_claims = Table(
    "device_claims",
    metadata,
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), primary_key=True),
    Column("device", LargeBinary(32), nullable=False),  # a keyed hash of the device ID
    time_column("claimed_at"),
    time_column("last_seen_at"),
)

SESSION_IDLE = timedelta(minutes=30)
"""A session ends after this time without a request; the next request begins a new one."""

usage_sessions = Table(
    "usage_sessions",
    metadata,
    id_column(),
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("device", String(12)),  # the first hexadecimal digits of the keyed hash of the device ID
    Column("address", String(45)),
    Column("agent", String(300)),
    time_column("started_at"),
    time_column("last_seen_at"),
    time_column("ended_at", nullable=True),
    Column("end_reason", String(30)),
    Column("requests", BigInteger, nullable=False, server_default=text("0")),
    # From the gate's point of view: received from the client (in), sent to the client (out).
    Column("bytes_in", BigInteger, nullable=False, server_default=text("0")),
    Column("bytes_out", BigInteger, nullable=False, server_default=text("0")),
)
Index(
    "ix_usage_sessions_token_id_last_seen_at",
    usage_sessions.c.token_id,
    usage_sessions.c.last_seen_at,
)
Index(
    "ix_usage_sessions_user_id_last_seen_at",
    usage_sessions.c.user_id,
    usage_sessions.c.last_seen_at,
)
Index("ix_usage_sessions_last_seen_at", usage_sessions.c.last_seen_at)
