"""What one process remembers of access tokens for seconds. Pure: times are given, in seconds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import TokenRejected, TokenRevoked

MAX_KNOWN = 50_000
MAX_REFUSED = 20_000
MAX_ENDED = 20_000
REFUSED_LIFE = 3.0
"""Seconds that an unknown, expired or revoked token is remembered."""
ENDED_LIFE = 600.0
"""Seconds that an end is remembered: no answer from before it is still under way then."""
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(slots=True)
class Known:
    """A good answer, and when it ends."""

    access: TokenAccess
    until: float


class TokenCache:
    """Good answers, refusals, and the ends that were heard of: each bounded, the oldest goes."""

    def __init__(self) -> None:
        self.known: OrderedDict[str, Known] = OrderedDict()
        """By the token's value. The hot path reads it."""
        self.refused: OrderedDict[str, tuple[float, type[TokenRejected]]] = OrderedDict()
        self.ended: OrderedDict[UUID, float] = OrderedDict()
        """When the end of this token or user was heard of."""
        self._values: dict[UUID, str] = {}  # token id -> value, of what is known

    # --- good answers

    def keep(self, token: str, access: TokenAccess, until: float) -> None:
        """Remember a good answer."""
        self.known[token] = Known(access, until)
        self.known.move_to_end(token)
        self._values[access.token_id] = token
        while len(self.known) > MAX_KNOWN:
            _, oldest = self.known.popitem(last=False)
            self._values.pop(oldest.access.token_id, None)

    def value_of(self, token_id: UUID) -> str | None:
        """The value of a known token."""
        return self._values.get(token_id)

    def of(self, token_id: UUID) -> TokenAccess | None:
        """What is known of this token, even if the answer has ended."""
        value = self._values.get(token_id)
        known = None if value is None else self.known.get(value)
        return None if known is None else known.access

    def of_user(self, user_id: UUID) -> list[TokenAccess]:
        """What is known of the user's tokens."""
        return [k.access for k in self.known.values() if k.access.user_id == user_id]

    def forget_all(self) -> None:
        """Forget the good answers: they may be wrong by now."""
        self.known.clear()
        self._values.clear()

    # --- refusals

    def refuse(self, token: str, error: type[TokenRejected], now: float) -> None:
        """Remember a refusal for a moment."""
        _put(self.refused, token, (now + REFUSED_LIFE, error), MAX_REFUSED)

    def refusal(self, token: str, now: float) -> type[TokenRejected] | None:
        """The refusal that still stands."""
        refused = self.refused.get(token)
        if refused is None:
            return None
        if refused[0] > now:
            return refused[1]
        del self.refused[token]
        return None

    # --- ends

    def end_token(self, token_id: UUID, error: type[TokenRejected], now: float) -> None:
        """This token has ended: its good answer becomes a refusal."""
        value = self._values.pop(token_id, None)
        if value is not None:
            self.known.pop(value, None)
            self.refuse(value, error, now)
        if error is TokenRevoked:
            _put(self.ended, token_id, now, MAX_ENDED)

    def end_user(self, user_id: UUID, now: float) -> None:
        """All tokens of this user have ended, for as long as it is not restored."""
        for access in self.of_user(user_id):
            value = self._values.pop(access.token_id, None)
            if value is not None:
                self.known.pop(value, None)
                self.refuse(value, TokenRevoked, now)
        _put(self.ended, user_id, now, MAX_ENDED)

    def restore_user(self, user_id: UUID) -> None:
        """The user may come in again."""
        self.ended.pop(user_id, None)
        self.refused.clear()

    def has_ended(self, access: TokenAccess, asked: float) -> bool:
        """Whether an answer to a question asked at ``asked`` may be from before an end."""
        if access.token_id in self.ended:  # for good
            return True
        return self.ended.get(access.user_id, -1.0) >= asked

    def is_doubtful(self, access: TokenAccess) -> bool:
        """Whether an end was heard of that only the database can speak about."""
        return access.token_id in self.ended or access.user_id in self.ended

    def sweep(self, now: float) -> None:
        """Drop the ends that are old enough."""
        while self.ended:
            key, heard = next(iter(self.ended.items()))
            if heard > now - ENDED_LIFE:
                return
            del self.ended[key]


def _put(table: OrderedDict[_K, _V], key: _K, value: _V, bound: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > bound:
        table.popitem(last=False)
