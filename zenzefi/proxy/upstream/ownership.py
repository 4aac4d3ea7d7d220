"""The slot of an upstream connection, and the client that it belongs to.

Most connections serve requests of any client, one after another. A connection that may have been
authenticated (:mod:`zenzefi.proxy.upstream.connection_auth`) belongs to one connection of one
client: both end together, as if the client were connected to the upstream directly.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from zenzefi.http.request_handler import OwnedConnection
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.upstream.connection_auth import is_challenged
from zenzefi.proxy.upstream.limits import Refused
from zenzefi.proxy.upstream.refusal import refusal
from zenzefi.proxy.upstream.slots import Slot
from zenzefi.tokens.open_connections import ClientIdentity


class ClientConnection(Protocol):
    """A client's connection, as an upstream connection that belongs to it sees it."""

    owned: OwnedConnection | None
    """The upstream connection that serves this client's connection alone."""

    @property
    def is_lost(self) -> bool:
        """Whether it is closed."""

    def close_when_done(self) -> None:
        """Close it after the response that is being sent, if any."""


@dataclass(frozen=True, slots=True)
class ConnectionOwner:
    """The one client that a connection serves, with its token and identity."""

    client: ClientConnection
    token_id: UUID
    identity: ClientIdentity


class OwnableConnection(asyncio.Protocol, abc.ABC):
    """A connection that is shared by all clients until it has to belong to one."""

    __slots__ = ("is_private", "owner", "slot")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.owner: ConnectionOwner | None = None
        self.is_private = False
        """Must not be shared: it may be authenticated."""

    @abc.abstractmethod
    def abandon(self) -> None:
        """Close it at once."""

    def settle(self, headers: Pairs, owner: Callable[[], ConnectionOwner | None]) -> None:
        """Recharge the connection and set its owner, as the response's headers require.

        Raises :class:`~zenzefi.errors.GateError` if it has to be long-lived and there is no room.
        """
        try:
            if self.owner is None and (self.is_private or is_challenged(headers)):
                self.is_private = True
                found = owner()
                if found is not None:
                    self.slot.make_long_lived()
                    self.owner = found
                    found.client.owned = self
            if is_event_stream(headers):
                self.slot.make_long_lived()
        except Refused as refused:
            raise refusal(refused.reason) from None

    def disown(self) -> ConnectionOwner | None:
        """Remove and return its owner."""
        owner, self.owner = self.owner, None
        if owner is not None and owner.client.owned is self:
            owner.client.owned = None
        return owner

    def end_with_owner(self) -> None:
        """The connection ends: so does that of its owner, after its response."""
        owner = self.disown()
        if owner is not None:
            owner.client.close_when_done()

    def owner_lost(self) -> None:
        """The client's connection is closed."""
        self.owner = None
        self.abandon()


def is_event_stream(headers: Pairs) -> bool:
    """Whether a response's headers announce an event stream (WHATWG HTML, 9.2)."""
    for name, value in headers:
        is_type = len(name) == 12 and name.lower() == b"content-type"
        if is_type and value.strip().lower().startswith(b"text/event-stream"):
            return True
    return False
