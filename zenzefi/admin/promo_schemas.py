"""Request and response bodies of the administration API for promo codes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from zenzefi.api.models import WHOLE_NUMBER, Amount, Body, MoneyOut, Output, Time
from zenzefi.tokens.promo_codes import CODE, normalized


def _code(value: str) -> str:
    text = normalized(value)
    if not CODE.fullmatch(text):
        raise ValueError("must be 4 to 40 letters from A to Z, digits and hyphens")
    return text


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must have an offset, such as 2026-12-24T00:00:00+00:00")
    return value


Moment = Annotated[datetime, AfterValidator(_aware)]


class NewPromoCode(Body):
    """A new promo code: with a percentage, or an amount."""

    code: Annotated[str, Field(max_length=100), AfterValidator(_code)] | None = None
    """The code that buyers enter; omitted: one is generated."""
    percent: Annotated[int, Field(ge=1, le=100), WHOLE_NUMBER] | None = None
    """The discount in percent of the price."""
    amount_znc: Amount | None = None
    """The discount in ZNC."""
    max_uses: Annotated[int, Field(ge=1, le=10**9), WHOLE_NUMBER] | None = None
    """How many users can use it; omitted: any number."""
    starts_at: Moment | None = None
    """When it becomes valid; omitted: now."""
    ends_at: Moment | None = None
    """When it becomes invalid; omitted: never."""

    @model_validator(mode="after")
    def _one_discount(self) -> Self:
        if (self.percent is None) == (self.amount_znc is None):
            raise ValueError("must have either percent or amount_znc")
        return self


class PromoCodeChange(Body):
    """The change of a promo code."""

    is_active: bool
    """Whether buyers can use it."""


class PromoCodeOut(Output):
    """A promo code."""

    id: UUID
    """The code's ID."""
    code: str
    """The code that buyers enter."""
    percent: int | None
    """The discount in percent, or `null`."""
    amount: MoneyOut | None
    """The discount in ZNC, or `null`."""
    max_uses: int | None
    """How many users can use it, or `null`: any number."""
    used: int
    """How many users have used it."""
    starts_at: Time | None
    """When it becomes valid, or `null`."""
    ends_at: Time | None
    """When it becomes invalid, or `null`."""
    is_active: bool
    """Whether buyers can use it."""
    created_at: Time
    """When it was created."""
