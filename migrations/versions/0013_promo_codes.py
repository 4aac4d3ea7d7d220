"""Promo codes and their uses; orders keep the code and the discount.

Revision 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "promo_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("max_uses", sa.Integer(), nullable=True),
        sa.Column("used", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(percent IS NULL) <> (amount IS NULL)", name=op.f("ck_promo_codes_one_discount")
        ),
        sa.CheckConstraint(
            "percent IS NULL OR (percent >= 1 AND percent <= 100)",
            name=op.f("ck_promo_codes_percent_in_range"),
        ),
        sa.CheckConstraint(
            "amount IS NULL OR amount > 0", name=op.f("ck_promo_codes_amount_positive")
        ),
        sa.CheckConstraint(
            "max_uses IS NULL OR used <= max_uses", name=op.f("ck_promo_codes_used_within_limit")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_promo_codes"),
        sa.UniqueConstraint("code", name="uq_promo_codes_code"),
    )
    op.create_table(
        "promo_uses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("promo_code_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("discount", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("discount >= 0", name=op.f("ck_promo_uses_discount_not_negative")),
        sa.CheckConstraint("paid >= 0", name=op.f("ck_promo_uses_paid_not_negative")),
        sa.ForeignKeyConstraint(
            ["promo_code_id"], ["promo_codes.id"], name="fk_promo_uses_promo_code_id_promo_codes"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_promo_uses_user_id_users"),
        sa.ForeignKeyConstraint(
            ["token_id"], ["access_tokens.id"], name="fk_promo_uses_token_id_access_tokens"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_promo_uses"),
        sa.UniqueConstraint("promo_code_id", "user_id", name="uq_promo_uses_promo_code_id_user_id"),
        sa.UniqueConstraint("token_id", name="uq_promo_uses_token_id"),
    )
    op.create_index("ix_promo_uses_user_id", "promo_uses", ["user_id"])
    op.add_column("orders", sa.Column("promo_code_id", sa.Uuid(), nullable=True))
    op.add_column(
        "orders",
        sa.Column("discount", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    op.drop_column("orders", "discount")
    op.drop_column("orders", "promo_code_id")
    op.drop_index("ix_promo_uses_user_id", table_name="promo_uses")
    op.drop_table("promo_uses")
    op.drop_table("promo_codes")
