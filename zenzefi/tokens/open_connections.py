"""What is open under each token: sockets, streams and downloads that end when the token ends."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

from zenzefi.tokens.access import TokenAccess

log = logging.getLogger(__name__)

MAX_ENDED = 20_000
"""Ended sign-ins that are remembered: longer than any look-up of one takes."""


class ClientIdentity(NamedTuple):
    """Who uses a token: with it, what makes a session of use."""

    device_id: str | None
    address: str
    agent: str
    sign_in: UUID | None = None
    """The sign-in of the browser, where a cookie vouches."""


class OpenConnection:
    """One open thing. A context manager: leaving it lets go."""

    __slots__ = ("_holds", "access", "close", "who")

    def __init__(
        self,
        holds: OpenConnections,
        access: TokenAccess,
        close: Callable[[str], None],
        who: ClientIdentity | None,
    ) -> None:
        self._holds = holds
        self.access = access
        self.close = close
        self.who = who

    def release(self) -> None:
        """The thing has ended by itself. Harmless when repeated."""
        self._holds.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class OpenConnections:
    """The registry: a set per token, and a timer per token that has something open."""

    def __init__(self) -> None:
        self._open: dict[UUID, set[OpenConnection]] = {}
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._ended: OrderedDict[UUID, None] = OrderedDict()  # sign-ins, the oldest first

    def __len__(self) -> int:
        return sum(len(held) for held in self._open.values())

    def __contains__(self, token_id: UUID) -> bool:
        return token_id in self._open

    def __iter__(self) -> Iterator[UUID]:
        return iter(list(self._open))

    def add(
        self, access: TokenAccess, close: Callable[[str], None], who: ClientIdentity | None = None
    ) -> OpenConnection:
        """Register one open thing; ``close(reason)`` is called at most once, from the loop."""
        hold = OpenConnection(self, access, close, who)
        self._open.setdefault(access.token_id, set()).add(hold)
        return hold

    def of_devices(self) -> dict[UUID, set[str]]:
        """The devices that have something open, by token."""
        found: dict[UUID, set[str]] = {}
        for token_id, held in self._open.items():
            for hold in held:
                if hold.who is not None and hold.who.device_id is not None:
                    found.setdefault(token_id, set()).add(hold.who.device_id)
        return found

    def discard(self, hold: OpenConnection) -> None:
        """Let go of one open thing."""
        held = self._open.get(hold.access.token_id)
        if held is None:
            return
        held.discard(hold)
        if not held:
            del self._open[hold.access.token_id]
            timer = self._timers.pop(hold.access.token_id, None)
            if timer is not None:
                timer.cancel()

    def set_timer(self, token_id: UUID, delay: float, ended: Callable[[UUID], None]) -> None:
        """Call ``ended`` in ``delay`` seconds, as long as something is open under the token."""
        if token_id not in self._open:
            return
        known = self._timers.pop(token_id, None)
        if known is not None:
            known.cancel()
        loop = asyncio.get_running_loop()
        self._timers[token_id] = loop.call_later(max(0.0, delay), ended, token_id)

    def has_timer(self, token_id: UUID) -> bool:
        """Whether the end of this token is already waited for."""
        return token_id in self._timers

    def _close(self, which: list[OpenConnection], reason: str) -> int:
        for hold in which:
            self.discard(hold)
            try:
                hold.close(reason)
            except Exception:  # one that fails to close must not keep the others open
                log.exception("closing what a token held failed")
        return len(which)

    def end_token(self, token_id: UUID, reason: str) -> int:
        """Close everything under this token; how many."""
        return self._close(list(self._open.get(token_id, ())), reason)

    def end_user(self, user_id: UUID, reason: str) -> int:
        """Close everything of this user; how many."""
        held = [h for some in self._open.values() for h in some if h.access.user_id == user_id]
        return self._close(held, reason)

    def sign_ins(self) -> set[UUID]:
        """The sign-ins under which something is open."""
        return {
            hold.who.sign_in
            for held in self._open.values()
            for hold in held
            if hold.who is not None and hold.who.sign_in is not None
        }

    def has_ended(self, sign_in: UUID) -> bool:
        """Whether this sign-in is known to have ended."""
        return sign_in in self._ended

    def end_sign_in(self, sign_in: UUID, reason: str) -> int:
        """Close everything under this sign-in, and remember that it has ended; how many."""
        self._ended[sign_in] = None
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        held = [
            hold
            for some in self._open.values()
            for hold in some
            if hold.who is not None and hold.who.sign_in == sign_in
        ]
        return self._close(held, reason)

    def end_of(
        self, token_id: UUID, is_meant: Callable[[ClientIdentity], bool], reason: str
    ) -> int:
        """Close what some users of the token have open; how many."""
        held = self._open.get(token_id, ())
        return self._close([h for h in held if h.who is not None and is_meant(h.who)], reason)

    def close(self) -> None:
        """Forget everything without closing it (the node is going down and says so itself)."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._open.clear()
