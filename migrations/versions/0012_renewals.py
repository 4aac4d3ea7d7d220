"""Renewals: tokens that the balance buys again when they end.

Revision 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "renewals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("ceiling", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=50), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=True),
        sa.Column("next_token_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("ceiling >= 0", name=op.f("ck_renewals_ceiling_not_negative")),
        sa.CheckConstraint(
            "price IS NULL OR price <= ceiling", name=op.f("ck_renewals_price_within_ceiling")
        ),
        sa.CheckConstraint(
            "status IN ('waiting', 'stopped', 'renewed', 'failed')",
            name=op.f("ck_renewals_known_status"),
        ),
        sa.CheckConstraint(
            "(status = 'renewed') = (next_token_id IS NOT NULL AND price IS NOT NULL)",
            name=op.f("ck_renewals_renewed_has_token"),
        ),
        sa.ForeignKeyConstraint(
            ["token_id"], ["access_tokens.id"], name="fk_renewals_token_id_access_tokens"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_renewals_user_id_users"),
        sa.ForeignKeyConstraint(
            ["next_token_id"], ["access_tokens.id"], name="fk_renewals_next_token_id_access_tokens"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_renewals"),
        sa.UniqueConstraint("token_id", name="uq_renewals_token_id"),
        sa.UniqueConstraint("next_token_id", name="uq_renewals_next_token_id"),
    )
    op.create_index("ix_renewals_user_id", "renewals", ["user_id"])
    op.create_index("ix_renewals_status", "renewals", ["status"])


def downgrade() -> None:
    op.drop_index("ix_renewals_status", table_name="renewals")
    op.drop_index("ix_renewals_user_id", table_name="renewals")
    op.drop_table("renewals")
