"""Store the money facts of each payment event; refuse REPLACE on append-only tables.

The state of a payment is computed from its events from this revision on. For payments credited or
reversed earlier, the migration writes equivalent events.

Revision 0002.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WRITTEN = "written by a migration"
_COLUMNS = (
    sa.Column("meaning", sa.String(length=20), nullable=True),
    sa.Column("charge", sa.String(length=255), nullable=True),
    sa.Column("part", sa.String(length=255), nullable=True),
    sa.Column("amount", sa.BigInteger(), nullable=True),
    sa.Column("currency", sa.String(length=3), nullable=True),
)
_UNIQUE = {
    "transactions": "id = NEW.id OR (user_id = NEW.user_id AND seq = NEW.seq)",
    "audit_logs": "id = NEW.id",
}
_payments = sa.table(
    "payments",
    sa.column("id", sa.Uuid()),
    *(sa.column(name) for name in ("provider", "amount_znc", "amount_rub", "status")),
    *(sa.column(name) for name in ("charge", "reversed_znc", "credited_at", "updated_at")),
)
_events = sa.table(
    "payment_events",
    sa.column("id", sa.Uuid()),
    sa.column("payment_id", sa.Uuid()),
    *(sa.column(name) for name in ("provider", "event_id", "event_type", "outcome", "received_at")),
    *(sa.column(name) for name in ("meaning", "charge", "amount", "currency")),
)


def _event(payment: Any, meaning: str, amount: int) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "payment_id": payment.id,
        "provider": payment.provider,
        "event_id": f"before-0002-{meaning}-{payment.id}",
        "event_type": _WRITTEN,
        "outcome": "counted before",
        "received_at": payment.updated_at,
        "meaning": meaning,
        "charge": payment.charge,
        "amount": amount,
        "currency": "RUB",
    }


def _write_past_events() -> None:
    connection = op.get_bind()
    moved = sa.or_(_payments.c.credited_at.is_not(None), _payments.c.reversed_znc > 0)
    for payment in connection.execute(sa.select(_payments).where(moved)).all():
        rows = []
        if payment.credited_at is not None:
            rows.append(_event(payment, "paid", payment.amount_rub))
        if payment.reversed_znc:
            share = Decimal(payment.reversed_znc) / payment.amount_znc * payment.amount_rub
            amount = int(share.quantize(Decimal(1), ROUND_HALF_UP))
            meaning = "disputed" if payment.status == "disputed" else "refunded"
            rows.append(_event(payment, meaning, amount))
        connection.execute(sa.insert(_events), rows)


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column("payment_events", column._copy())
    op.create_index(
        "ix_payment_events_provider_charge", "payment_events", ["provider", "charge"], unique=False
    )
    op.drop_column("idempotency_keys", "response_status")
    _write_past_events()
    if op.get_bind().dialect.name == "sqlite":
        # INSERT OR REPLACE deletes rows without firing DELETE triggers.
        for table, same in _UNIQUE.items():
            there = f"SELECT 1 FROM {table} WHERE {same}"  # noqa: S608 - both are written above
            op.execute(
                f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
                f"WHEN EXISTS ({there}) "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in _UNIQUE:
            op.execute(f"DROP TRIGGER {table}_no_replace")
    op.execute(sa.delete(_events).where(_events.c.event_type == _WRITTEN))
    op.add_column("idempotency_keys", sa.Column("response_status", sa.Integer(), nullable=True))
    op.drop_index("ix_payment_events_provider_charge", "payment_events")
    for column in reversed(_COLUMNS):
        op.drop_column("payment_events", column.name)
