"""Holds the beginning of a body that may pass unchanged, until it is known whether it does.

A body that the engine would change only at mentions of the upstream is searched first
(:mod:`zenzefi.rewriting.origin_search`). The search needs the whole body, so a body is held until
it is complete, :data:`LONGEST` bytes and :data:`SECONDS` at most. Held bytes are never lost: a
body that is longer, slower or broken goes on with it through the engine.
"""

from __future__ import annotations

import contextlib

from zenzefi.deadline import Deadline
from zenzefi.proxy.upstream.exchange import BodyBroken, UpstreamResponse
from zenzefi.rewriting.origin_search import LONGEST

SECONDS = 0.05
"""The longest time for which a body is held: browsers show what they have."""


async def hold(response: UpstreamResponse) -> bytes:
    """Read the beginning of a body; ``response.is_complete`` tells whether it is the whole body.

    If the body breaks, the bytes before are returned, and reading on raises the error.
    """
    held = response.read_ready()
    with contextlib.suppress(TimeoutError, BodyBroken):
        if not response.is_complete and len(held) <= LONGEST:
            async with Deadline(SECONDS):
                while len(held) <= LONGEST and (piece := await response.read()):
                    held += piece
    return held
