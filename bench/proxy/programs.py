"""The peers of the proxy benchmark: how each is found or installed, started and set up."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from bench.proxy.load import Target

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "zenzefi-bench"
_SECRET = "x7Gq2mVbN4kzR9wLp3tYc8sDf6hJ1aQe5uKo0iZr"  # key of a gate that runs for minutes


class Skipped(Exception):
    """The peer can't run on this machine. The text is the reason."""


def free_port() -> int:
    """A TCP port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: list[str], core: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start a program pinned to one core."""
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    return subprocess.Popen(["taskset", "-c", str(core), *command], **options)


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until the port accepts connections. Raises :class:`Skipped` after ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Skipped(f"exited with status {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Skipped(f"did not listen within {seconds:.0f} seconds")


@dataclass
class Peer(ABC):
    """One program in front of the upstream."""

    websocket: ClassVar[bool] = True

    upstream: int
    core: str
    name: str = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    target: Target = field(init=False)

    @property
    def origin(self) -> str:
        """The upstream's origin."""
        return f"http://127.0.0.1:{self.upstream}"

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The command line. Raises :class:`Skipped` if the program can't be installed."""

    def version(self) -> str:
        """Name and version for the table."""
        return self.name

    def environment(self) -> dict[str, str]:
        """The environment variables of the program."""
        return dict(os.environ)

    def start(self) -> None:
        """Start it and wait until it serves."""
        port = free_port()
        self.process = subprocess.Popen(
            ["taskset", "-c", self.core, *self.command(port)],
            env=self.environment(),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(port, self.process)
        self.target = self.prepare(port)

    def prepare(self, port: int) -> Target:
        """Set the program up and return the target of the load."""
        return Target(port)

    def stop(self) -> None:
        """Terminate it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass
class Gate(Peer):
    """This gate: prefix mount, token checked on every request, nothing to rewrite."""

    workers: int = 1
    fast_lane: bool = True
    _redis: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.name = "zenzefi"
        if not self.fast_lane:
            self.name += " (standard path)"
        if self.workers > 1:
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
            "FAST_LANE": "true" if self.fast_lane else "false",
            "ACCESS_LOG": "false",  # no other program here writes one
            "LOG_LEVEL": "WARNING",
            "TOKEN_PRICE_24H": "0",
            "HEALTH_CHECK_INTERVAL": "3600",
            "RATE_LIMIT_REGISTER": "off",
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


class ObviousAiohttp(Peer):
    """A minimal aiohttp proxy."""

    name = "minimal aiohttp proxy"

    def command(self, port: int) -> list[str]:
        """The script in the folder ``peers``."""
        script = HERE / "peers" / "obvious_aiohttp.py"
        return [sys.executable, str(script), str(port), self.origin]

    def version(self) -> str:
        """aiohttp's version."""
        return f"minimal aiohttp proxy (aiohttp {version('aiohttp')})"


class _Node(Peer):
    package: str
    script: str

    def command(self, port: int) -> list[str]:
        """Install the package into the cache folder once, then run the script from there."""
        node = shutil.which("node")
        npm = shutil.which("npm")
        if not node or not npm:
            raise Skipped("node and npm are not installed")
        folder = CACHE / "node"
        if not (folder / "node_modules" / self.package).is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), self.package],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise Skipped(f"npm could not install {self.package}")
        # Node resolves imports from the folder of the script.
        copied = shutil.copy(HERE / "peers" / self.script, folder / self.script)
        return [node, str(copied), str(port), self.origin]

    def version(self) -> str:
        """The package's version and node's."""
        manifest = CACHE / "node" / "node_modules" / self.package / "package.json"
        node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
        return f"{self.package} {json.loads(manifest.read_text())['version']} (node {node})"


class HttpProxy3(_Node):
    """node's http-proxy-3 with a keep-alive agent."""

    name = "http-proxy-3"
    package = "http-proxy-3"
    script = "http_proxy_3.mjs"


class Undici(_Node):
    """A short proxy on undici; it does not pass WebSockets."""

    websocket = False
    name = "undici proxy"
    package = "undici"
    script = "undici.mjs"


class Mitmproxy(Peer):
    """mitmproxy as a reverse proxy, large bodies streamed."""

    name = "mitmproxy"

    def command(self, port: int) -> list[str]:
        """Install it into its own virtual environment once."""
        folder = CACHE / "mitmproxy"
        program = folder / "bin" / "mitmdump"
        if not program.exists():
            venv.create(folder, with_pip=True, clear=True)
            done = subprocess.run(
                [str(folder / "bin" / "pip"), "install", "-q", "mitmproxy"], capture_output=True
            )
            if done.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                raise Skipped("pip could not install mitmproxy")
        settings = [
            "stream_large_bodies=1m",
            "flow_detail=0",
            f"confdir={CACHE / 'mitmproxy-conf'}",
        ]
        command = [str(program), "--mode", f"reverse:{self.origin}", "-q", "-p", str(port)]
        return command + [part for setting in settings for part in ("--set", setting)]

    def version(self) -> str:
        """From the output of ``mitmdump --version``."""
        program = CACHE / "mitmproxy" / "bin" / "mitmdump"
        text = subprocess.run([str(program), "--version"], capture_output=True, text=True).stdout
        found = re.search(r"Mitmproxy: (\S+)", text)
        return f"mitmproxy {found[1]}" if found else "mitmproxy"


@dataclass
class Nginx(Peer):
    """nginx, plain or with a subrequest to an authorization service for each request."""

    auth: bool = False

    def __post_init__(self) -> None:
        self.name = "nginx + auth_request" if self.auth else "nginx"

    @property
    def _program(self) -> str:
        program = shutil.which(
            "nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        )
        if program is None:
            raise Skipped("nginx is not installed")
        return program

    def command(self, port: int) -> list[str]:
        """Write a configuration and run nginx in the foreground."""
        built = subprocess.run([self._program, "-V"], capture_output=True, text=True).stderr
        if self.auth and "http_auth_request_module" not in built:
            raise Skipped("this nginx is built without auth_request")
        self._folder = tempfile.mkdtemp(prefix="zenzefi-bench-nginx-")
        text = (HERE / "peers" / "nginx.conf.in").read_text()
        for name, value in {
            "FOLDER": self._folder,
            "PORT": str(port),
            "UPSTREAM": str(self.upstream),
            "AUTH": "auth_request /auth;" if self.auth else "",
        }.items():
            text = text.replace(f"@{name}@", value)
        config = Path(self._folder, "nginx.conf")
        config.write_text(text)
        return [self._program, "-c", str(config), "-p", self._folder]

    def version(self) -> str:
        """From the output of ``nginx -v``."""
        text = subprocess.run([self._program, "-v"], capture_output=True, text=True).stderr
        return text.strip().rpartition(" ")[2].replace("/", " ")

    def stop(self) -> None:
        """Terminate it and delete its folder."""
        super().stop()
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)
