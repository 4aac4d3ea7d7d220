"""Usage over time: the chart of one token, and the page about all tokens of a user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from aiohttp import web
from markupsafe import Markup

from zenzefi import i18n
from zenzefi.i18n import gettext as _
from zenzefi.tokens.session_queries import SESSION_QUERIES, Session, distribute
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web import charts
from zenzefi.web.forms import BLANK
from zenzefi.web.page import PageContext
from zenzefi.web.routing import PageAccess, PageRoutes

routes = PageRoutes(access=PageAccess.SIGNED_IN, section="/account")

MAX_BARS = 61
"""An hour has 60 minutes, and begins within one."""
_DAY = timedelta(days=1)
_STEPS = (
    *(timedelta(minutes=count) for count in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=count) for count in (1, 2, 3, 6)),
    *(timedelta(days=count) for count in (1, 2, 7)),
)
_RANGES = {
    "hour": timedelta(hours=1),
    "day": _DAY,
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=90),
}


def edges(begin: datetime, end: datetime, zone: tzinfo) -> list[datetime]:
    """Ascending boundaries of at most :data:`MAX_BARS` equal intervals that cover the time.

    The interval is the shortest usual one that is long enough. Boundaries are round times of the
    zone: full minutes, hours or days. They are in UTC, whose differences are lengths of time.
    """
    begin = begin.astimezone(zone)
    step = next((one for one in _STEPS if (end - begin) / one <= MAX_BARS - 1), _STEPS[-1])
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    found = [midnight + (begin - midnight) // step * step]
    if step < _DAY:
        found = [found[0].astimezone(UTC)]
    while found[-1] < end:  # days of the calendar, also over a change of the clock
        found.append(found[-1] + step)
    return [one.astimezone(UTC) for one in found[-MAX_BARS - 1 :]]


def _label(bounds: Sequence[datetime]) -> Callable[[datetime], str]:
    if bounds[1] - bounds[0] > _DAY / 2:
        return i18n.day
    if bounds[-1] - bounds[0] <= _DAY:
        return i18n.hour
    return lambda moment: f"{i18n.day(moment)}, {i18n.hour(moment)}"


def chart(title: str, sessions: Sequence[Session], begin: datetime, end: datetime) -> Markup:
    """The traffic of the sessions between two moments; empty without traffic.

    The intervals fit what is shown: minutes for an hour, days for a month.
    """
    bounds = edges(begin, max(end, begin + _STEPS[0]), i18n.current().zone)
    spans = distribute(sessions, bounds)
    if not any(bytes_in or bytes_out for bytes_in, bytes_out in spans):
        return Markup()
    label = _label(bounds)
    bars = [
        charts.Bar(label(edge), received=bytes_out, sent=bytes_in)
        for edge, (bytes_in, bytes_out) in zip(bounds, spans, strict=False)
    ]
    return charts.traffic(title, bars)


@routes.get("/account/usage")
async def usage(page: PageContext) -> web.StreamResponse:
    """Requests and traffic of all tokens in a range of time, in total and by token."""
    app, wanted = page.request.app, page.request.query.get("range", "")
    name = wanted if wanted in _RANGES else "week"
    now = app[TOKEN_VALIDATOR].now()
    begin = now - _RANGES[name]
    queries = app[SESSION_QUERIES]
    tokens = await queries.by_token(page.user.id, begin)
    sessions = await queries.since(begin, user_id=page.user.id)
    return page.render(
        "account/usage.html",
        blank=BLANK,
        chosen=name,
        ranges=[
            ("hour", _("Last hour")),
            ("day", _("Last 24 hours")),
            ("week", _("Last 7 days")),
            ("month", _("Last 30 days")),
            ("quarter", _("Last 90 days")),
        ],
        tokens=tokens,
        requests=sum(one.requests for one in tokens),
        received=sum(one.bytes_out for one in tokens),
        sent=sum(one.bytes_in for one in tokens),
        chart=chart(_("Traffic"), sessions, begin, now),
    )
