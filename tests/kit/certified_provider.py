"""A real identity provider: the certified `oidc-provider` for Node.js, installed into a cache.

``python -m tests.kit.certified_provider`` installs it, and so does ``make apps``. The tests are
skipped where it is not installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import pytest
from aiohttp import ClientError, ClientSession, CookieJar

from tests.apps.install import cache
from tests.kit.ports import free_port

HERE = Path(__file__).parent / "oidc_provider_node"
_STAMP = "installed"


def folder() -> Path:
    """Where this version of the provider is installed."""
    content = b"".join((HERE / name).read_bytes() for name in ("package.json", "server.mjs"))
    return cache() / f"oidc-provider-{hashlib.sha256(content).hexdigest()[:12]}"


def install() -> None:
    """Install the provider, unless it is installed already."""
    at = folder()
    if (at / _STAMP).is_file():
        return
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(HERE, at)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run(("npm", "install", *options), cwd=at, check=True)
    (at / _STAMP).touch()


@dataclass
class CertifiedProvider:
    """The running provider, and a browser at it."""

    issuer: str
    session: ClientSession

    async def sign_in(self, location: str, name: str = "marta") -> str:
        """Sign in as ``name`` and consent; the URL to which the provider sends the browser back."""
        filled = {"login": name, "password": "any"}
        for _ in range(12):
            if not location.startswith(self.issuer):
                return location
            async with self.session.get(location, allow_redirects=False) as response:
                html = await response.text()
                if response.status in (302, 303):
                    location = urljoin(location, response.headers["Location"])
                    continue
            location = await self._submit(location, html, filled)
        raise AssertionError(location)

    async def sign_out(self, location: str) -> str:
        """Confirm the sign-out; the URL to which the provider sends the browser back."""
        async with self.session.get(location, allow_redirects=False) as response:
            html = await response.text()
        return await self._submit(location, html, {"logout": "yes"})

    async def _submit(self, location: str, html: str, filled: dict[str, str]) -> str:
        """Send the form of a page."""
        action = re.search(r'<form[^>]* action="([^"]+)"', html)
        assert action is not None, html
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html))
        target = urljoin(location, unescape(action[1]))
        async with self.session.post(
            target, data={**fields, **filled}, allow_redirects=False
        ) as response:
            assert response.status in (302, 303), await response.text()
            return urljoin(target, response.headers["Location"])


@contextlib.asynccontextmanager
async def running_certified_provider(gate: str) -> AsyncIterator[CertifiedProvider]:
    """Run the provider for the gate at this origin."""
    at, node = folder(), shutil.which("node")
    if not (at / _STAMP).is_file() or node is None:
        pytest.skip("oidc-provider is not installed: run make apps")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        node,
        at / "server.mjs",
        str(port),
        gate,
        cwd=at,
        env={"PATH": os.environ["PATH"], "NODE_ENV": "production"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    # The provider's cookies are for paths of an IP address.
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        provider = CertifiedProvider(f"http://127.0.0.1:{port}", session)
        try:
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(ClientError):
                        probe = f"{provider.issuer}/.well-known/openid-configuration"
                        async with session.get(probe) as response:
                            if response.status == 200:
                                break
                    assert process.returncode is None
                    await asyncio.sleep(0.1)
            yield provider
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


if __name__ == "__main__":
    install()
