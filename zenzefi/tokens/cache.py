"""The in-process cache of validated, rejected and invalidated tokens. Times are parameters."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from zenzefi.bounded import BoundedDict
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.errors import TokenRejected, TokenRevoked

MAX_KNOWN = 50_000
MAX_REFUSED = 20_000
MAX_INVALIDATED = 20_000
REFUSED_LIFE = 3.0
"""Seconds for which an unknown, expired or revoked token is cached."""
INVALIDATED_LIFE = 600.0
"""Seconds for which an invalidation is remembered: longer than any look-up takes, so that a look-up
that began before the invalidation can't cache an outdated result."""


@dataclass(slots=True)
class CachedAccess:
    """The result of a validation, and the time (of the event loop) until which it is used."""

    access: TokenAccess
    until: float


class TokenCache:
    """Three bounded tables: valid tokens, rejected tokens, and invalidations that were received.

    All times are seconds of ``time.monotonic``.
    """

    def __init__(self) -> None:
        self.known: BoundedDict[str, CachedAccess] = BoundedDict(MAX_KNOWN, self._on_evict)
        """Valid tokens by the token in plain text. The hot path reads it directly."""
        self.refused: BoundedDict[str, tuple[float, type[TokenRejected]]] = BoundedDict(MAX_REFUSED)
        self.invalidated: BoundedDict[UUID, float] = BoundedDict(MAX_INVALIDATED)
        """The time at which the invalidation of a token or user was received, by ID."""
        self._plaintexts: dict[UUID, str] = {}  # the keys of ``known`` by the token's ID

    def _on_evict(self, _: str, evicted: CachedAccess) -> None:
        self._plaintexts.pop(evicted.access.token_id, None)

    # --- valid tokens

    def keep(self, token: str, access: TokenAccess, until: float) -> None:
        """Cache a valid token until the time ``until``."""
        self.known[token] = CachedAccess(access, until)
        self._plaintexts[access.token_id] = token

    def plaintext_of(self, token_id: UUID) -> str | None:
        """The cached token with this ID in plain text."""
        return self._plaintexts.get(token_id)

    def of(self, token_id: UUID) -> TokenAccess | None:
        """The last validated access of this token, also after the entry's lifetime."""
        token = self._plaintexts.get(token_id)
        known = None if token is None else self.known.get(token)
        return None if known is None else known.access

    def of_user(self, user_id: UUID) -> list[TokenAccess]:
        """The cached tokens of a user."""
        return [k.access for k in self.known.values() if k.access.user_id == user_id]

    def clear_known(self) -> None:
        """Remove all valid tokens, because invalidations may have been missed."""
        self.known.clear()
        self._plaintexts.clear()

    # --- rejected tokens

    def refuse(self, token: str, error: type[TokenRejected], now: float) -> None:
        """Cache a rejection for :data:`REFUSED_LIFE` seconds."""
        self.refused[token] = now + REFUSED_LIFE, error

    def refusal(self, token: str, now: float) -> type[TokenRejected] | None:
        """The cached rejection of a token, or ``None``."""
        refused = self.refused.get(token)
        if refused is None:
            return None
        if refused[0] > now:
            return refused[1]
        del self.refused[token]
        return None

    # --- invalidations

    def end_token(self, token_id: UUID, error: type[TokenRejected], now: float) -> None:
        """Turn the entry of a token into a rejection. A revocation is remembered as well."""
        self._reject(token_id, error, now)
        if error is TokenRevoked:
            self.invalidated[token_id] = now

    def end_user(self, user_id: UUID, now: float) -> None:
        """Reject all tokens of a deactivated user, and remember the deactivation."""
        for access in self.of_user(user_id):
            self._reject(access.token_id, TokenRevoked, now)
        self.invalidated[user_id] = now

    def _reject(self, token_id: UUID, error: type[TokenRejected], now: float) -> None:
        token = self._plaintexts.pop(token_id, None)
        if token is not None:
            self.known.pop(token, None)
            self.refuse(token, error, now)

    def restore_user(self, user_id: UUID) -> None:
        """Accept the tokens of a user again who was reactivated."""
        self.invalidated.pop(user_id, None)
        self.refused.clear()

    def is_outdated(self, access: TokenAccess, started: float) -> bool:
        """Whether a result of a look-up started at ``started`` may be older than an invalidation.

        The revocation of a token is final. A user may be reactivated, so for a user only look-ups
        count that started before the deactivation was received.
        """
        if access.token_id in self.invalidated:
            return True
        return self.invalidated.get(access.user_id, -1.0) >= started

    def must_recheck(self, access: TokenAccess) -> bool:
        """Whether only the database may decide, because an invalidation was received."""
        return access.token_id in self.invalidated or access.user_id in self.invalidated

    def sweep(self, now: float) -> None:
        """Remove invalidations older than :data:`INVALIDATED_LIFE`."""
        while (oldest := self.invalidated.oldest()) is not None:
            key, received = oldest
            if received > now - INVALIDATED_LIFE:
                return
            del self.invalidated[key]
