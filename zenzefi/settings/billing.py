"""Settings of prices, refunds and payment providers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from zenzefi.settings.offer_values import (
    PriceOrOff,
    PricesByScope,
    PriceTable,
    RatesByCurrency,
    TextsByScope,
    currency_code,
)
from zenzefi.settings.values import CommaList, SecretList

DURATIONS = (1, 12, 24, 168, 720)
"""The durations of the settings ``TOKEN_PRICE_*``, in hours."""

RefundPolicy = Literal["nothing", "pro_rata"]
"""``REFUND_USED_TOKENS``: the refund of a token that was used."""


class BillingSettings(BaseSettings):
    """Money."""

    token_price_1h: PriceOrOff = Field(
        None,
        description="Price of a token for 1 hour in ZNC; `0` is free, `off` takes it off sale. "
        "Unset prices are off while others are set; without any price, tokens are free.",
    )
    token_price_12h: PriceOrOff = Field(
        None, description="Price of a token for 12 hours in ZNC, or `off`."
    )
    token_price_24h: PriceOrOff = Field(
        None, description="Price of a token for 24 hours in ZNC, or `off`."
    )
    token_price_7d: PriceOrOff = Field(
        None, description="Price of a token for 7 days in ZNC, or `off`."
    )
    token_price_30d: PriceOrOff = Field(
        None, description="Price of a token for 30 days in ZNC, or `off`."
    )
    token_prices: PriceTable = Field(
        {},
        description="JSON object of further durations, in hours or days, with their prices: "
        '`{"6h": "3.00", "90d": "500"}`. A duration of `TOKEN_PRICE_*` gets this price instead.',
    )
    scope_prices: PricesByScope = Field(
        {},
        description="JSON object of other prices with a scope: "
        '`{"reports": {"24h": "9.00", "30d": "off"}}`.',
    )
    scope_texts: TextsByScope = Field(
        {},
        description="JSON object of titles and descriptions of scopes by language: "
        '`{"reports": {"en": {"title": "Reports", "description": "All reports."}}}`.',
    )
    free_for_all: bool = Field(
        False,
        description="Confirms that everybody may register and use the application free of charge. "
        "Without prices or `REGISTRATION=closed`, a gate that other machines can reach needs it.",
    )
    refund_used_tokens: RefundPolicy = Field(
        "nothing", description="Refund of a used token: `nothing` or `pro_rata`."
    )
    payment_providers: CommaList = Field(
        ["manual"],
        description="Comma list of `manual`, `mock` (needs `DEBUG`) and `stripe`.",
    )
    znc_to_rub_rate: Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=4)] = Field(
        Decimal(10), description="Price of one ZNC in roubles."
    )
    currency_rates: RatesByCurrency = Field(
        {},
        description="JSON object of further currencies (ISO 4217) with the price of one ZNC: "
        '`{"EUR": "0.10"}`. Pages show prices in them too.',
    )
    payment_currency: str = Field(
        "RUB",
        description="The currency that buyers pay in: `RUB`, or one of `CURRENCY_RATES`.",
    )
    payment_minimum: Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=2)] = Field(
        Decimal("0.01"),
        description="The smallest payment, in `PAYMENT_CURRENCY`; payment providers have one. "
        "Buyers who need less pay this, and the rest stays on their balance.",
    )
    notice_balance_below: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)] = Field(
        Decimal("0.00"),
        description="Users get an e-mail when their balance falls below this amount in ZNC; "
        "0: never.",
    )
    notice_before_end_hours: int = Field(
        2,
        ge=1,
        le=240,
        description="Hours before the end of an access token at which its owner gets an e-mail. "
        "Shorter tokens are not announced.",
    )
    stripe_secret_key: SecretStr | None = Field(None, description="Stripe's API key.")
    stripe_webhook_secret: SecretList = Field(
        [], description="Comma list of Stripe's webhook signing secrets."
    )
    stripe_api_base: str | None = Field(
        None, description="Base URL of Stripe's API; changed in tests."
    )

    @field_validator("payment_currency")
    @classmethod
    def _currency(cls, value: str) -> str:
        return currency_code(value)

    @field_validator("payment_providers")
    @classmethod
    def _provider_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{name!r} is not a valid provider name")
        return value
