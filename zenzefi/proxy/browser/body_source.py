"""The interface of the client's connection to the source of a response's body."""

from __future__ import annotations

import asyncio
from typing import Protocol


class BodySource(Protocol):
    """Writes the body of a response to the client: a connection, or a rewriting on its way."""

    def pause(self) -> None:
        """The client reads more slowly: write no more for now."""

    def resume(self) -> None:
        """Continue to write."""

    def abandon(self) -> None:
        """The response is not needed."""

    def may_splice(self, sink: asyncio.Transport) -> bool:
        """Whether the rest of the body may be spliced to the client's transport."""

    def splice_to(self, sink: asyncio.Transport) -> None:
        """Start the splice."""
