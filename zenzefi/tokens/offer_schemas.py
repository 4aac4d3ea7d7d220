"""Response bodies of the offers."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer, WithJsonSchema

from zenzefi.api.models import MoneyOut, Output
from zenzefi.tokens.bundle_schemas import BundleOut

RateOut = Annotated[
    Decimal,
    PlainSerializer(lambda value: f"{value:f}", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["0.10"]}),
]


class Rate(Output):
    """The price of one ZNC in a currency."""

    currency: str
    """The currency (ISO 4217)."""
    price_of_one_znc: RateOut
    """The price of one ZNC."""


class PriceIn(Output):
    """An amount in a currency."""

    currency: str
    """The currency (ISO 4217)."""
    amount: MoneyOut
    """The amount, rounded to hundredths."""


class Offer(Output):
    """One duration that is on sale with a scope."""

    duration_hours: int
    """How long the token lasts from its first use, in hours."""
    scope: str
    """The name of the scope."""
    price_znc: MoneyOut
    """The price in ZNC."""
    prices: list[PriceIn] = Field(max_length=200)
    """The same price in the currencies of `rates`."""


class OfferedScope(Output):
    """A scope with its texts."""

    name: str
    """The name, as a purchase sends it."""
    title: str
    """The title, in the language of `Accept-Language`."""
    description: str
    """A description of what it permits, in the same language."""


class OffersOut(Output):
    """All that is on sale."""

    currency: str = "ZNC"
    """The currency of the balance; always `ZNC`."""
    payment_currency: str
    """The currency that buyers pay in (ISO 4217)."""
    rates: list[Rate] = Field(max_length=200)
    """The price of one ZNC by currency; the currency that buyers pay in is the first."""
    scopes: list[OfferedScope] = Field(max_length=1000)
    """The scopes, `full` first."""
    offers: list[Offer] = Field(max_length=10000)
    """Durations by scope, the shortest first."""
    bundles: list[BundleOut] = Field(max_length=1000)
    """Bundles, the cheapest first."""
