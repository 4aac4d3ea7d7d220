"""Searches the access tokens of one user, a page at a time, without their values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from aiohttp import web
from sqlalchemy import ColumnElement, and_, case, false, func, not_, or_, select

from zenzefi.db.base import storable
from zenzefi.db.engine import Database
from zenzefi.keys import Keyring
from zenzefi.tokens.models import access_tokens
from zenzefi.tokens.token_format import PREFIX_LENGTH
from zenzefi.tokens.token_records import TokenRecord, is_active, select_tokens, token_record

_t = access_tokens.c


class TokenFilter(StrEnum):
    """Which tokens to list."""

    USABLE = "usable"
    """Neither revoked nor expired."""
    ACTIVE = "active"
    """Used, and not ended."""
    READY = "ready"
    """Not used yet."""
    ENDED = "ended"
    """Expired or revoked."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The numbers of a user's tokens."""

    active: int
    ready: int
    ended: int

    @property
    def usable(self) -> int:
        """The number of tokens that can be used."""
        return self.active + self.ready

    @property
    def all(self) -> int:
        """The number of all tokens."""
        return self.usable + self.ended


class TokenSearch:
    """The service that searches a user's tokens."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def counts(self, user_id: UUID) -> TokenCounts:
        """The numbers of the user's tokens by state."""
        state = _state().label("state")
        query = select(state, func.count()).where(_t.user_id == user_id).group_by(state)
        async with self._database.read() as connection:
            found = {row[0]: int(row[1]) for row in await connection.execute(query)}
        return TokenCounts(found.get(0, 0), found.get(1, 0), found.get(2, 0))

    async def listed(
        self, user_id: UUID, *, which: TokenFilter, search: str = "", limit: int, offset: int
    ) -> tuple[list[TokenRecord], int]:
        """A page of tokens and the number of all that match; ``search`` is part of a name, or the
        beginning of a token. Active tokens come first, then unused ones, then the latest ended.
        """
        where = [_t.user_id == user_id, _condition(which), _matches(search)]
        ended_at = func.coalesce(_t.revoked_at, _t.activated_at, _t.created_at)
        order = (
            _state(),
            case((_state() == 0, _t.activated_at)),  # of the active ones, the oldest first
            case((_state() == 2, ended_at)).desc(),
            _t.created_at.desc(),
            _t.id,
        )
        query = select_tokens().where(*where).order_by(*order).limit(limit).offset(offset)
        count = select(func.count()).select_from(access_tokens).where(*where)
        async with self._database.read() as connection:
            total = int((await connection.execute(count)).scalar_one())
            rows = await connection.execute(query)
            return [token_record(row, self._keyring, reveal=False) for row in rows], total


def _state() -> ColumnElement[int]:
    """0: active, 1: not used yet, 2: ended."""
    return case((not_(is_active()), 2), (_t.activated_at.is_(None), 1), else_=0)


def _condition(which: TokenFilter) -> ColumnElement[bool]:
    match which:
        case TokenFilter.USABLE:
            return is_active()
        case TokenFilter.ACTIVE:
            return and_(is_active(), _t.activated_at.is_not(None))
        case TokenFilter.READY:
            return and_(is_active(), _t.activated_at.is_(None))
        case TokenFilter.ENDED:
            return not_(is_active())
        case TokenFilter.ALL:
            return not_(false())


def _matches(search: str) -> ColumnElement[bool]:
    """A name that contains the text, or a token that begins with it."""
    text = storable(search.replace("\0", "")).strip()
    if not text:
        return not_(false())
    # SQLite's lower() changes ASCII letters only.
    spellings = {text, text.lower(), text.upper(), text.capitalize(), text.title()}
    by_name = or_(
        func.lower(_t.name).contains(text.lower(), autoescape=True),
        *(_t.name.contains(spelling, autoescape=True) for spelling in sorted(spellings)),
    )
    # A whole token that is pasted is found: only its first characters are stored readably.
    return or_(by_name, _t.prefix.startswith(text[:PREFIX_LENGTH], autoescape=True))


TOKEN_SEARCH: web.AppKey[TokenSearch] = web.AppKey("token_search", TokenSearch)
