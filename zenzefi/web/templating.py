"""Filters and globals of the templates."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import jinja2
from markupsafe import Markup

from zenzefi import i18n
from zenzefi.settings import Settings
from zenzefi.web import charts, labels
from zenzefi.web.assets import Assets


def prepare(environment: jinja2.Environment, assets: Assets, settings: Settings) -> None:
    """Install filters and globals."""
    environment.trim_blocks = True
    environment.lstrip_blocks = True
    environment.filters.update(
        money=i18n.money,
        number=i18n.number,
        when=i18n.when,
        date=i18n.date_text,
        percent=i18n.percent,
        hours=i18n.hours,
        size=i18n.size,
        span=i18n.span,
        transaction_type=labels.transaction_type,
        payment_state=labels.payment_state,
        description=labels.description,
        program=labels.program,
        audit_action=labels.audit_action,
        audit_resource=labels.audit_resource,
        remaining=i18n.remaining,
    )
    environment.globals.update(
        asset=assets.url,
        audit_detail=labels.audit_detail,
        countdown_text=_countdown,
        spark=charts.line,
    )

    def in_currencies(amount: Decimal) -> str:
        """An amount of ZNC in the currencies of the settings, the one that buyers pay in first."""
        return " · ".join(i18n.price(amount * rate, code) for code, rate in settings.rates.items())

    environment.filters.update(in_currencies=in_currencies, price=i18n.price)


def _countdown(ends: datetime, seconds: float) -> Markup:
    units = "|".join(
        i18n.gettext(unit) % {"n": ""} for unit in ("%(n)s d", "%(n)s h", "%(n)s min", "%(n)s s")
    )
    return Markup('<strong data-ends="{}" data-units="{}">{}</strong>').format(
        ends.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "|".join(unit.strip() for unit in units.split("|")),
        i18n.remaining(seconds),
    )
