"""Tables of billing: ledger, bundles, payments and their events."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
    true,
)

from zenzefi.db.base import Money, id_column, metadata, now_column, time_column

transactions = Table(
    "transactions",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("seq", Integer, nullable=False),  # 1, 2, 3 ... of each user, without gaps
    Column("amount", Money, nullable=False),
    Column("balance_after", Money, nullable=False),
    Column("transaction_type", String(20), nullable=False),
    Column("description", String(300), nullable=False),
    Column("token_id", Uuid, ForeignKey("access_tokens.id")),
    Column("bundle_purchase_id", Uuid, ForeignKey("bundle_purchases.id")),
    Column("payment_id", Uuid, ForeignKey("payments.id"), index=True),
    Column("actor_id", Uuid, ForeignKey("users.id")),  # the administrator, if one acted
    now_column("created_at"),
    UniqueConstraint("user_id", "seq"),
    CheckConstraint("amount <> 0", name="amount_not_zero"),
    CheckConstraint("balance_after >= 0", name="balance_not_negative"),
    CheckConstraint(
        "transaction_type IN ('deposit', 'purchase', 'refund', 'bonus', 'adjustment')",
        name="known_type",
    ),
)
"""Append-only: triggers on both databases reject UPDATE, DELETE, TRUNCATE and REPLACE."""

bundles = Table(
    "bundles",
    metadata,
    id_column(),
    Column("name", String(100), nullable=False),
    Column("description", String(500), nullable=False, server_default=text("''")),
    Column("duration_hours", Integer, nullable=False),
    Column("token_count", Integer, nullable=False),
    Column("scope", String(50), nullable=False),
    Column("price", Money, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    now_column("created_at"),
    now_column("updated_at"),
    CheckConstraint("token_count > 0", name="tokens_positive"),
    CheckConstraint("price >= 0", name="price_not_negative"),
)

offer_versions = Table(
    "offer_versions",
    metadata,
    id_column(),
    Column("number", Integer, nullable=False, unique=True),  # 1, 2, 3 ...
    # JSON of the price list (settings/catalogue.py); NULL: that of the settings.
    Column("content", Text),
    time_column("effective_from", index=True),
    Column("actor_id", Uuid, ForeignKey("users.id")),
    now_column("created_at"),
)
"""Price lists that administrators published. The one in force is the latest that has begun."""

bundle_purchases = Table(
    "bundle_purchases",
    metadata,
    id_column(),
    Column("bundle_id", Uuid, ForeignKey("bundles.id"), nullable=False, index=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("price_paid", Money, nullable=False),
    Column("token_count", Integer, nullable=False),
    now_column("created_at"),
)

payments = Table(
    "payments",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("provider", String(30), nullable=False),
    Column("amount_znc", Money, nullable=False),
    Column("amount_rub", Money, nullable=False),  # in `currency`; the name is older than others
    Column("currency", String(3), nullable=False, server_default=text("'RUB'")),
    Column("status", String(20), nullable=False),
    Column("reference", String(255)),  # the provider's ID of the checkout
    Column("charge", String(255)),  # the provider's ID of the transfer
    Column("payment_url", String(2000)),
    Column("return_url", String(2000)),
    Column("reversed_znc", Money, nullable=False, server_default=text("0")),
    # Part of reversed_znc that the balance did not cover, not repaid yet (billing/ledger.py).
    Column("shortfall_znc", Money, nullable=False, server_default=text("0")),
    now_column("created_at"),
    now_column("updated_at"),
    time_column("expires_at", nullable=True),
    time_column("credited_at", nullable=True),
    UniqueConstraint("provider", "reference"),
    CheckConstraint("amount_znc > 0", name="amount_positive"),
    CheckConstraint("reversed_znc >= 0 AND reversed_znc <= amount_znc", name="reversed_within"),
    CheckConstraint(
        "status IN ('pending', 'succeeded', 'failed', 'expired', 'cancelled', 'refunded', "
        "'disputed')",
        name="known_status",
    ),
)
Index("ix_payments_user_id_created_at", payments.c.user_id, payments.c.created_at)
Index("ix_payments_status_created_at", payments.c.status, payments.c.created_at)
Index("ix_payments_provider_charge", payments.c.provider, payments.c.charge)

payment_events = Table(
    "payment_events",
    metadata,
    id_column(),
    Column("provider", String(30), nullable=False),
    Column("event_id", String(255), nullable=False),
    Column("event_type", String(100), nullable=False),
    Column("payment_id", Uuid, ForeignKey("payments.id"), index=True),
    Column("outcome", String(200), nullable=False),
    # The payment fact of the event, from which the payment state is computed.
    Column("meaning", String(20)),
    Column("charge", String(255)),
    Column("part", String(255)),
    Column("amount", Money),
    Column("currency", String(3)),
    now_column("received_at"),
    UniqueConstraint("provider", "event_id"),
)
Index("ix_payment_events_provider_charge", payment_events.c.provider, payment_events.c.charge)

promo_codes = Table(
    "promo_codes",
    metadata,
    id_column(),
    Column("code", String(40), nullable=False, unique=True),  # in capital letters
    Column("percent", Integer),
    Column("amount", Money),
    Column("max_uses", Integer),  # NULL: any number
    Column("used", Integer, nullable=False, server_default=text("0")),
    time_column("starts_at", nullable=True),
    time_column("ends_at", nullable=True),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    now_column("created_at"),
    CheckConstraint("(percent IS NULL) <> (amount IS NULL)", name="one_discount"),
    CheckConstraint(
        "percent IS NULL OR (percent >= 1 AND percent <= 100)", name="percent_in_range"
    ),
    CheckConstraint("amount IS NULL OR amount > 0", name="amount_positive"),
    CheckConstraint("max_uses IS NULL OR used <= max_uses", name="used_within_limit"),
)

promo_uses = Table(
    "promo_uses",
    metadata,
    id_column(),
    Column("promo_code_id", Uuid, ForeignKey("promo_codes.id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), nullable=False, unique=True),
    Column("discount", Money, nullable=False),
    Column("paid", Money, nullable=False),
    now_column("created_at"),
    UniqueConstraint("promo_code_id", "user_id"),
    CheckConstraint("discount >= 0", name="discount_not_negative"),
    CheckConstraint("paid >= 0", name="paid_not_negative"),
)
"""Tokens that were bought with a promo code (tokens/promo_codes.py)."""

orders = Table(
    "orders",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("payment_id", Uuid, ForeignKey("payments.id"), nullable=False, unique=True),
    # The choice: a duration with a scope, or a bundle.
    Column("duration_hours", Integer),
    Column("scope", String(50)),
    Column("bundle_id", Uuid, ForeignKey("bundles.id")),
    Column("price", Money, nullable=False),  # agreed when the payment was opened
    # A row of promo_codes, which are never deleted, and what it takes off the price.
    Column("promo_code_id", Uuid),
    Column("discount", Money, nullable=False, server_default=text("0")),
    Column("status", String(20), nullable=False),
    Column("reason", String(50)),  # the code of the error that made it fail
    Column("token_id", Uuid, ForeignKey("access_tokens.id"), unique=True),
    Column("bundle_purchase_id", Uuid, ForeignKey("bundle_purchases.id"), unique=True),
    now_column("created_at"),
    now_column("updated_at"),
    CheckConstraint(
        "status IN ('waiting', 'completed', 'failed', 'cancelled')", name="known_status"
    ),
    CheckConstraint(
        "(status = 'completed') = (token_id IS NOT NULL OR bundle_purchase_id IS NOT NULL)",
        name="completed_has_purchase",
    ),
    CheckConstraint(
        "(bundle_id IS NULL) = (duration_hours IS NOT NULL AND scope IS NOT NULL)",
        name="one_choice",
    ),
)
"""Purchases that a payment completes when it arrives (tokens/orders.py)."""
Index("ix_orders_status", orders.c.status)
