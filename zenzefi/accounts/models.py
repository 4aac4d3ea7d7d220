"""Tables of accounts: users, page sessions, one-time links, keys, recovery codes, invitations."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    text,
    true,
)

from zenzefi.db.base import Money, id_column, metadata, now_column, time_column

users = Table(
    "users",
    metadata,
    id_column(),
    # As typed, for display. The *_key columns are case-folded and unique.
    Column("email", String(320), nullable=False),
    Column("email_key", String(320), nullable=False, unique=True),
    Column("username", String(50), nullable=False),
    Column("username_key", String(150), nullable=False, unique=True),
    Column("full_name", String(200)),
    Column("password_hash", String(255), nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("is_superuser", Boolean, nullable=False, server_default=false()),
    Column("currency_balance", Money, nullable=False, server_default=text("0")),
    # The number of ledger rows of this user, and the seq of the last one (billing/ledger.py).
    Column("ledger_seq", Integer, nullable=False, server_default=text("0")),
    # Incremented by a change of the password, which invalidates bearer tokens and page sessions
    # of older versions, except the bearer token kept_jti, which made the change.
    Column("credential_version", Integer, nullable=False, server_default=text("0")),
    Column("kept_jti", String(36)),
    Column("locale", String(16)),
    time_column("email_verified_at", nullable=True),
    Column("totp_secret", LargeBinary),  # encrypted, with the same keys as access tokens at rest
    Column("totp_last_step", Integer),  # a code is valid once
    time_column("totp_enabled_at", nullable=True),
    Column("terms_version", String(40)),  # the version of the terms that was accepted last
    time_column("terms_accepted_at", nullable=True),
    time_column("deleted_at", nullable=True),
    # JSON list of the scopes that the user can buy, by the groups at an identity provider.
    Column("allowed_scopes", Text),
    Column("note", Text),  # of administrators; users never see it
    now_column("created_at"),
    now_column("updated_at"),
    CheckConstraint("currency_balance >= 0", name="balance_not_negative"),
)
Index("ix_users_created_at", users.c.created_at)

web_sessions = Table(
    "web_sessions",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("secret_index", LargeBinary(32), nullable=False, unique=True),
    Column("credential_version", Integer, nullable=False),
    Column("address", String(45)),
    Column("agent", String(300)),
    now_column("created_at"),
    now_column("last_seen_at"),
    time_column("expires_at"),
    time_column("ended_at", nullable=True),
    time_column("second_factor_at", nullable=True),
    # Of a sign-in with an identity provider. No foreign key: the identity may be removed earlier.
    Column("identity_id", Uuid, index=True),
    Column("provider_sid", String(255)),  # the provider's session, named by logout tokens
    Column("id_token", LargeBinary),  # encrypted; the provider wants it at sign-out
)

one_time_links = Table(
    "one_time_links",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("purpose", String(30), nullable=False),
    Column("secret_index", LargeBinary(32), nullable=False, unique=True),
    Column("payload", Text),
    now_column("created_at"),
    time_column("expires_at"),
    time_column("used_at", nullable=True),
)

# Sign-ins at identity providers (OpenID Connect) that are connected to a user.
user_identities = Table(
    "user_identities",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("provider", String(30), nullable=False),  # its name in OIDC_PROVIDERS
    Column("issuer", String(500), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("email", String(320)),  # as the provider named it last, for display
    now_column("created_at"),
    now_column("last_used_at"),
    UniqueConstraint("issuer", "subject"),
)

api_keys = Table(
    "api_keys",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    # SHA-256 of the key: 256 random bits need no keyed hash, and rotating SECRET_KEY ends no key.
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    Column("hint", String(12), nullable=False),  # the first characters, to recognise the key
    Column("name", String(100), nullable=False),
    Column("permissions", String(300), nullable=False),  # separated by spaces
    Column("credential_version", Integer, nullable=False),
    Column("second_factor", Boolean, nullable=False),  # whether its owner was asked for a code
    now_column("created_at"),
    time_column("expires_at", index=True),
    time_column("last_used_at", nullable=True),
    Column("last_address", String(45)),
    time_column("revoked_at", nullable=True),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("secret_index", LargeBinary(32), nullable=False, unique=True),
    now_column("created_at"),
    time_column("used_at", nullable=True),
)

invitations = Table(
    "invitations",
    metadata,
    id_column(),
    Column("secret_index", LargeBinary(32), nullable=False, unique=True),
    # If set, only this address can register with the link.
    Column("email", String(320)),
    Column("email_key", String(320)),
    Column("note", String(200)),
    Column("created_by", Uuid, ForeignKey("users.id")),
    now_column("created_at"),
    time_column("expires_at"),
    time_column("used_at", nullable=True),
    Column("used_by", Uuid, ForeignKey("users.id"), index=True),
    time_column("withdrawn_at", nullable=True),
)
Index("ix_invitations_created_at", invitations.c.created_at)
