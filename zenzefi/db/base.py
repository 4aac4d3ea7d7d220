"""The metadata of all tables, and column types that behave the same on both databases."""

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
"""All tables; constraints have names, which migrations refer to."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. PostgreSQL stores ``timestamptz``, SQLite UTC text without a zone.

    Raises ``ValueError`` for a naive time, which would depend on the machine's time zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone can't be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """An amount of ZNC or roubles with two decimal places, stored as an integer of hundredths.

    Sums and comparisons are exact in both databases; SQLite has no decimal type. Raises
    ``ValueError`` for more than two decimal places.
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


class utcnow(FunctionElement[datetime]):  # noqa: N801 - named as an SQL function
    """The current time of the database, not that of the start of the transaction."""

    inherit_cache = True
    type = UtcDateTime()
    name = "utcnow"


@compiles(utcnow, "postgresql")
def _utcnow_postgresql(element: utcnow, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(utcnow, "sqlite")
def _utcnow_sqlite(element: utcnow, compiler: SQLCompiler, **kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


class hours_after(FunctionElement[datetime]):  # noqa: N801 - named as an SQL function
    """``hours_after(time, hours)``: ``hours`` later than ``time``, computed by the database."""

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
    """A time that the program sets."""
    return Column(name, UtcDateTime, nullable=nullable, index=index)


def now_column(name: str) -> Column[datetime]:
    """A time, by default that of the database when the row is inserted."""
    return Column(name, UtcDateTime, nullable=False, default=utcnow())


def storable(text: str) -> str:
    """Text that both databases can store: NUL and lone surrogates are replaced.

    For values that were not validated before, such as headers and search terms. A search for text
    that can't be stored finds nothing.
    """
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
