"""Tables of e-mail: notices to send, and those that readers have switched off."""

from __future__ import annotations

from sqlalchemy import (
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
)

from zenzefi.db.base import id_column, metadata, now_column, time_column

mail_notices = Table(
    "mail_notices",
    metadata,
    id_column(),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False, index=True),
    Column("kind", String(30), nullable=False),
    Column("event_id", Uuid, nullable=False),  # of the payment, token, session or ledger row
    Column("content", Text, nullable=False),  # JSON: the values of the text
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    time_column("due_at"),
    time_column("sent_at", nullable=True),
    now_column("created_at"),
    UniqueConstraint("kind", "event_id"),
)
Index("ix_mail_notices_sent_at_due_at", mail_notices.c.sent_at, mail_notices.c.due_at)
Index("ix_mail_notices_created_at", mail_notices.c.created_at)

muted_notices = Table(
    "muted_notices",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("kind", String(30), primary_key=True),
)
