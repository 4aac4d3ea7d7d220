"""Languages of pages and e-mails: negotiation, translations, and formats of numbers and times.

A :class:`LocaleContext` holds language, locale, catalog and time zone. :func:`using` makes one
current for the code inside, so that formatting functions and templates need no parameter for it.

The catalogs are the ``.po`` files themselves. They are compiled in memory at first use, so that a
plain checkout shows every language without a build step.
"""

from __future__ import annotations

import gettext as gnu
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jinja2
from aiohttp import web
from babel import Locale, dates, negotiate_locale, numbers
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from markupsafe import Markup

from zenzefi import gate_cookies
from zenzefi.http_syntax import weights

FOLDER = Path(__file__).resolve().parent / "translations"
LANGUAGES = {"en": "English", "ru": "Русский"}
"""Language codes (RFC 5646) and the languages' names for the language menu."""

LANGUAGE_COOKIE = gate_cookies.LANGUAGE
ZONE_COOKIE = gate_cookies.ZONE
CURRENCY = "ZNC"


@dataclass(frozen=True, slots=True)
class LocaleContext:
    """Language, locale, catalog and time zone of one reader."""

    language: str
    locale: Locale
    catalog: gnu.NullTranslations
    zone: tzinfo


@cache
def _catalog(language: str) -> gnu.NullTranslations:
    path = FOLDER / language / "LC_MESSAGES" / "messages.po"
    if not path.is_file():
        return gnu.NullTranslations()
    with path.open("rb") as file:
        catalog = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return gnu.GNUTranslations(compiled)


def locale_context(language: str, zone: tzinfo = UTC) -> LocaleContext:
    """The context for one of :data:`LANGUAGES`; times are shown in ``zone``."""
    return LocaleContext(language, Locale.parse(language), _catalog(language), zone)


_current: ContextVar[LocaleContext] = ContextVar("locale_context")


def current() -> LocaleContext:
    """The current context; English in UTC where none was set."""
    found = _current.get(None)
    return locale_context("en") if found is None else found


@contextmanager
def using(context: LocaleContext) -> Iterator[LocaleContext]:
    """Make a context the current one inside of the ``with`` statement."""
    mark = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(mark)


def context_of(request: web.Request) -> LocaleContext:
    """The context of a request: its language cookie, else ``Accept-Language``; its time zone."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    language = (
        chosen
        if chosen in LANGUAGES
        else negotiate(request.headers.get("Accept-Language", "")[:500])
    )
    return locale_context(language, _zone(unquote(request.cookies.get(ZONE_COOKIE, ""))))


def negotiate(header: str) -> str:
    """The best of :data:`LANGUAGES` for an ``Accept-Language`` (RFC 9110, 12.5.4), else English."""
    wanted = {name: weight for name, weight in weights(header).items() if weight > 0}
    names = sorted(wanted, key=lambda name: -wanted[name])
    return negotiate_locale(names, list(LANGUAGES), sep="-") or "en"


def _zone(name: str) -> tzinfo:
    # Clients can send any cookie value: ZoneInfo gets nothing that could be a file path.
    if not name or len(name) > 64 or name.startswith(("/", ".")) or ".." in name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


# --- texts ---------------------------------------------------------------------------------------


def gettext(message: str, **values: Any) -> str:
    """``message`` in the reader's language, ``%(name)s`` filled in."""
    text = current().catalog.gettext(message)
    return text % values if values else text


def ngettext(singular: str, plural: str, count: int, **values: Any) -> str:
    """The plural form for ``count``; ``%(num)s`` is the count as :func:`number` writes it."""
    text = current().catalog.ngettext(singular, plural, count)
    return text % {"num": number(count), **values}


def pgettext(context: str, message: str) -> str:
    """A text whose translation depends on where it is used."""
    return current().catalog.pgettext(context, message)


def N_(message: str) -> str:  # noqa: N802 - the name that extraction tools know
    """Mark a text for extraction; it is translated later, where it is shown."""
    return message


def install(environment: jinja2.Environment) -> None:
    """Translate ``{% trans %}`` and ``gettext()`` in templates, by the current context.

    Line breaks in a text and spaces around them become one space.
    """
    environment.policies["ext.i18n.trimmed"] = True
    environment.add_extension("jinja2.ext.i18n")
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # the extension adds it
        lambda message: current().catalog.gettext(message),
        lambda one, many, count: current().catalog.ngettext(one, many, count),
        newstyle=True,
        pgettext=pgettext,
    )


# --- numbers and times ---------------------------------------------------------------------------


def number(value: float | Decimal) -> str:
    """A number with the locale's grouping and decimal separators."""
    return numbers.format_decimal(value, locale=current().locale)


def money(amount: Decimal, *, signed: bool = False) -> str:
    """An amount of ZNC with two places; the minus is a minus sign, not a hyphen."""
    pattern = "#,##0.00"
    text = numbers.format_decimal(abs(amount), format=pattern, locale=current().locale)
    sign = "−" if amount < 0 else "+" if signed and amount > 0 else ""
    return f"{sign}{text}\N{NO-BREAK SPACE}{CURRENCY}"


def price(amount: Decimal, currency: str) -> str:
    """An amount of money that is paid, in a currency (ISO 4217): "€12.40", "12,40 €".

    Rounded as payments are: hundredths, half up.
    """
    rounded = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
    text = numbers.format_currency(rounded, currency, locale=current().locale)
    # Unicode TS 35 (currency spacing): a space separates an alphabetic code from the digits.
    return re.sub(r"(?<=[A-Za-z])(?=[0-9])", "\N{NO-BREAK SPACE}", text)


def when(moment: datetime, *, seconds: bool = False) -> Markup:
    """A ``<time>`` element in the reader's zone; a script corrects it where the zone is unknown."""
    context = current()
    local = moment.astimezone(context.zone)
    pattern = "d MMM y, HH:mm:ss" if seconds else "d MMM y, HH:mm"
    text = dates.format_datetime(local, pattern, locale=context.locale)
    if context.zone is UTC:
        text += " UTC"
    # Markup.format escapes what it is given.
    return Markup('<time datetime="{}" data-local="{}">{}</time>').format(
        moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "seconds" if seconds else "minutes",
        text,
    )


def date_text(day: date) -> str:
    """A day with its year: "23 Nov 2026"."""
    return dates.format_date(day, "d MMM y", locale=current().locale)


def percent(share: float) -> str:
    """A share with one decimal place: "12.5%"."""
    locale = current().locale
    pattern = "#,##0.#" + locale.percent_formats[None].pattern.lstrip("#,0")
    return numbers.format_percent(share, format=pattern, locale=locale)


def day(moment: datetime) -> str:
    """A day without its year, as on a chart."""
    return dates.format_datetime(
        moment.astimezone(current().zone), "d MMM", locale=current().locale
    )


def hour(moment: datetime) -> str:
    """The time of day, as on a chart."""
    return dates.format_datetime(
        moment.astimezone(current().zone), "HH:mm", locale=current().locale
    )


def hours(count: int) -> str:
    """A purchased duration: "12 hours", "7 days" (24 hours and less stay hours)."""
    if count > 24 and count % 24 == 0:
        return ngettext("%(num)s day", "%(num)s days", count // 24)
    return ngettext("%(num)s hour", "%(num)s hours", count)


def remaining(seconds: float) -> str:
    """Remaining time in two units at most: "2 d 4 h", "3 h 12 min", "45 s"."""
    left = max(0, int(seconds))
    days, left = divmod(left, 86400)
    hour, left = divmod(left, 3600)
    minute, second = divmod(left, 60)
    units = [
        (days, gettext("%(n)s d", n=days)),
        (hour, gettext("%(n)s h", n=hour)),
        (minute, gettext("%(n)s min", n=minute)),
        (second, gettext("%(n)s s", n=second)),
    ]
    while len(units) > 1 and not units[0][0]:
        units.pop(0)
    shown = units[:2] if len(units) > 1 and units[1][0] else units[:1]
    return "\N{NO-BREAK SPACE}".join(text for _, text in shown).replace(" ", "\N{NO-BREAK SPACE}")


def span(seconds: float) -> str:
    """A measured duration: "0.4 ms", "12.3 s"."""
    if seconds >= 1:
        value, unit = seconds, gettext("%(n)s s")
    elif seconds >= 0.001:
        value, unit = seconds * 1000, gettext("%(n)s ms")
    else:
        value, unit = seconds * 1_000_000, gettext("%(n)s µs")
    digits = "#,##0" if value >= 100 or value == 0 else "#,##0.0"
    text = numbers.format_decimal(value, format=digits, locale=current().locale)
    return (unit % {"n": text}).replace(" ", "\N{NO-BREAK SPACE}")


def size(count: int) -> str:
    """Bytes in decimal units (IEC 80000-13): "340 B", "12.4 MB"."""
    units = [gettext("%(n)s B"), gettext("%(n)s kB"), gettext("%(n)s MB"), gettext("%(n)s GB")]
    power = min(len(units) - 1, (len(str(count)) - 1) // 3)
    value = count / 1000**power
    digits = "#,##0" if value >= 100 or power == 0 else "#,##0.0"
    text = numbers.format_decimal(value, format=digits, locale=current().locale)
    return (units[power] % {"n": text}).replace(" ", "\N{NO-BREAK SPACE}")
