"""The programs of the proxy benchmark: what they have in common, and those in Node and Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import venv
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from bench.proxy.cases import Case, Group, Kind
from bench.proxy.load import Target
from tests.kit.ports import free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "zenzefi-bench"


class Skipped(Exception):
    """The peer can't run on this machine. The text is the reason."""


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

    group: Group = field(init=False)
    upstream: int
    core: str
    name: str = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    port: int = field(default=0, init=False)
    target: Target = field(init=False)
    root: Target = field(init=False)
    """The target that shows the upstream at a root; other proxies have no other."""

    def takes(self, case: Case) -> bool:
        """Whether the case is for this program."""
        return self.group in case.groups and (self.websocket or case.kind is not Kind.MESSAGES)

    def target_of(self, case: Case) -> Target:
        """The target of a case."""
        return self.root if case.at_root else self.target

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
        self.port = free_port()
        self.process = subprocess.Popen(
            ["taskset", "-c", self.core, *self.command(self.port)],
            env=self.environment(),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.port, self.process)
        self.target = self.root = self.prepare(self.port)

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


def from_wheel(package: str, program: str) -> Path:
    """A program of a wheel, installed once into its own virtual environment.

    Raises :class:`Skipped` if pip can't install it.
    """
    folder = CACHE / package
    path = folder / "bin" / program
    if not path.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", package]
        if subprocess.run(pip, capture_output=True).returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise Skipped(f"pip could not install {package}")
    return path


def output(*command: str) -> str:
    """The output of a program, on either stream."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr


class ObviousAiohttp(Peer):
    """A minimal aiohttp proxy."""

    name = "minimal aiohttp proxy"
    group = Group.PROXY

    def command(self, port: int) -> list[str]:
        """The script in the folder ``peers``."""
        script = HERE / "peers" / "obvious_aiohttp.py"
        return [sys.executable, str(script), str(port), self.origin]

    def version(self) -> str:
        """aiohttp's version."""
        return f"minimal aiohttp proxy (aiohttp {version('aiohttp')})"


class _Node(Peer):
    group = Group.PROXY
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
    group = Group.PROXY

    def command(self, port: int) -> list[str]:
        """Install it into its own virtual environment once."""
        program = from_wheel("mitmproxy", "mitmdump")
        settings = [
            "stream_large_bodies=1m",
            "flow_detail=0",
            f"confdir={CACHE / 'mitmproxy-conf'}",
        ]
        command = [str(program), "--mode", f"reverse:{self.origin}", "-q", "-p", str(port)]
        return command + [part for setting in settings for part in ("--set", setting)]

    def version(self) -> str:
        """From the output of ``mitmdump --version``."""
        text = output(str(from_wheel("mitmproxy", "mitmdump")), "--version")
        found = re.search(r"Mitmproxy: (\S+)", text)
        return f"mitmproxy {found[1]}" if found else "mitmproxy"
