"""A person with a browser, as far as HTTP goes: cookies, forms with their tokens, redirects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pyotp
import pytest
from aiohttp import ClientResponse
from bs4 import BeautifulSoup
from sqlalchemy import update

from tests.kit.gates import GateClient
from zenzefi.accounts.models import users
from zenzefi.db.engine import DATABASE
from zenzefi.mail.queue import MAIL_QUEUE

PASSWORD = "correct horse battery"


@dataclass
class Visitor:
    """Has its own cookies (the test client's jar is shared, so it stays empty) and an open page."""

    gate: GateClient
    language: str = "en"
    cookies: dict[str, str] = field(default_factory=dict)
    status: int = 0
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    html: str = ""

    @property
    def soup(self) -> Any:
        """The parsed page. ``Any``: a missing element fails the test at its use."""
        return BeautifulSoup(self.html, "lxml")

    @property
    def text(self) -> str:
        """The text of the page, in one line."""
        main = self.soup.find("main")
        return " ".join(main.get_text(" ").split()) if main else ""

    async def _note(self, response: ClientResponse) -> None:
        for name, morsel in response.cookies.items():
            if morsel.value and morsel["max-age"] != "0":
                self.cookies[name] = morsel.value
            else:
                self.cookies.pop(name, None)
        self.status, self.headers = response.status, dict(response.headers)
        self.location = response.headers.get("Location", "")
        self.html = await response.text()

    def _headers(self, extra: dict[str, str]) -> dict[str, str]:
        self.gate.session.cookie_jar.clear()
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {
            "Accept": "text/html",
            "Accept-Language": self.language,
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            **({"Cookie": cookie} if cookie else {}),
            **extra,
        }

    async def open(self, path: str, *, follow: bool = True, **headers: Any) -> Visitor:
        """Open a page."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self._note(
            await self.gate.get(path, headers=self._headers(named), allow_redirects=False)
        )
        if follow and self.status == 303:
            return await self.open(self.location)
        return self

    async def send(
        self,
        path: str,
        *,
        follow: bool = True,
        headers: dict[str, str] | None = None,
        csrf: str | None = None,
        **fields: Any,
    ) -> Visitor:
        """Send a form: the token of the page that is open goes with it."""
        token = csrf if csrf is not None else self.csrf
        sent = {"csrf": token, **fields}
        extra = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-User": "?1", **(headers or {})}
        await self._note(
            await self.gate.post(
                path, data=sent, headers=self._headers(extra), allow_redirects=False
            )
        )
        if follow and self.status == 303:
            return await self.open(self.location)
        return self

    @property
    def csrf(self) -> str:
        """The form token of the page that is open."""
        field_ = self.soup.find("input", attrs={"name": "csrf"})
        return str(field_["value"]) if field_ else ""

    async def register(self, name: str = "marta") -> Visitor:
        """Open an account and be signed in."""
        await self.open("/register")
        return await self.send(
            "/register", email=f"{name}@example.com", username=name, password=PASSWORD
        )

    async def login(self, name: str = "marta", password: str = PASSWORD) -> Visitor:
        """Sign in."""
        await self.open("/login")
        return await self.send("/login", email=f"{name}@example.com", password=password)

    async def buy(self, hours: int = 24) -> str:
        """Buy a token; its page is open then. Returns its path."""
        await self.open("/account/buy")
        once = str(self.soup.find("input", attrs={"name": "once"})["value"])
        await self.send(
            "/account/buy", follow=False, duration_hours=str(hours), scope="full", once=once
        )
        path = self.location
        await self.open(path)
        return path


async def enable_two_factor(visitor: Visitor) -> tuple[pyotp.TOTP, list[str]]:
    """Two-step sign-in for this visitor: the app, and the recovery codes."""
    await visitor.open("/account/two-factor")
    secret = visitor.soup.select_one("main code").get_text().replace(" ", "")
    app = pyotp.TOTP(secret)
    await visitor.send("/account/two-factor", code=app.now())
    return app, [item.get_text() for item in visitor.soup.select(".codes li")]


async def last_link(gate: GateClient, caplog: pytest.LogCaptureFixture, path: str) -> str:
    """The last link that was sent."""
    await gate.app[MAIL_QUEUE].join()
    found = re.findall(rf"https?://[^/]+({path}\?link=[\w-]+)", caplog.text)
    return str(found[-1]) if found else ""


async def promote(gate: GateClient, name: str = "root") -> None:
    async with gate.app[DATABASE].begin() as connection:
        await connection.execute(
            update(users).where(users.c.username == name).values(is_superuser=True)
        )
