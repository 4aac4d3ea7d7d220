"""The one metadata of all tables, and the column types that mean the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Column, DateTime, MetaData, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of the program; constraints are named, so that migrations can speak of them."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. PostgreSQL keeps ``timestamptz``, SQLite the UTC text without a zone.

    Raises ``ValueError`` for a naive time: its meaning would depend on the machine.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone can't be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """An amount of ZNC (or roubles) with two places, kept as a whole number of hundredths.

    Sums and comparisons inside either database are then exact; SQLite has no decimal type.
    Raises ``ValueError`` for more than two places.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """To the database: hundredths."""
        if value is None:
            return None
        cents = Decimal(value).scaleb(2)
        if cents != cents.to_integral_value():
            raise ValueError(f"{value} has more than two decimal places")
        return int(cents)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """From the database: a decimal with exactly two places."""
        return None if value is None else Decimal(int(value)).scaleb(-2)


class utcnow(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock now (not the start of the transaction)."""

    inherit_cache = True
    type = UtcDateTime()
    name = "utcnow"


@compiles(utcnow, "postgresql")
def _utcnow_postgresql(element: utcnow, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(utcnow, "sqlite")
def _utcnow_sqlite(element: utcnow, compiler: SQLCompiler, **kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class hours_after(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """``hours_after(time, hours)``: that many hours later, computed by the database."""

    inherit_cache = True
    type = UtcDateTime()
    name = "hours_after"


@compiles(hours_after, "postgresql")
def _hours_after_postgresql(element: hours_after, compiler: SQLCompiler, **kw: Any) -> str:
    time, hours = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({time} + {hours} * interval '1 hour')"


@compiles(hours_after, "sqlite")
def _hours_after_sqlite(element: hours_after, compiler: SQLCompiler, **kw: Any) -> str:
    time, hours = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"strftime('%Y-%m-%d %H:%M:%f000', {time}, '+' || {hours} || ' hours')"


def id_column() -> Column[UUID]:
    """The primary key of every table: a random UUID."""
    return Column("id", Uuid, primary_key=True, default=uuid4)


def time_column(name: str, *, nullable: bool = False, index: bool = False) -> Column[datetime]:
    """A time set by the program, or left empty."""
    return Column(name, UtcDateTime, nullable=nullable, index=index)


def now_column(name: str) -> Column[datetime]:
    """A time set by the database's clock when the row is made."""
    return Column(name, UtcDateTime, nullable=False, default=utcnow())


def storable(text: str) -> str:
    """Text as every database may hold it: no NUL and no lone surrogates, marks in their places.

    For what was not validated before it is written or looked for: a header, a search. What can't
    be stored is then simply not found.
    """
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
