"""A browser as far as sign-in goes: cookies per host, one connection per request, no redirects."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from tests.kit.proxy_gates import TOKEN, RunningGate
from zenzefi.gate_cookies import SIGN_IN, is_sealed, stored_name
from zenzefi.proxy.tickets import ENTER_PATH
from zenzefi.settings import SETTINGS

AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36"
NAVIGATION = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")


@dataclass
class BrowserResponse:
    """One response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def location(self) -> str:
        """Where it leads to."""
        return next((text for name, text in self.headers if name == "location"), "")

    @property
    def cookies(self) -> list[str]:
        """Every ``Set-Cookie`` line."""
        return [text for name, text in self.headers if name == "set-cookie"]

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class VisitingBrowser:
    """Goes to addresses of one gate, whatever host they name."""

    gate: RunningGate
    keeps_cookies: bool = True
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)  # host without port -> pairs
    agent: str = AGENT
    address: str = "127.0.0.1"
    """Where it is, for a gate that trusts 127.0.0.1 to say so."""

    def sign_in(self, host: str = "127.0.0.1", token: str = TOKEN) -> VisitingBrowser:
        """Hold the proxy cookie and a sign-in at one host of the gate."""
        public = self.gate.app[SETTINGS].public_origin
        name = stored_name(SIGN_IN, public, host, self.agent)
        secret = self.gate.sign_ins.add(
            token,
            address=self.address,
            agent=self.agent,
            is_sealed=is_sealed(name, self.agent),
        )
        self.cookies[host.strip("[]")] = {"zenzefi_access_token": token, name: secret}
        return self

    async def request(self, url: str, *headers: str, method: str = "GET") -> BrowserResponse:
        """One request, as a navigation unless ``headers`` say otherwise."""
        parts = urlsplit(url)
        target = url.partition("//")[2][len(parts.netloc) :] or "/"
        jar = self.cookies.setdefault(parts.hostname or "", {})
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"User-Agent: {self.agent}",
        ]
        if self.address != "127.0.0.1":
            lines.append(f"X-Forwarded-For: {self.address}")
        lines += headers or NAVIGATION
        if jar:
            lines.append("Cookie: " + "; ".join(f"{name}={value}" for name, value in jar.items()))
        lines += ["Connection: close", "", ""]
        head, _, body = (await self.gate.raw("\r\n".join(lines).encode())).partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        pairs = [(name.lower(), text) for name, _, text in (line.partition(": ") for line in rest)]
        response = BrowserResponse(int(first.split()[1]), pairs, body)
        if self.keeps_cookies:
            self._keep(jar, response.cookies)
        return response

    def _keep(self, jar: dict[str, str], lines: list[str]) -> None:
        for line in lines:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    jar.pop(name, None)
                else:
                    jar[name] = morsel.value

    async def follow(self, url: str, *, limit: int = 6) -> tuple[list[str], BrowserResponse]:
        """Follow redirects like a browser; every address on the way, and the last response."""
        seen = [url]
        response = await self.request(url)
        while response.status == 303:
            assert len(seen) <= limit, seen
            origin = "/".join(seen[-1].split("/")[:3])
            seen.append(
                origin + response.location if response.location[0] == "/" else response.location
            )
            response = await self.request(seen[-1])
        return seen, response


OTHER_TOKEN = "O" * 64


def signed_in(
    gate: RunningGate, token: str = TOKEN, *, keeps_cookies: bool = True
) -> VisitingBrowser:
    """A browser with the proxy cookie at the gate's host."""
    return VisitingBrowser(gate, keeps_cookies=keeps_cookies).sign_in(token=token)


def own_origin_of(gate: RunningGate) -> str:
    return str(gate.gate.mounts.own_origin.public)


async def ticket_url(browser: VisitingBrowser) -> str:
    """The address with the ticket, before the browser follows it."""
    begun = await browser.request(f"{own_origin_of(browser.gate)}{ENTER_PATH}")
    issued = await browser.request(begun.location)
    assert issued.status == 303, issued
    return issued.location
