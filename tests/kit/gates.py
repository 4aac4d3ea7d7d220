"""Gates that run in the test's process, and where they keep their state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zenzefi.app import create_app
from zenzefi.runtime.drain import GateRunner
from zenzefi.settings import load_settings

SECRET_KEY = "t3st-0nly-key-" + "x9Q2mB7vLk4Zr8WdPq5h"  # not a secret: tests only


GateClient = TestClient[web.Request, web.Application]


MakeGate = Callable[..., Awaitable[GateClient]]


@dataclass
class Stores:
    """Where one gate keeps its state: settings that all nodes of a test share."""

    settings: dict[str, Any]
    is_embedded: bool


class GateServer(TestServer):
    """Runs a gate as ``zenzefi serve`` does, with its own handler of connections."""

    async def _make_runner(self, **options: Any) -> GateRunner:
        return GateRunner(self.app, drain_timeout=0.5)


@asynccontextmanager
async def running_gate(**settings: Any) -> AsyncIterator[GateClient]:
    """One node with these settings, and a client without cookies."""
    settings.setdefault("zenzefi_target_url", "http://127.0.0.1:9")  # discard: nothing listens
    app = create_app(load_settings(settings))
    async with TestClient(GateServer(app)) as client:
        yield client
