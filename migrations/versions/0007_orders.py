"""Orders: purchases that a payment completes when it arrives.

Revision 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("duration_hours", sa.Integer(), nullable=True),
        sa.Column("scope", sa.String(length=50), nullable=True),
        sa.Column("bundle_id", sa.Uuid(), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=50), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.Column("bundle_purchase_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status IN ('waiting', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_orders_known_status"),
        ),
        sa.CheckConstraint(
            "(status = 'completed') = (token_id IS NOT NULL OR bundle_purchase_id IS NOT NULL)",
            name=op.f("ck_orders_completed_has_purchase"),
        ),
        sa.CheckConstraint(
            "(bundle_id IS NULL) = (duration_hours IS NOT NULL AND scope IS NOT NULL)",
            name=op.f("ck_orders_one_choice"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_orders_user_id_users"),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["payments.id"], name="fk_orders_payment_id_payments"
        ),
        sa.ForeignKeyConstraint(["bundle_id"], ["bundles.id"], name="fk_orders_bundle_id_bundles"),
        sa.ForeignKeyConstraint(
            ["token_id"], ["access_tokens.id"], name="fk_orders_token_id_access_tokens"
        ),
        sa.ForeignKeyConstraint(
            ["bundle_purchase_id"],
            ["bundle_purchases.id"],
            name="fk_orders_bundle_purchase_id_bundle_purchases",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint("payment_id", name="uq_orders_payment_id"),
        sa.UniqueConstraint("token_id", name="uq_orders_token_id"),
        sa.UniqueConstraint("bundle_purchase_id", name="uq_orders_bundle_purchase_id"),
    )
    op.create_index("ix_orders_user_id", "orders", ["user_id"])
    op.create_index("ix_orders_status", "orders", ["status"])


def downgrade() -> None:
    op.drop_index("ix_orders_status", table_name="orders")
    op.drop_index("ix_orders_user_id", table_name="orders")
    op.drop_table("orders")
