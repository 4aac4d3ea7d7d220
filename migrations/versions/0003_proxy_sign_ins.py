"""Bind the proxy cookie to the browser that signed in: one row per sign-in.

Browsers signed in before this revision have no row and must sign in again.

Revision 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proxy_sign_ins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret_index", sa.LargeBinary(length=32), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=True),
        sa.Column("agent", sa.String(length=300), nullable=True),
        sa.Column("is_sealed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["token_id"], ["access_tokens.id"], name="fk_proxy_sign_ins_token_id_access_tokens"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_proxy_sign_ins_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_proxy_sign_ins"),
        sa.UniqueConstraint("secret_index", name="uq_proxy_sign_ins_secret_index"),
    )
    for column in ("token_id", "user_id", "family_id", "expires_at"):
        op.create_index(f"ix_proxy_sign_ins_{column}", "proxy_sign_ins", [column])


def downgrade() -> None:
    op.drop_table("proxy_sign_ins")
