"""The upstream of most tests: it records requests, and a test may add handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class RecordingUpstream:
    """The application behind the gate: tests add their own handlers and look at what arrived."""

    server: TestServer
    requests: list[web.Request] = field(default_factory=list)
    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(
        default_factory=dict
    )

    @property
    def origin(self) -> str:
        """Its origin, ``http://127.0.0.1:port``."""
        return str(self.server.make_url("/")).rstrip("/")
