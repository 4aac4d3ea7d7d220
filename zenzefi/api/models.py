"""Base models and field types of the REST API: what is accepted, and how values are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MONEY = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,2})?")
_MAX_OFFSET = 2**31 - 1
_ItemT = TypeVar("_ItemT")


class Body(BaseModel):
    """A request body: an unknown field is a mistake that must not pass in silence."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Query(BaseModel):
    """Query parameters; unknown ones mean nothing, as everywhere on the web."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Output(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must be one line of text without control characters")
    return value


ONE_LINE = AfterValidator(_line)
"""One line of text: no control characters (PostgreSQL keeps no NUL, logs no line breaks).

After ``StringConstraints`` in an ``Annotated``, so that the length is that of the stripped text.
"""


def _whole(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


WHOLE_NUMBER = BeforeValidator(_whole)
"""A JSON number without a fraction; neither a boolean nor digits in a string.

Last in an ``Annotated[int, Field(ge=...), ...]``: constraints before it reach the description.
"""


def _money(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be an amount with at most two decimal places, like 12.50")
    if isinstance(value, Decimal) and int(value.as_tuple().exponent) > 0:
        raise ValueError("must be written without an exponent, like 1000")
    # ``\d`` would take the digits of every script; an exponent, a sign or a space is refused too.
    if not _MONEY.fullmatch(str(value)):
        raise ValueError(
            "must be an amount from 0.01 to 999999999.99 with at most two decimal places"
        )
    return Decimal(str(value)).quantize(Decimal("0.01"))


def _above_zero(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("must be above zero")
    return value


_MONEY_IN_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?$"},
        {"type": "number", "minimum": 0, "maximum": 999999999.99, "multipleOf": 0.01},
    ],
    "examples": ["12.50"],
}

Price = Annotated[Decimal, PlainValidator(_money), WithJsonSchema(_MONEY_IN_SCHEMA)]
"""An amount of money, zero allowed: a string or a number with at most two places."""

Amount = Annotated[
    Decimal,
    PlainValidator(_money),
    AfterValidator(_above_zero),
    WithJsonSchema(_MONEY_IN_SCHEMA),
]
"""An amount of money above zero: a string or a number with at most two places."""

MoneyOut = Annotated[
    Decimal,
    PlainSerializer(lambda value: f"{value:.2f}", return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["18.00"]},
    ),
]
"""Money in a response: a decimal string with two places."""

Time = Annotated[
    datetime,
    # "+00:00" rather than "Z": every ISO 8601 reader in the field takes it.
    PlainSerializer(lambda value: value.astimezone(UTC).isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in a response: ISO 8601, in UTC, with the zone written."""


class Page(Query):
    """Which part of a long list."""

    limit: int = Field(10, ge=1, le=100)
    """The most items to return."""
    offset: int = Field(0, ge=0, le=_MAX_OFFSET)
    """How many items to skip."""


class Listing(Output, Generic[_ItemT]):
    """Part of a long list."""

    items: list[_ItemT]
    """The items of this page."""
    total: int
    """How many items there are in all."""
    limit: int
    """The `limit` that was used."""
    offset: int
    """The `offset` that was used."""
