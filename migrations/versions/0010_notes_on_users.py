"""A note on a user, for administrators.

Revision 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("note", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "note")
