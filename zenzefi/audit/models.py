"""The table of the audit log."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, Uuid

from zenzefi.db.base import id_column, metadata, now_column

audit_logs = Table(
    "audit_logs",
    metadata,
    id_column(),
    now_column("created_at"),
    Column("user_id", Uuid, ForeignKey("users.id")),  # the actor; NULL: not signed in, or the gate
    Column("action", String(50), nullable=False),
    Column("resource_type", String(30), nullable=False),
    Column("resource_id", String(64)),
    Column("address", String(45)),
    Column("agent", String(300)),  # the User-Agent header
    Column("request_id", String(64)),
    Column("details", Text, nullable=False),  # a JSON object without secrets
)
"""A trigger rejects UPDATE; housekeeping deletes old rows."""

Index("ix_audit_logs_created_at", audit_logs.c.created_at)
Index("ix_audit_logs_user_id_created_at", audit_logs.c.user_id, audit_logs.c.created_at)
Index("ix_audit_logs_action_created_at", audit_logs.c.action, audit_logs.c.created_at)
