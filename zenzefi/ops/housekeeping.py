"""The gate's periodic work: figures for the metrics, the proof of the books, and sweeping."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from aiohttp import web
from sqlalchemy import and_, delete, func, or_, select, update

from zenzefi.accounts.models import one_time_links, web_sessions
from zenzefi.audit.models import audit_logs
from zenzefi.billing.models import idempotency_keys, payments
from zenzefi.billing.proof import prove
from zenzefi.config import SETTINGS
from zenzefi.db.base import utcnow
from zenzefi.db.engine import DATABASE, Database
from zenzefi.ops.jobs import JOBS
from zenzefi.ops.metrics import ACTIVE_SESSIONS, ACTIVE_TOKENS, LEDGER_MISMATCHES
from zenzefi.tokens.issue import is_active
from zenzefi.tokens.models import access_tokens, proxy_sign_ins, usage_sessions

log = logging.getLogger(__name__)

_HOUR, _DAY = 3600.0, 86400.0
_SESSION_IDLE = timedelta(minutes=30)  # a session of use unseen for so long is over
_PAYMENT_LIFE = timedelta(hours=24)  # a checkout whose provider named no end
_KEY_LIFE = timedelta(hours=48)  # twice what a client may rely on for Idempotency-Key
_KEPT = timedelta(days=30)  # ended sign-ins and used links: long enough to look into a misuse


class Housekeeping:
    """The work itself, each piece callable alone. All of it may run at any time, twice too."""

    def __init__(self, database: Database, *, audit_retention: timedelta) -> None:
        self._database = database
        self._audit_retention = audit_retention

    async def count(self) -> None:
        """How many tokens run and how many sessions of use go on, for the metrics."""
        running = select(func.count()).select_from(access_tokens)
        running = running.where(is_active(), access_tokens.c.activated_at.is_not(None))
        going_on = select(func.count()).select_from(usage_sessions)
        going_on = going_on.where(usage_sessions.c.ended_at.is_(None))
        async with self._database.read() as connection:
            ACTIVE_TOKENS.set((await connection.execute(running)).scalar_one())
            ACTIVE_SESSIONS.set((await connection.execute(going_on)).scalar_one())

    async def prove_ledger(self) -> None:
        """Every balance is the sum of its ledger; what is not is told by metric and log."""
        proof = await prove(self._database)
        LEDGER_MISMATCHES.set(proof.wrong)
        if proof.wrong:
            faults = [f"{fault.user_id}: {fault.what}" for fault in proof.faults]
            log.critical(
                "the books of %d accounts are wrong", proof.wrong, extra={"faults": faults}
            )

    async def end_idle_sessions(self) -> None:
        """Close the books on sessions of use that nobody continued."""
        before = datetime.now(UTC) - _SESSION_IDLE
        idle = and_(usage_sessions.c.ended_at.is_(None), usage_sessions.c.last_seen_at < before)
        async with self._database.begin() as connection:
            await connection.execute(
                update(usage_sessions)
                .where(idle)
                .values(ended_at=usage_sessions.c.last_seen_at, end_reason="idle")
            )

    async def expire_payments(self) -> None:
        """Give up checkouts that ran out. Should the money come all the same, it is credited."""
        now, p = datetime.now(UTC), payments.c
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
        """Forget what nobody will ask for again: old audit rows, keys, links and sign-ins."""
        now = datetime.now(UTC)
        links, sessions, sign_ins = one_time_links.c, web_sessions.c, proxy_sign_ins.c
        statements = [
            delete(audit_logs).where(audit_logs.c.created_at < now - self._audit_retention),
            delete(idempotency_keys).where(idempotency_keys.c.created_at < now - _KEY_LIFE),
            delete(one_time_links).where(links.expires_at < now - _KEPT),
            delete(proxy_sign_ins).where(
                or_(sign_ins.expires_at < now - _KEPT, sign_ins.ended_at < now - _KEPT)
            ),
            delete(web_sessions).where(
                or_(sessions.expires_at < now - _KEPT, sessions.ended_at < now - _KEPT)
            ),
        ]
        for statement in statements:  # each alone: no long lock over several tables
            async with self._database.begin() as connection:
                await connection.execute(statement)


def forget_figures() -> None:
    """Say nothing of the cluster any more: dashboards take the maximum over the nodes."""
    for figure in (ACTIVE_TOKENS, ACTIVE_SESSIONS, LEDGER_MISMATCHES):
        figure.set(0)


def setup(app: web.Application) -> None:
    """Hand the work to the jobs, which are there already."""
    settings = app[SETTINGS]
    work = Housekeeping(
        app[DATABASE], audit_retention=timedelta(days=settings.audit_retention_days)
    )
    jobs = app[JOBS]
    jobs.afterwards(forget_figures)
    jobs.add("figures", 15.0, work.count)
    jobs.add("idle_sessions", 60.0, work.end_idle_sessions)
    jobs.add("payment_expiry", 300.0, work.expire_payments)
    jobs.add("ledger_proof", _DAY, work.prove_ledger)
    jobs.add("sweep", _HOUR, work.sweep)
