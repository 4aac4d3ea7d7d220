"""Housekeeping jobs: metrics of the cluster, reconciliation, expiry and retention."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from sqlalchemy import Column, ColumnElement, Table, and_, delete, func, or_, select, update

from zenzefi.accounts.models import api_keys, invitations, one_time_links, web_sessions
from zenzefi.api.idempotency import idempotency_keys
from zenzefi.audit.models import audit_logs
from zenzefi.billing.models import payments
from zenzefi.db.base import utcnow
from zenzefi.db.engine import DATABASE, Database
from zenzefi.mail.messages import MAIL_RENDERER
from zenzefi.mail.models import mail_notices
from zenzefi.mail.transports import transport_for
from zenzefi.maintenance.notices import Notices
from zenzefi.maintenance.reconciliation import reconcile
from zenzefi.observability.metrics import ACTIVE_SESSIONS, ACTIVE_TOKENS, LEDGER_MISMATCHES
from zenzefi.runtime.jobs import JOBS
from zenzefi.settings import SETTINGS
from zenzefi.tokens.models import (
    SESSION_IDLE,
    access_tokens,
    device_claims,
    proxy_sign_ins,
    renewals,
    usage_sessions,
)
from zenzefi.tokens.orders import ORDERS
from zenzefi.tokens.renewals import RENEWALS
from zenzefi.tokens.token_records import is_active

log = logging.getLogger(__name__)

_HOUR, _DAY = 3600.0, 86400.0
_PAYMENT_LIFE = timedelta(hours=24)  # of a checkout without an expiry time of the provider
_KEY_LIFE = timedelta(hours=48)  # twice what a client may rely on for Idempotency-Key
_KEPT = timedelta(days=30)  # ended sign-ins and used links, for the investigation of misuse
_FAILURES_KEPT = timedelta(days=30)  # rows of the audit log that unauthenticated clients cause
_FAILURES = ("user.sign_in_failed", "user.second_factor_failed")
_CLAIM_KEPT = timedelta(days=1)  # a claim expires after minutes without use
_BATCH = 1_000  # rows
_MAX_BATCHES = 1_000  # of one table in one sweep; the next sweep deletes the remaining rows


class Housekeeping:
    """The jobs. Each may run at any time, also concurrently on two nodes."""

    def __init__(
        self,
        database: Database,
        *,
        audit_retention: timedelta,
        session_retention: timedelta = timedelta(days=90),
    ) -> None:
        self._database = database
        self._audit_retention = audit_retention
        self._session_retention = session_retention

    async def _now(self) -> datetime:
        """The database's time, which the rows contain; this node's clock may differ."""
        async with self._database.read() as connection:
            now: datetime = (await connection.execute(select(utcnow()))).scalar_one()
            return now

    async def count(self) -> None:
        """Set the metrics of activated tokens and open sessions."""
        running = select(func.count()).select_from(access_tokens)
        running = running.where(is_active(), access_tokens.c.activated_at.is_not(None))
        going_on = select(func.count()).select_from(usage_sessions)
        going_on = going_on.where(usage_sessions.c.ended_at.is_(None))
        async with self._database.read() as connection:
            ACTIVE_TOKENS.set((await connection.execute(running)).scalar_one())
            ACTIVE_SESSIONS.set((await connection.execute(going_on)).scalar_one())

    async def reconcile_ledger(self) -> None:
        """Reconcile all accounts; discrepancies are reported by metric and log."""
        result = await reconcile(self._database)
        LEDGER_MISMATCHES.set(result.wrong)
        if result.wrong:
            log.critical(
                "ledger discrepancies: accounts=%d",
                result.wrong,
                extra={"discrepancies": [str(one) for one in result.discrepancies]},
            )

    async def end_idle_sessions(self) -> None:
        """End sessions without requests for :data:`SESSION_IDLE`."""
        before = await self._now() - SESSION_IDLE
        idle = and_(usage_sessions.c.ended_at.is_(None), usage_sessions.c.last_seen_at < before)
        async with self._database.begin() as connection:
            await connection.execute(
                update(usage_sessions)
                .where(idle)
                .values(ended_at=usage_sessions.c.last_seen_at, end_reason="idle")
            )

    async def expire_payments(self) -> None:
        """Expire old checkouts. A payment that arrives later is still credited."""
        now, p = await self._now(), payments.c
        out = or_(
            p.expires_at < now, and_(p.expires_at.is_(None), p.created_at < now - _PAYMENT_LIFE)
        )
        async with self._database.begin() as connection:
            await connection.execute(
                update(payments)
                .where(p.status == "pending", out)
                .values(status="expired", updated_at=utcnow())
            )

    async def sweep(self) -> None:
        """Delete rows beyond their retention (docs/reference/retention.md), in batches."""
        for table, key, is_old in self._old(await self._now()):
            await self._delete(table, key, is_old)

    def _old(self, now: datetime) -> list[tuple[Table, Column[Any], ColumnElement[bool]]]:
        """Tables with their primary key and the condition of the rows to delete."""
        audit, links, uses = audit_logs.c, one_time_links.c, usage_sessions.c
        sessions, sign_ins, access = web_sessions.c, proxy_sign_ins.c, api_keys.c
        keys, claims, notices = idempotency_keys.c, device_claims.c, mail_notices.c
        renewal = renewals.c
        invited = invitations.c
        is_failure = audit.action.in_(_FAILURES)
        return [
            (audit_logs, audit.id, audit.created_at < now - self._audit_retention),
            (audit_logs, audit.id, is_failure & (audit.created_at < now - _FAILURES_KEPT)),
            (idempotency_keys, keys.id, keys.created_at < now - _KEY_LIFE),
            (one_time_links, links.id, links.expires_at < now - _KEPT),
            (
                api_keys,
                access.id,
                or_(access.expires_at < now - _KEPT, access.revoked_at < now - _KEPT),
            ),
            (
                proxy_sign_ins,
                sign_ins.id,
                or_(sign_ins.expires_at < now - _KEPT, sign_ins.ended_at < now - _KEPT),
            ),
            (
                web_sessions,
                sessions.id,
                or_(sessions.expires_at < now - _KEPT, sessions.ended_at < now - _KEPT),
            ),
            (usage_sessions, uses.id, uses.last_seen_at < now - self._session_retention),
            (mail_notices, notices.id, notices.created_at < now - _KEPT),
            (
                renewals,
                renewal.id,
                renewal.status.in_(("stopped", "failed")) & (renewal.updated_at < now - _KEPT),
            ),
            (
                invitations,
                invited.id,
                or_(
                    invited.used_at.is_(None) & (invited.expires_at < now - _KEPT),
                    invited.used_at < now - self._audit_retention,
                ),
            ),
            (device_claims, claims.token_id, claims.last_seen_at < now - _CLAIM_KEPT),
        ]

    async def _delete(self, table: Table, key: Column[Any], is_old: ColumnElement[bool]) -> None:
        """Delete in several transactions, so that other writers never wait long for a lock."""
        some = delete(table).where(key.in_(select(key).where(is_old).limit(_BATCH)))
        for _ in range(_MAX_BATCHES):
            async with self._database.begin() as connection:
                if (await connection.execute(some)).rowcount < _BATCH:
                    return
            await asyncio.sleep(0)


def reset_metrics() -> None:
    """Reset the cluster's metrics on this node: dashboards show the maximum over all nodes."""
    for gauge in (ACTIVE_TOKENS, ACTIVE_SESSIONS, LEDGER_MISMATCHES):
        gauge.set(0)


def setup(app: web.Application) -> None:
    """Add the jobs to the application; its ``Jobs`` have to be set up before."""
    settings = app[SETTINGS]
    work = Housekeeping(
        app[DATABASE],
        audit_retention=timedelta(days=settings.audit_retention_days),
        session_retention=timedelta(days=settings.session_retention_days),
    )
    jobs = app[JOBS]
    jobs.on_leadership_lost(reset_metrics)
    jobs.add("figures", 15.0, work.count)
    jobs.add("idle_sessions", 60.0, work.end_idle_sessions)
    jobs.add("payment_expiry", 300.0, work.expire_payments)
    jobs.add("orders", 30.0, app[ORDERS].complete_credited)
    jobs.add("renewals", 15.0, app[RENEWALS].renew_ended)
    jobs.add("ledger_proof", _DAY, work.reconcile_ledger)
    if MAIL_RENDERER in app and settings.mail_url is not None:
        transport = transport_for(settings.mail_url.get_secret_value())
        jobs.add(
            "notices", 30.0, Notices(settings, app[DATABASE], app[MAIL_RENDERER], transport).run
        )
    jobs.add("sweep", _HOUR, work.sweep)
