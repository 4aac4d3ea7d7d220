"""The slot of an upstream connection, and the client that it belongs to.

Most connections serve requests of any client, one after another. A connection that may have been
authenticated (:mod:`zenzefi.proxy.upstream.connection_auth`) belongs to one connection of one
client: both end together, as if the client were connected to the upstream directly.
"""

from __future__ import annotations

import abc
import asyncio
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from zenzefi.http.request_handler import OwnedConnection
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


class UpstreamConnection(abc.ABC):
    """State of an upstream connection apart from its protocol: slot, owner, idle timer."""

    def __init__(self, slot: Slot) -> None:
        slot.connection = self
        self.slot = slot
        self.owner: ConnectionOwner | None = None
        self.is_private = False
        """Must not be shared: it may be authenticated."""
        self.is_idle = False
        self.expiry: asyncio.TimerHandle | None = None

    @abc.abstractmethod
    def abort(self) -> None:
        """Close it at once; :meth:`lost` follows."""

    def lost(self) -> None:
        """Called when it is closed: frees its slot and ends the connection of its owner."""
        self.wake()
        self.slot.closed()
        owner = self.disown()
        if owner is not None:
            owner.client.close_when_done()

    def wake(self) -> None:
        """End its idle time."""
        self.is_idle = False
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None

    def close_idle(self) -> None:
        """Close it to make room for another connection."""
        self.wake()
        self.abort()

    def belong_to(self, owner: ConnectionOwner) -> None:
        """Serve this client's connection alone from now on, and end with it."""
        self.is_private = True
        self.owner = owner
        owner.client.owned = self

    def disown(self) -> ConnectionOwner | None:
        """Remove and return its owner."""
        owner, self.owner = self.owner, None
        if owner is not None and owner.client.owned is self:
            owner.client.owned = None
        return owner

    def owner_lost(self) -> None:
        """The client's connection is closed."""
        self.owner = None
        self.wake()
        self.slot.closing()
        self.abort()
