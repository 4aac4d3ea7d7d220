"""Store the User-Agent in the audit log; add a table that health checks write to.

Revision 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_logs", sa.Column("agent", sa.String(length=300), nullable=True))
    op.create_table(
        "write_probes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("filler", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_write_probes"),
    )


def downgrade() -> None:
    op.drop_table("write_probes")
    op.drop_column("audit_logs", "agent")
