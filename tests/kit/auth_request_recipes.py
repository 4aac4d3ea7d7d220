"""The forward-auth recipes of ``deploy/`` on their web servers, over TLS.

The recipes run as they are. Only the addresses in them are replaced, and what belongs to the
server's main configuration (ports, certificates, storage) is added around them.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.kit import nginx
from tests.kit.programs import program, serving

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HOST = "app.gate.example"
"""The application's host in every recipe."""


@dataclass(frozen=True)
class Addresses:
    """Where a recipe finds the others: ``host:port`` of two of them, and a URL."""

    application: str
    gate: str
    account_pages: str = "https://gate.example/"


class _LoopbackResolver(AbstractResolver):
    """Resolves every name to 127.0.0.1."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


def loopback_client() -> ClientSession:
    """A client without cookies that finds every name on this machine and checks no certificate."""
    connector = TCPConnector(ssl=False, resolver=_LoopbackResolver(), use_dns_cache=False)
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar())


@contextlib.asynccontextmanager
async def _serving(argv: list[str | Path], folder: Path, port: int) -> AsyncIterator[None]:
    """Run a server until the block ends; it is ready when it has loaded the recipe's routes."""
    async with loopback_client() as client:

        async def is_ready() -> bool:
            url = f"https://{HOST}:{port}/"
            with contextlib.suppress(ClientError, ConnectionError):
                async with client.get(url, allow_redirects=False) as response:
                    return response.status != 404
            return False

        async with serving(argv, folder, is_ready):
            yield


def _recipe(name: str, replacements: dict[str, str]) -> str:
    """The text of a file of ``deploy/`` with other addresses."""
    text = (DEPLOY / name).read_text()
    for written, used in replacements.items():
        assert written in text, written
        text = text.replace(written, used)
    return text


def _nginx(binary: str, folder: Path, port: int, addresses: Addresses) -> list[str | Path]:
    replacements = {
        "server application.internal:8080": f"server {addresses.application}",
        "server 127.0.0.1:8000": f"server {addresses.gate}",
        "https://gate.example/": addresses.account_pages,
    }
    tls = nginx.certificate(folder / "tls")
    text = nginx.as_it_is("auth-request.conf", tls, {443: port}, replacements)
    return [binary, "-c", nginx.written(folder, text), "-e", folder / "start.log"]


_CADDY_OPTIONS = """{{
	admin off
	auto_https disable_redirects
	default_bind 127.0.0.1
	https_port {port}
	local_certs
	skip_install_trust
	storage file_system {folder}/storage
	servers {{
		protocols h1 h2
	}}
}}
"""


def _caddy(binary: str, folder: Path, port: int, addresses: Addresses) -> list[str | Path]:
    replacements = {
        "application.internal:8080": addresses.application,
        "127.0.0.1:8000": addresses.gate,
        "https://gate.example/": addresses.account_pages,
    }
    text = _recipe("caddy/Caddyfile", replacements)
    path = folder / "Caddyfile"
    path.write_text(_CADDY_OPTIONS.format(port=port, folder=folder) + text)
    return [binary, "run", "--adapter", "caddyfile", "--config", path]


def _traefik(binary: str, folder: Path, port: int, addresses: Addresses) -> list[str | Path]:
    replacements = {
        "http://application.internal:8080": f"http://{addresses.application}",
        "http://127.0.0.1:8000": f"http://{addresses.gate}",
    }
    path = folder / "gate.yml"
    path.write_text(_recipe("traefik/gate.yml", replacements))
    return [
        binary,
        f"--entryPoints.websecure.address=127.0.0.1:{port}",
        "--entryPoints.websecure.transport.lifeCycle.graceTimeOut=0",
        f"--providers.file.filename={path}",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]


Recipe = Callable[[str, Path, int, Addresses], list[str | Path]]
_RECIPES: dict[str, Recipe] = {"nginx": _nginx, "caddy": _caddy, "traefik": _traefik}
RECIPES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            program(name) is None, reason=f"{name} is not installed: its recipe is not run"
        ),
    )
    for name in _RECIPES
]
"""The web servers with a recipe, as parameters of a fixture or test."""


@contextlib.asynccontextmanager
async def running_recipe(
    name: str, folder: Path, port: int, addresses: Addresses
) -> AsyncIterator[None]:
    """Serve ``https://app.gate.example:port`` on 127.0.0.1 by the recipe until the block ends.

    ``folder`` exists and is empty.
    """
    binary = program(name)
    assert binary is not None
    async with _serving(_RECIPES[name](binary, folder, port, addresses), folder, port):
        yield
