"""Filters and globals of the templates."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import jinja2
from babel import numbers
from markupsafe import Markup

from zenzefi import i18n
from zenzefi.web import charts, labels
from zenzefi.web.assets import Assets


def prepare(environment: jinja2.Environment, assets: Assets) -> None:
    """Install filters and globals."""
    environment.trim_blocks = True
    environment.lstrip_blocks = True
    environment.filters.update(
        money=i18n.money,
        number=i18n.number,
        amount=_amount,
        when=i18n.when,
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


def _amount(value: Any) -> str:
    return numbers.format_decimal(value, format="#,##0.00", locale=i18n.current().locale)


def _countdown(ends: datetime, seconds: float) -> Markup:
    units = "|".join(
        i18n.gettext(unit) % {"n": ""} for unit in ("%(n)s d", "%(n)s h", "%(n)s min", "%(n)s s")
    )
    return Markup('<strong data-ends="{}" data-units="{}">{}</strong>').format(
        ends.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "|".join(unit.strip() for unit in units.split("|")),
        i18n.remaining(seconds),
    )
