"""The gate under measurement, with one worker or several, and with one more function on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from bench.proxy.cases import GATE, Group
from bench.proxy.load import Target
from bench.proxy.programs import Peer, Skipped, start, wait_for
from tests.kit.ports import free_port

_SECRET = "x7Gq2mVbN4kzR9wLp3tYc8sDf6hJ1aQe5uKo0iZr"  # key of a gate that runs for minutes

VARIANTS: dict[str, dict[str, str]] = {
    "admitted by tasks": {"FAST_LANE": "false"},
    "tracing": {
        "TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # discard: nothing listens
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    },
    "proxy limit": {"RATE_LIMIT_PROXY": "1000000000/minute"},
    "header plugin": {
        "PLUGIN_OPTIONS": json.dumps(
            {"header-policy": {"enabled": True, "set": {"X-Robots-Tag": "none"}}}
        )
    },
}
"""Settings by the name of the variant."""


@dataclass
class Gate(Peer):
    """This gate: a token checked on every request; the upstream under the prefix and at a root."""

    workers: int = 1
    variant: str = ""
    """What its settings differ in, for its name."""
    settings: Mapping[str, str] = field(default_factory=dict)
    _redis: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.group = Group.GATE
        self.name = GATE
        if self.variant:
            self.group = Group.VARIANT
            self.name += f", {self.variant}"
        if self.workers > 1:
            self.group = Group.PROXY
            self.name += f" --workers {self.workers}"

    def version(self) -> str:
        """With the version of aiohttp below it."""
        from zenzefi.version import __version__

        python = ".".join(map(str, sys.version_info[:3]))
        return f"zenzefi {__version__} (Python {python}, aiohttp {version('aiohttp')})"

    def command(self, port: int) -> list[str]:
        """``zenzefi serve`` on the embedded default."""
        command = [sys.executable, "-m", "zenzefi", "serve", "--host", "127.0.0.1"]
        command += ["--port", str(port)]
        return [*command, "--workers", str(self.workers)] if self.workers > 1 else command

    def environment(self) -> dict[str, str]:
        """A new data folder; no variables of another gate."""
        self._folder = tempfile.mkdtemp(prefix="zenzefi-bench-")
        redis = (
            {"REDIS_URL": f"redis://127.0.0.1:{self._start_redis()}"} if self.workers > 1 else {}
        )
        keep = ("PATH", "HOME", "LANG", "PYTHONPATH")
        return {
            **{name: os.environ[name] for name in keep if name in os.environ},
            **redis,
            "DATA_DIR": self._folder,
            "SECRET_KEY": _SECRET,
            "ZENZEFI_TARGET_URL": self.origin,
            "BACKEND_URL": f"http://127.0.0.1:{self.port}",
            "ACCESS_LOG": "false",  # no other program here writes one
            "LOG_LEVEL": "WARNING",
            "TOKEN_PRICE_24H": "0",
            "HEALTH_CHECK_INTERVAL": "3600",
            "RATE_LIMIT_REGISTER": "off",
            **self.settings,
        }

    def _start_redis(self) -> int:
        """Start a Redis for this run; several workers need one."""
        program = shutil.which("redis-server")
        if program is None:
            raise Skipped("several workers need redis-server, which is not installed")
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        self._redis = start(command, int(self.core.split(",")[0]), cwd=self._folder)
        wait_for(port, self._redis)
        return port

    def start(self) -> None:
        """Start it; the application's origin is the root mount."""
        super().start()
        headers = self.target.headers
        self.root = Target(self.port, headers=headers, host="app.localhost")

    def prepare(self, port: int) -> Target:
        """Register, sign in and buy a token over the API."""
        base = f"http://127.0.0.1:{port}/api/v1"
        account = {"email": "bench@example.org", "password": "a long bench password"}
        _post(f"{base}/auth/register", {**account, "username": "bench"})
        signed_in = _post(f"{base}/auth/login", account)
        token = _post(
            f"{base}/tokens/purchase",
            {"duration_hours": 24},
            {"Authorization": f"Bearer {signed_in['access_token']}"},
        )
        return Target(port, "/api/v1/proxy", (("X-Access-Token", token["token"]),))

    def stop(self) -> None:
        """Terminate it and delete its data."""
        super().stop()
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def _post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **(headers or {})},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)
