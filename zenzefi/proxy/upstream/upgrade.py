"""A connection to the upstream after its 101, until the owner of its transport comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from zenzefi.proxy.upstream.response_head import PlainHead
from zenzefi.proxy.upstream.slots import Slot

if TYPE_CHECKING:
    from zenzefi.proxy.upstream.connection import UpstreamConnection


class Upgraded(NamedTuple):
    """A transport after its 101."""

    transport: asyncio.Transport | None
    """``None`` if the connection is lost."""
    tail: bytes
    """The bytes behind the head of the 101."""
    slot: Slot


class Upgrade:
    """A 101 and its connection."""

    def __init__(self, connection: UpstreamConnection, head: PlainHead) -> None:
        self.head = head
        self._connection: UpstreamConnection | None = connection

    def detach(self) -> Upgraded:
        """Take the transport. It can be taken once."""
        connection, self._connection = self._connection, None
        if connection is None:
            raise RuntimeError("the transport was taken")
        transport, tail = connection.detach()
        return Upgraded(transport, tail, connection.slot)

    def close(self) -> None:
        """Close the connection, unless its transport was taken."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
