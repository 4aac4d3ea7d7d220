"""Notices: e-mails about events of an account, each sent once, also after the mail server was down.

Theory of operation
===================

The cluster's jobs (one node at a time, ``runtime/jobs.py``) do two things:

1. *Collect*. Each kind of notice is a query over the rows that its event leaves behind: a credited
   payment, a token that ends soon. Each row found becomes one row of ``mail_notices``. Kind and
   event identify it (a unique constraint), so an event that is found again adds nothing. An event
   is found for a day, so none is lost if the node ends in between.
2. *Send*. Rows that are due are claimed (a conditional UPDATE with a lease), rendered in the
   language of the reader, and sent. If the mail server refuses one or does not respond, it is due
   again later, with growing pauses.

- A notice that its reader has switched off is not collected, and not sent.
- Notices go to confirmed addresses of active accounts only.
- A node that ends between the mail server's acceptance and its UPDATE sends that notice again after
  the lease. That is the only case of a second e-mail.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from babel import dates
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    func,
    select,
    type_coerce,
    update,
)

from zenzefi import i18n
from zenzefi.accounts.models import users, web_sessions
from zenzefi.billing.models import payments, transactions
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import Money, hours_after, utcnow
from zenzefi.db.engine import Database
from zenzefi.db.upsert import insert_into
from zenzefi.mail.messages import MailRenderer, NoticeMessage
from zenzefi.mail.models import mail_notices, muted_notices
from zenzefi.mail.notice_kinds import NoticeKind
from zenzefi.mail.transports import MailTransport, NotSent
from zenzefi.settings import Settings
from zenzefi.tokens.models import access_tokens, renewals

log = logging.getLogger(__name__)

_FOUND_FOR = 24  # hours
_LEASE = timedelta(minutes=5)
_LONGEST_PAUSE = timedelta(hours=1)
_BATCH = 200
_n, _u, _t, _p, _x, _r = (
    table.c for table in (mail_notices, users, access_tokens, payments, transactions, renewals)
)


class Notices:
    """Collects and sends notices."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        renderer: MailRenderer,
        transport: MailTransport,
    ) -> None:
        self._settings = settings
        self._database = database
        self._renderer = renderer
        self._transport = transport

    async def run(self) -> None:
        """Collect what has happened, then send what is due."""
        await self.collect()
        await self.send()

    # --- collecting

    async def collect(self) -> None:
        """Insert a row for each event that has none yet."""
        for kind, query in self._events():
            is_new = ~(
                select(_n.id)
                .where(_n.kind == kind.value, _n.event_id == query.selected_columns.event_id)
                .exists()
            )
            wanted = query.where(
                is_new, _u.is_active, _u.email_verified_at.is_not(None), ~_is_muted(kind.value)
            ).limit(_BATCH)
            async with self._database.begin() as connection:
                for row in (await connection.execute(wanted)).all():
                    await self._insert(connection, kind, row)

    async def _insert(self, connection: AsyncConnection, kind: NoticeKind, row: Row[Any]) -> None:
        values = {
            name: str(value)
            for name, value in row._mapping.items()
            if name not in ("user_id", "event_id") and value is not None
        }
        await connection.execute(
            insert_into(self._database.dialect, mail_notices)
            .values(
                id=uuid4(),
                user_id=row.user_id,
                kind=kind.value,
                event_id=row.event_id,
                content=json.dumps(values, ensure_ascii=False),
                due_at=utcnow(),
            )
            .on_conflict_do_nothing()
        )

    def _events(self) -> list[tuple[NoticeKind, Select[Any]]]:
        """A query for each kind of notice: ``user_id``, ``event_id`` and the values of its text."""
        ends_at = hours_after(_t.activated_at, _t.duration_hours)
        before = self._settings.notice_before_end_hours
        tokens = (
            select(
                _t.user_id,
                _t.id.label("event_id"),
                *(_t.prefix, _t.name, ends_at.label("at"), _t.id.label("token_id")),
            )
            .join(users, _u.id == _t.user_id)
            .where(_t.activated_at.is_not(None), _t.revoked_at.is_(None))
        )
        paid = select(_p.user_id, _p.id.label("event_id"), _p.amount_znc.label("amount")).join(
            users, _u.id == _p.user_id
        )
        low = self._settings.notice_balance_below
        # In hundredths: a difference of two amounts has no type that converts `low`.
        before_it = type_coerce(_x.balance_after, BigInteger) - type_coerce(_x.amount, BigInteger)
        spent = (
            select(_x.user_id, _x.id.label("event_id"), _x.balance_after.label("amount"))
            .join(users, _u.id == _x.user_id)
            .where(_x.amount < 0, _x.balance_after < low, before_it >= int(low.scaleb(2)))
            .where(_is_recent(_x.created_at))
        )
        ends_soon = and_(
            ends_at > utcnow(),
            ends_at <= hours_after(utcnow(), before),
            _t.duration_hours > before,
        )
        has_ended = and_(ends_at <= utcnow(), _is_recent(ends_at))
        return [
            (NoticeKind.TOKEN_ENDS_SOON, tokens.where(ends_soon, ~_is_renewed())),
            (NoticeKind.TOKEN_ENDED, tokens.where(has_ended, ~_is_renewed())),
            (NoticeKind.RENEWAL_SOON, _renewals("waiting", ends_at).where(ends_soon)),
            (NoticeKind.RENEWED, _renewals("renewed", ends_at)),
            (NoticeKind.RENEWAL_FAILED, _renewals("failed", ends_at)),
            (NoticeKind.BALANCE_LOW, spent),
            (
                NoticeKind.PAYMENT_ARRIVED,
                paid.where(_p.credited_at.is_not(None), _is_recent(_p.credited_at)),
            ),
            (
                NoticeKind.PAYMENT_FAILED,
                paid.where(_p.status == "failed", _is_recent(_p.updated_at)),
            ),
            (NoticeKind.NEW_SIGN_IN, _new_sign_ins()),
        ]

    # --- sending

    async def send(self) -> None:
        """Send all rows that are due. Stops at the first failure of the mail server."""
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(_due())).all()
            for row in rows:
                if not await self._send(row):
                    return
            if len(rows) < _BATCH:
                return

    async def _send(self, row: Row[Any]) -> bool:
        """Send one row; whether to go on with the next one."""
        if not await self._claim(row.id):
            return True
        if row.is_muted or not row.is_active or row.email_verified_at is None:
            await self._set(row.id, sent_at=utcnow())
            return True
        try:
            context = i18n.locale_context(row.locale if row.locale in i18n.LANGUAGES else "en")
            message = self._renderer.render(self._message(row, context), context)
            message["From"] = self._settings.mail_from
        except ValueError:  # an address that is not valid in a header
            log.exception("notice not rendered: notice=%s", row.id)
            await self._set(row.id, sent_at=utcnow())
            return True
        try:
            await self._transport.send(message)
        except NotSent as error:
            log.warning("notice not sent, will retry: notice=%s error=%s", row.id, error)
            pause = min(_LONGEST_PAUSE, timedelta(minutes=2 ** min(row.attempts, 10)))
            await self._set(row.id, due_at=await self._now() + pause, attempts=row.attempts + 1)
            return False
        await self._set(row.id, sent_at=utcnow())
        return True

    async def _claim(self, notice_id: UUID) -> bool:
        now = await self._now()
        async with self._database.begin() as connection:
            claimed = await connection.execute(
                update(mail_notices)
                .where(_n.id == notice_id, _n.sent_at.is_(None), _n.due_at <= now)
                .values(due_at=now + _LEASE)
            )
            return claimed.rowcount == 1

    async def _set(self, notice_id: UUID, **values: Any) -> None:
        async with self._database.begin() as connection:
            await connection.execute(
                update(mail_notices).where(_n.id == notice_id).values(**values)
            )

    async def _now(self) -> datetime:
        async with self._database.read() as connection:
            now: datetime = (await connection.execute(select(utcnow()))).scalar_one()
            return now

    def _message(self, row: Row[Any], context: i18n.LocaleContext) -> NoticeMessage:
        values, origin = json.loads(row.content), self._settings.public_origin
        with i18n.using(context):
            amount = i18n.money(Decimal(values["amount"])) if "amount" in values else ""
            at = _text_of(datetime.fromisoformat(values["at"])) if "at" in values else ""
        what = values.get("name") or (f"{values['prefix']}…" if "prefix" in values else "")
        return NoticeMessage(
            row.email,
            row.username,
            kind=row.kind,
            what=what or values.get("agent", ""),
            amount=amount,
            at=at,
            link=f"{origin}{NoticeKind(row.kind).path}{values.get('token_id', '')}",
            settings_link=f"{origin}/account/notices",
        )


def _is_recent(moment: ColumnElement[Any]) -> ColumnElement[bool]:
    return hours_after(moment, _FOUND_FOR) > utcnow()


def _is_renewed() -> ColumnElement[bool]:
    """Whether a token's renewal is on or took place: other notices say when it ends."""
    return select(_r.id).where(_r.token_id == _t.id, _r.status != "stopped").exists()


def _renewals(status: str, ends_at: ColumnElement[Any]) -> Select[Any]:
    """Renewals; ``token_id`` is the token of the page that the e-mail links to."""
    query = (
        select(
            *(_r.user_id, _r.token_id.label("event_id"), _t.prefix, _t.name, ends_at.label("at")),
            func.coalesce(_r.price, _r.ceiling, type_=Money).label("amount"),
            func.coalesce(_r.next_token_id, _r.token_id).label("token_id"),
        )
        .join(access_tokens, _t.id == _r.token_id)
        .join(users, _u.id == _r.user_id)
        .where(_r.status == status)
    )
    return query if status == "waiting" else query.where(_is_recent(_r.updated_at))


def _is_muted(kind: Any) -> ColumnElement[bool]:
    muted = muted_notices.c
    return select(muted.kind).where(muted.user_id == _u.id, muted.kind == kind).exists()


def _new_sign_ins() -> Select[Any]:
    """Sign-ins with a browser that is new to the account; not the first of the account."""
    s, earlier = web_sessions.c, web_sessions.alias("earlier").c
    before = and_(earlier.user_id == s.user_id, earlier.created_at < s.created_at)
    return (
        select(s.user_id, s.id.label("event_id"), s.agent, s.created_at.label("at"))
        .join(users, _u.id == s.user_id)
        .where(
            _is_recent(s.created_at),
            select(earlier.id).where(before).exists(),
            ~select(earlier.id)
            .where(before, func.coalesce(earlier.agent, "") == func.coalesce(s.agent, ""))
            .exists(),
        )
    )


def _due() -> Select[Any]:
    return (
        select(
            *(_n.id, _n.kind, _n.content, _n.attempts),
            *(_u.email, _u.email_verified_at, _u.username, _u.locale, _u.is_active),
            _is_muted(_n.kind).label("is_muted"),
        )
        .join(users, _u.id == _n.user_id)
        .where(_n.sent_at.is_(None), _n.due_at <= utcnow())
        .order_by(_n.due_at, _n.id)
        .limit(_BATCH)
    )


def _text_of(moment: datetime) -> str:
    return f"{dates.format_datetime(moment, 'd MMM y, HH:mm', locale=i18n.current().locale)} UTC"
