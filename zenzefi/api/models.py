"""Base models and field types of the REST API."""

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
    """A request body; unknown fields are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Query(BaseModel):
    """Query parameters; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Output(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must be one line of text without control characters")
    return value


ONE_LINE = AfterValidator(_line)
"""One line of text without control characters.

Place it after ``StringConstraints`` in an ``Annotated``, so that the stripped text is checked.
"""


def _whole(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


WHOLE_NUMBER = BeforeValidator(_whole)
"""A JSON number without a fraction; booleans and strings are rejected.

Place it last in an ``Annotated[int, Field(ge=...), ...]``, so that the constraints before it are
part of the OpenAPI description.
"""


def _money(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be an amount with at most two decimal places, such as 12.50")
    if isinstance(value, Decimal) and int(value.as_tuple().exponent) > 0:
        raise ValueError("must be written without an exponent, such as 1000")
    # ``\d`` would accept digits of all scripts. Exponents, signs and spaces are rejected too.
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
"""An amount of money, zero or more: a string or a number with at most two decimal places."""

Amount = Annotated[
    Decimal,
    PlainValidator(_money),
    AfterValidator(_above_zero),
    WithJsonSchema(_MONEY_IN_SCHEMA),
]
"""An amount of money above zero: a string or a number with at most two decimal places."""

MoneyOut = Annotated[
    Decimal,
    PlainSerializer(lambda value: f"{value:.2f}", return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$", "examples": ["18.00"]},
    ),
]
"""Money in a response: a string with two decimal places."""

Time = Annotated[
    datetime,
    # "+00:00" instead of "Z", because all ISO 8601 parsers accept it.
    PlainSerializer(lambda value: value.astimezone(UTC).isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in a response: ISO 8601 in UTC, with the offset."""


class Page(Query):
    """Page of a list."""

    limit: int = Field(10, ge=1, le=100)
    """Maximum number of items to return."""
    offset: int = Field(0, ge=0, le=_MAX_OFFSET)
    """Number of items to skip."""


class Listing(Output, Generic[_ItemT]):
    """A page of a list."""

    model_config = ConfigDict(json_schema_extra={"description": "A page of a list."})

    items: list[_ItemT]
    """The items of this page."""
    total: int
    """Total number of items."""
    limit: int
    """The `limit` that was used."""
    offset: int
    """The `offset` that was used."""
