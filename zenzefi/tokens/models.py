"""Tables of access tokens: the tokens, browsers signed in with them, devices, and use."""

from __future__ import annotations

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
    # HMAC-SHA-256 of the value under a derived key, for look-up; the value itself encrypted,
    # so that its owner can see it again; its first characters for administrators.
    Column("token_index", LargeBinary(32), nullable=False, unique=True),
    Column("token_encrypted", LargeBinary, nullable=False),
    Column("prefix", String(8), nullable=False),
    Column("name", String(100)),
    Column("duration_hours", Integer, nullable=False),
    Column("scope", String(50), nullable=False),
    Column("cost", Money, nullable=False),  # what was paid for it (a bundle's share)
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

proxy_sign_ins = Table(
    "proxy_sign_ins",
    metadata,
    id_column(),
    # HMAC-SHA-256 of the secret in the browser's cookie; the secret itself is kept nowhere.
    Column("secret_index", LargeBinary(32), nullable=False, unique=True),
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), nullable=False, index=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    # What all sign-ins of one browser that came from one another have in common: the id of the
    # page session, or of the first sign-in where there is none. Logging out ends the family.
    Column("family_id", Uuid, nullable=False, index=True),
    Column("network", String(64)),
    Column("agent", String(300)),
    # Whether the browser took the cookie under a name that no script can write.
    Column("is_sealed", Boolean, nullable=False),
    now_column("created_at"),
    time_column("expires_at", index=True),
    time_column("ended_at", nullable=True),
)

device_claims = Table(
    "device_claims",
    metadata,
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), primary_key=True),
    Column("device", LargeBinary(32), nullable=False),  # a keyed hash, never the id itself
    time_column("claimed_at"),
    time_column("last_seen_at"),
)

usage_sessions = Table(
    "usage_sessions",
    metadata,
    id_column(),
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("device", String(12)),  # the first hex digits of the device's keyed hash
    Column("address", String(45)),
    Column("agent", String(300)),
    time_column("started_at"),
    time_column("last_seen_at"),
    time_column("ended_at", nullable=True),
    Column("end_reason", String(30)),
    Column("requests", BigInteger, nullable=False, server_default=text("0")),
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
