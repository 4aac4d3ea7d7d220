"""Types of the settings of offers: prices, currencies, and texts of scopes.

The validators raise ``ValueError`` with the end of a sentence that begins with the setting's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

from zenzefi.settings.catalogue import parse_price, parse_prices, parse_scope_prices


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        # Prices stay as they were written: 0.1 is not a binary fraction.
        return json.loads(value, parse_float=Decimal)
    except ValueError as error:
        raise ValueError(f"must be a JSON object ({error})") from None


def _price_or_off(value: Any) -> Any:
    # None is unset; a Decimal("-1") or a float is refused with the sentence of the price.
    if value is None or value == "off":
        return value
    found = parse_price(value)
    return "off" if found is None else found


def currency_code(value: str) -> str:
    """A currency with two decimal places (ISO 4217). Raises ``ValueError``."""
    from babel.numbers import get_currency_precision, list_currencies

    code = value.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code) or code not in list_currencies():
        raise ValueError(f"{value!r} is not a currency like EUR")
    if get_currency_precision(code) != 2:
        raise ValueError(f"{code} does not have two decimal places")
    return code


def _rates(value: Any) -> Any:
    given = _json(value)
    if not isinstance(given, Mapping):
        raise ValueError('must be an object of currencies, like {"EUR": "0.10"}')
    found: dict[str, Decimal] = {}
    for name, rate in given.items():
        if not re.fullmatch(r"[0-9]{1,8}(?:\.[0-9]{1,6})?", str(rate)) or not Decimal(str(rate)):
            raise ValueError(f"{name}: {rate!r} is not a price like 0.10")
        found[currency_code(str(name))] = Decimal(str(rate))
    if "RUB" in found:
        raise ValueError("must not contain RUB: that rate is ZNC_TO_RUB_RATE")
    return found


class ScopeText(BaseModel):
    """Title and description of a scope in one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1, max_length=60)
    description: str = Field("", max_length=300)


PriceOrOff = Annotated[Decimal | str | None, BeforeValidator(_price_or_off)]
"""A price in ZNC, ``off``, or ``None`` where it is not set."""
PriceTable = Annotated[
    dict[int, Decimal | None], NoDecode, BeforeValidator(lambda value: parse_prices(_json(value)))
]
PricesByScope = Annotated[
    dict[str, dict[int, Decimal | None]],
    NoDecode,
    BeforeValidator(lambda value: parse_scope_prices(_json(value))),
]
RatesByCurrency = Annotated[dict[str, Decimal], NoDecode, BeforeValidator(_rates)]
TextsByScope = Annotated[dict[str, dict[str, ScopeText]], NoDecode, BeforeValidator(_json)]
