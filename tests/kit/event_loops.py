"""Which event loops a test runs on.

``zenzefi serve`` runs uvloop where it is installed; embedded in another program, and on Windows,
the gate runs on asyncio's own loop. Their transports differ (what a write after the close does,
when ``connection_lost`` comes), so tests of connections carry the marker ``every_loop`` and run on
both. All other tests run on the loops that ``TEST_EVENT_LOOP`` names: ``asyncio`` (the default),
``uvloop``, or ``all``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, LoopFactory] = {"asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:  # it does not exist for Windows
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


def chosen(*, every: bool) -> dict[str, LoopFactory]:
    """The loops a test runs on, by name. Raises ``UsageError`` for an unknown TEST_EVENT_LOOP."""
    name = os.environ.get("TEST_EVENT_LOOP", "asyncio")
    if name not in (*LOOPS, "all"):
        raise pytest.UsageError(f"TEST_EVENT_LOOP={name}: not one of {', '.join(LOOPS)}, all")
    return LOOPS if every or name == "all" else {name: LOOPS[name]}


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop for a program that a test starts: the one that ``TEST_EVENT_LOOP`` names."""
    return next(iter(chosen(every=False).values()))()
