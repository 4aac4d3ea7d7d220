"""Days in forms, in the reader's time zone."""

from __future__ import annotations

from datetime import date, datetime, time

from zenzefi import i18n
from zenzefi.i18n import gettext as _
from zenzefi.web.forms import Form


def day(form: Form, name: str) -> date | None:
    """The day in a field; ``None`` if it is empty, or invalid (the field gets an error)."""
    text = form.text(name)
    if not text:
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = date.max
    if not date(2000, 1, 1) <= found < date(9000, 1, 1):
        form.fail(name, _("Please enter a date such as 2026-11-23."))
        return None
    return found


def today() -> date:
    """The current day of the reader."""
    return datetime.now(i18n.current().zone).date()


def midnight(day: date) -> datetime:
    """The beginning of a day of the reader."""
    return datetime.combine(day, time(), i18n.current().zone)
