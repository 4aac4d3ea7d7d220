"""Sessions at identity providers, and the scopes that their groups allow.

Revision 0015.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("web_sessions", sa.Column("identity_id", sa.Uuid(), nullable=True))
    op.add_column("web_sessions", sa.Column("provider_sid", sa.String(length=255), nullable=True))
    op.add_column("web_sessions", sa.Column("id_token", sa.LargeBinary(), nullable=True))
    op.add_column("users", sa.Column("allowed_scopes", sa.Text(), nullable=True))
    op.create_index("ix_web_sessions_identity_id", "web_sessions", ["identity_id"])


def downgrade() -> None:
    op.drop_index("ix_web_sessions_identity_id", table_name="web_sessions")
    op.drop_column("users", "allowed_scopes")
    op.drop_column("web_sessions", "id_token")
    op.drop_column("web_sessions", "provider_sid")
    op.drop_column("web_sessions", "identity_id")
