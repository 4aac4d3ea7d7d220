"""Price lists that administrators publish; the currency of a payment.

Revision 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "offer_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["actor_id"], ["users.id"], name="fk_offer_versions_actor_id_users"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_offer_versions"),
        sa.UniqueConstraint("number", name="uq_offer_versions_number"),
    )
    op.create_index("ix_offer_versions_effective_from", "offer_versions", ["effective_from"])
    op.add_column(
        "payments",
        sa.Column("currency", sa.String(length=3), nullable=False, server_default="RUB"),
    )


def downgrade() -> None:
    op.drop_column("payments", "currency")
    op.drop_index("ix_offer_versions_effective_from", table_name="offer_versions")
    op.drop_table("offer_versions")
