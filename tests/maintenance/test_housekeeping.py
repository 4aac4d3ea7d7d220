"""Retention, idle sessions and reconciliation; other rows are left alone."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Table, delete, func, select, update

from tests.kit import api
from tests.kit.gates import GateClient, MakeGate
from zenzefi.accounts.models import invitations, one_time_links, users, web_sessions
from zenzefi.api.idempotency import idempotency_keys
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE
from zenzefi.maintenance import housekeeping
from zenzefi.maintenance.housekeeping import Housekeeping
from zenzefi.observability.metrics import ACTIVE_SESSIONS, ACTIVE_TOKENS, LEDGER_MISMATCHES
from zenzefi.runtime.jobs import JOBS
from zenzefi.tables import metadata
from zenzefi.tokens.models import device_claims, proxy_sign_ins, usage_sessions

LAST_USE = object()
"""Stands for the time when a row was last of use."""


def work(gate: GateClient) -> Housekeeping:
    return Housekeeping(gate.app[DATABASE], audit_retention=timedelta(days=365))


async def test_running_tokens_are_counted_and_idle_sessions_closed(gate: GateClient) -> None:
    token = await api.buy(gate, await api.sign_up(gate))
    await work(gate).count()
    assert ACTIVE_TOKENS._value.get() == 0  # bought, but its clock does not run yet
    async with gate.get(
        "/api/v1/proxy/", headers={"X-Access-Token": str(token["token"])}
    ) as response:
        assert response.status == 200
    now = datetime.now(UTC)
    row = {"token_id": UUID(token["id"]), "user_id": await api.user_id_of(gate)}
    old, new = uuid4(), uuid4()
    async with gate.app[DATABASE].begin() as connection:
        for session, seen in ((old, now - timedelta(hours=1)), (new, now)):
            await connection.execute(
                usage_sessions.insert().values(
                    id=session, started_at=seen, last_seen_at=seen, **row
                )
            )
    await work(gate).end_idle_sessions()
    await work(gate).count()
    assert ACTIVE_TOKENS._value.get() == 1
    assert ACTIVE_SESSIONS._value.get() >= 1
    async with gate.app[DATABASE].read() as connection:
        query = select(usage_sessions.c.id, usage_sessions.c.end_reason)
        ended = {one.id: one.end_reason for one in await connection.execute(query)}
    assert (ended[old], ended[new]) == ("idle", None)


async def test_reconciliation_finds_a_balance_without_ledger_row(gate: GateClient) -> None:
    await api.sign_up(gate)
    await api.give(gate, "10.00")
    await work(gate).reconcile_ledger()
    assert LEDGER_MISMATCHES._value.get() == 0
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(update(users).values(currency_balance=999))
    await work(gate).reconcile_ledger()
    assert LEDGER_MISMATCHES._value.get() == 1
    LEDGER_MISMATCHES.set(0)


async def test_sweeping_takes_only_what_is_old(gate: GateClient) -> None:
    await api.sign_up(gate)
    async with gate.app[DATABASE].begin() as connection:
        before = (await connection.execute(select(func.count()).select_from(audit_logs))).scalar()
        await connection.execute(
            audit_logs.insert().values(
                action="user.signed_in",
                resource_type="user",
                details="{}",
                created_at=datetime.now(UTC) - timedelta(days=400),
            )
        )
    await work(gate).sweep()
    await work(gate).expire_payments()
    async with gate.app[DATABASE].read() as connection:
        after = (await connection.execute(select(func.count()).select_from(audit_logs))).scalar()
    assert after == before


def _row_of(table: Table, user_id: UUID, token_id: UUID, at: datetime) -> dict[str, Any]:
    """A row that was last of use ``at`` that time."""
    secret = uuid4().bytes * 2
    mine = {"user_id": user_id}
    rows: dict[str, dict[str, Any]] = {
        "audit_logs": {
            "action": "user.signed_in",
            "resource_type": "user",
            "details": "{}",
            "created_at": at,
        },
        "idempotency_keys": mine
        | {"key": str(uuid4()), "operation": "x", "request_hash": secret, "created_at": at},
        "one_time_links": mine | {"purpose": "x", "secret_index": secret, "expires_at": at},
        "web_sessions": mine
        | {
            "secret_index": secret,
            "credential_version": 0,
            "expires_at": at + timedelta(days=14),
            "ended_at": at,
        },
        "proxy_sign_ins": mine
        | {
            "token_id": token_id,
            "secret_index": secret,
            "family_id": uuid4(),
            "is_sealed": True,
            "expires_at": at + timedelta(days=14),
            "ended_at": at,
        },
        "invitations": {
            "secret_index": secret,
            "created_at": at - timedelta(days=7),
            "expires_at": at,
        },
        "usage_sessions": mine | {"token_id": token_id, "started_at": at, "last_seen_at": at},
        "device_claims": {
            "token_id": token_id,
            "device": secret,
            "claimed_at": at,
            "last_seen_at": at,
        },
    }
    return rows[table.name]


@pytest.mark.parametrize(
    ("table", "kept", "fields"),
    [
        (audit_logs, timedelta(days=365), {}),
        (audit_logs, timedelta(days=30), {"action": "user.sign_in_failed"}),
        (audit_logs, timedelta(days=30), {"action": "user.second_factor_failed"}),
        (idempotency_keys, timedelta(hours=48), {}),
        (one_time_links, timedelta(days=30), {}),
        (web_sessions, timedelta(days=30), {}),
        (proxy_sign_ins, timedelta(days=30), {}),
        # Not ended, so they count from where they expired: 14 days after they were last of use.
        (web_sessions, timedelta(days=44), {"ended_at": None}),
        (proxy_sign_ins, timedelta(days=44), {"ended_at": None}),
        (usage_sessions, timedelta(days=90), {}),
        (device_claims, timedelta(days=1), {}),
        (invitations, timedelta(days=30), {}),
        # Used before they expired: kept like the audit log.
        (invitations, timedelta(days=365), {"used_at": LAST_USE}),
    ],
)
async def test_rows_are_deleted_after_their_retention_and_no_earlier(
    gate: GateClient,
    monkeypatch: pytest.MonkeyPatch,
    table: Table,
    kept: timedelta,
    fields: dict[str, Any],
) -> None:
    monkeypatch.setattr(housekeeping, "_BATCH", 3)
    bearer = await api.sign_up(gate)
    tokens = [UUID((await api.buy(gate, bearer))["id"]) for _ in range(8)]
    user_id = await api.user_id_of(gate)
    now = datetime.now(UTC)
    old, young = now - kept - timedelta(hours=1), now - kept + timedelta(hours=1)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(delete(table))
        for number, token_id in enumerate(tokens):
            at = young if number == 0 else old
            given = {name: at if value is LAST_USE else value for name, value in fields.items()}
            row = _row_of(table, user_id, token_id, at) | given
            await connection.execute(table.insert().values(**row))
    await work(gate).sweep()
    async with gate.app[DATABASE].read() as connection:
        left = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
    assert left == 1


async def test_the_retention_of_sessions_is_a_setting(make_gate: MakeGate) -> None:
    gate = await make_gate(session_retention_days=1)
    token = UUID((await api.buy(gate, await api.sign_up(gate)))["id"])
    user_id, now = await api.user_id_of(gate), datetime.now(UTC)
    async with gate.app[DATABASE].begin() as connection:
        for hours in (23, 25):
            row = _row_of(usage_sessions, user_id, token, now - timedelta(hours=hours))
            await connection.execute(usage_sessions.insert().values(**row))
    await _sweep(gate)
    async with gate.app[DATABASE].read() as connection:
        query = select(func.count()).select_from(usage_sessions)
        assert (await connection.execute(query)).scalar_one() == 1


async def test_the_retention_of_the_audit_log_is_a_setting(make_gate: MakeGate) -> None:
    gate = await make_gate(audit_retention_days=40)
    now = datetime.now(UTC)
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(delete(audit_logs))
        for hours in (40 * 24 - 1, 40 * 24 + 1):
            row = _row_of(audit_logs, uuid4(), uuid4(), now - timedelta(hours=hours))
            await connection.execute(audit_logs.insert().values(**row))
    await _sweep(gate)
    async with gate.app[DATABASE].read() as connection:
        query = select(func.count()).select_from(audit_logs)
        assert (await connection.execute(query)).scalar_one() == 1


async def _sweep(gate: GateClient) -> None:
    """The periodic work of the running gate, with its settings."""
    (sweep,) = [job for job in gate.app[JOBS]._jobs if job.name == "sweep"]
    await sweep.work()


def test_every_table_says_how_long_its_rows_are_kept() -> None:
    page = Path("docs/reference/retention.md").read_text(encoding="utf-8")
    described = {name for line in page.splitlines() for name in re.findall(r"`([a-z_]+)`", line)}
    assert set(metadata.tables) <= described
