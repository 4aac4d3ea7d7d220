"""What the pages show of the domains' values: names and figures, ready for a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar
from uuid import UUID

from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext
from zenzefi.settings import DURATIONS, Settings
from zenzefi.tokens.refunds import refund_due
from zenzefi.tokens.token_records import TokenRecord
from zenzefi.web import labels

_ItemT = TypeVar("_ItemT")


@dataclass(frozen=True, slots=True)
class Ticket:
    """One access token as a card."""

    id: UUID
    value: str
    title: str
    name: str
    hours: int
    stub_number: int
    stub_unit: str
    scope_name: str
    cost: Decimal
    refund: Decimal
    state: str
    created_at: datetime
    activated_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    seconds_left: float

    @property
    def ended(self) -> bool:
        """Whether it lets nobody in any more."""
        return self.state in ("expired", "revoked")


def state_of(token: TokenRecord) -> str:
    """``ready``, ``active``, ``expired`` or ``revoked``."""
    if token.revoked_at is not None:
        return "revoked"
    if not token.is_active:
        return "expired"
    return "ready" if token.activated_at is None else "active"


def ticket(token: TokenRecord, settings: Settings) -> Ticket:
    """The card of one token."""
    if token.duration_hours > 24 and token.duration_hours % 24 == 0:
        number = token.duration_hours // 24
        unit = ngettext("day", "days", number)
    else:
        number = token.duration_hours
        unit = ngettext("hour", "hours", number)
    return Ticket(
        id=token.id,
        value=token.plaintext or "",
        title=token.name or _("Token %(prefix)s", prefix=f"{token.prefix}…"),
        name=token.name or "",
        hours=token.duration_hours,
        stub_number=number,
        stub_unit=unit,
        scope_name=labels.scope(token.scope)[0],
        cost=token.cost,
        refund=refund_due(
            token.cost,
            duration_hours=token.duration_hours,
            seconds_left=None if token.activated_at is None else token.seconds_left,
            used_tokens=settings.refund_used_tokens,
        ),
        state=state_of(token),
        created_at=token.created_at,
        activated_at=token.activated_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        seconds_left=token.seconds_left,
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """One duration on sale; ``saving`` in percent against the price of single hours."""

    hours: int
    price: Decimal
    saving: int


def offers(settings: Settings) -> list[Offer]:
    """What is on sale, the shortest first."""
    hour = settings.price(DURATIONS[0]) / DURATIONS[0]
    found = []
    for hours in DURATIONS:
        price = settings.price(hours)
        saving = 0
        if hour > 0 and price < hour * hours:
            saving = int((1 - price / (hour * hours)) * 100)
        found.append(Offer(hours, price, saving if price > 0 else 0))
    return found


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope as a choice."""

    name: str
    title: str
    note: str


def scopes(names: Sequence[str]) -> list[Scope]:
    """All scopes as choices."""
    return [Scope(name, *labels.scope(name)) for name in names]


@dataclass(frozen=True, slots=True)
class Listing(Generic[_ItemT]):
    """One page of a long list."""

    items: list[_ItemT]
    total: int
    limit: int
    offset: int

    @property
    def first(self) -> int:
        """The number of the first row shown."""
        return self.offset + 1 if self.items else 0

    @property
    def last(self) -> int:
        """The number of the last row shown."""
        return self.offset + len(self.items)

    @property
    def previous(self) -> int | None:
        """The offset of the page before."""
        return None if self.offset == 0 else max(0, self.offset - self.limit)

    @property
    def next(self) -> int | None:
        """The offset of the page after."""
        return self.last if self.last < self.total else None


def offset_of(query: str) -> int:
    """The offset in an address; nonsense is the beginning."""
    return min(int(query), 10**7) if query.isascii() and query.isdigit() and len(query) < 9 else 0
