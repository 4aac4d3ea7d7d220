"""Notices by e-mail, and those that readers have switched off.

Revision 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mail_notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_mail_notices_user_id_users"),
        sa.PrimaryKeyConstraint("id", name="pk_mail_notices"),
        sa.UniqueConstraint("kind", "event_id", name="uq_mail_notices_kind_event_id"),
    )
    op.create_index("ix_mail_notices_user_id", "mail_notices", ["user_id"])
    op.create_index("ix_mail_notices_sent_at_due_at", "mail_notices", ["sent_at", "due_at"])
    op.create_index("ix_mail_notices_created_at", "mail_notices", ["created_at"])
    op.create_table(
        "muted_notices",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_muted_notices_user_id_users"),
        sa.PrimaryKeyConstraint("user_id", "kind", name="pk_muted_notices"),
    )


def downgrade() -> None:
    op.drop_table("muted_notices")
    op.drop_index("ix_mail_notices_created_at", table_name="mail_notices")
    op.drop_index("ix_mail_notices_sent_at_due_at", table_name="mail_notices")
    op.drop_index("ix_mail_notices_user_id", table_name="mail_notices")
    op.drop_table("mail_notices")
