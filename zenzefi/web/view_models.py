"""Values of the domains, prepared for templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from zenzefi.i18n import gettext as _
from zenzefi.i18n import ngettext
from zenzefi.settings import Settings
from zenzefi.settings.catalogue import Catalogue
from zenzefi.tokens.bundles import Bundle, Bundles
from zenzefi.tokens.promo_codes import PromoCode
from zenzefi.tokens.refunds import ZERO, refund_due
from zenzefi.tokens.scope_texts import scope_text
from zenzefi.tokens.scopes import FULL
from zenzefi.tokens.token_records import TokenRecord


@dataclass(frozen=True, slots=True)
class TokenCard:
    """One access token."""

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
        """Whether the token has expired or was revoked."""
        return self.state in ("expired", "revoked")


def token_state(token: TokenRecord) -> str:
    """``ready``, ``active``, ``expired`` or ``revoked``."""
    if token.revoked_at is not None:
        return "revoked"
    if not token.is_active:
        return "expired"
    return "ready" if token.activated_at is None else "active"


def token_card(token: TokenRecord, settings: Settings) -> TokenCard:
    """The card of one token, with the refund that revoking it now would return."""
    if token.duration_hours > 24 and token.duration_hours % 24 == 0:
        number = token.duration_hours // 24
        unit = ngettext("day", "days", number)
    else:
        number = token.duration_hours
        unit = ngettext("hour", "hours", number)
    return TokenCard(
        id=token.id,
        value=token.plaintext or "",
        title=token.name or _("Token %(prefix)s", prefix=f"{token.prefix}…"),
        name=token.name or "",
        hours=token.duration_hours,
        stub_number=number,
        stub_unit=unit,
        scope_name=scope_text(token.scope, settings.scope_texts)[0],
        cost=token.cost,
        refund=refund_due(
            token.cost,
            duration_hours=token.duration_hours,
            seconds_left=None if token.activated_at is None else token.seconds_left,
            used_tokens=settings.refund_used_tokens,
        ),
        state=token_state(token),
        created_at=token.created_at,
        activated_at=token.activated_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        seconds_left=token.seconds_left,
    )


@dataclass(frozen=True, slots=True)
class DurationOffer:
    """One duration on sale; ``saving`` in percent compared with the shortest one."""

    hours: int
    price: Decimal
    saving: int
    before: Decimal | None = None
    """The price without the promo code, if one is used."""


def with_promo_code(found: list[DurationOffer], promo: PromoCode | None) -> list[DurationOffer]:
    """The offers at the prices of a promo code."""
    if promo is None:
        return found
    return [replace(one, price=promo.price(one.price), before=one.price) for one in found]


def offers(catalogue: Catalogue, scope: str = FULL) -> list[DurationOffer]:
    """All durations on sale with a scope, the shortest first."""
    found: list[DurationOffer] = []
    hourly = None
    for hours in catalogue.durations(scope):
        price = catalogue.price(hours, scope) or ZERO
        if hourly is None:
            hourly = price / hours
        saving = int((1 - price / (hourly * hours)) * 100) if price and hourly else 0
        found.append(DurationOffer(hours, price, max(0, saving)))
    return found


@dataclass(frozen=True, slots=True)
class ScopeChoice:
    """One scope in the form that buys a token."""

    name: str
    title: str
    note: str


def scope_choices(names: Sequence[str], settings: Settings) -> list[ScopeChoice]:
    """All scopes as choices."""
    return [ScopeChoice(name, *scope_text(name, settings.scope_texts)) for name in names]


@dataclass(frozen=True, slots=True)
class BundleCard:
    """A bundle on sale: what it opens and what it saves."""

    id: UUID
    name: str
    description: str
    hours: int
    count: int
    price: Decimal
    scope_title: str
    scope_note: str
    single: Decimal
    """The price of the same tokens one by one."""
    saving: int
    """In percent of ``single``."""


def bundle_cards(
    found: Sequence[Bundle], service: Bundles, catalogue: Catalogue, settings: Settings
) -> list[BundleCard]:
    """The bundles on sale."""
    cards = []
    for one in found:
        single = service.single_price(one, catalogue)
        saving = int((1 - one.price / single) * 100) if single > one.price else 0
        cards.append(
            BundleCard(
                *(one.id, one.name, one.description, one.duration_hours, one.token_count),
                one.price,
                *scope_text(one.scope, settings.scope_texts),
                single,
                saving,
            )
        )
    return cards
