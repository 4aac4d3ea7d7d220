"""An identity provider (OpenID Connect) whose every response a test can change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer
from authlib.common.encoding import urlsafe_b64encode
from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import select

from tests.kit.gates import GateClient
from tests.kit.visitors import Visitor
from zenzefi.audit.models import audit_logs
from zenzefi.db.engine import DATABASE

CLIENT_ID = "gate"
CLIENT_SECRET = "a secret: with/signs"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _new_key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True)


@dataclass
class Person:
    """The person who signs in at the provider."""

    subject: str = "248289761001"
    email: str = "marta@example.com"
    email_verified: Any = True
    username: str = "marta"

    @property
    def claims(self) -> dict[str, Any]:
        return {
            "sub": self.subject,
            "email": self.email,
            "email_verified": self.email_verified,
            "preferred_username": self.username,
            "name": "Marta Jansen",
        }


@dataclass
class Provider:
    """Signs everybody in at once, as ``person``. The attributes change its responses."""

    person: Person = field(default_factory=Person)
    key: RSAKey = field(default_factory=lambda: _new_key("first"))
    published: list[dict[str, Any]] | None = None
    """The published keys, if not that of ``key``."""
    issuer: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    """Changes of the discovery document."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Changes of the ID token's claims; ``None`` removes one."""
    header: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
    """Makes the ID token from header and claims, instead of a signature with ``key``."""
    handlers: dict[str, Handler] = field(default_factory=dict)
    """Replaces the handler of a path."""
    seen: list[str] = field(default_factory=list)
    """The paths of all requests."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    # --- the browser's side

    def authorize(self, location: str) -> str:
        """Do what the provider's page does for a browser; the path to which it is sent back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = urlsplit(query["redirect_uri"])
        return f"{back.path}?code={code}&state={query['state']}"

    # --- the gate's side

    def id_token(self, query: dict[str, str]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            **self.person.claims,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid, **self.header}
        if self.sign is not None:
            return self.sign(header, claims)
        return jwt.encode(header, claims, self.key, algorithms=[header["alg"]])

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.document,
        }

    def _keys(self) -> dict[str, Any]:
        own = [self.key.as_dict(private=False)]
        return {"keys": own if self.published is None else self.published}

    async def _token(self, request: web.Request) -> web.Response:
        fields = await request.post()
        query = self.codes.pop(str(fields["code"]), None)
        challenge = sha256(str(fields["code_verifier"]).encode()).digest()
        if (
            query is None
            or urlsafe_b64encode(challenge).decode() != query["code_challenge"]
            or fields["redirect_uri"] != query["redirect_uri"]
            or request.headers.get("Authorization")
            != "Basic Z2F0ZTphK3NlY3JldCUzQSt3aXRoJTJGc2lnbnM="
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {"access_token": "access", "token_type": "Bearer", "id_token": self.id_token(query)}
        )

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        if request.path in self.handlers:
            return await self.handlers[request.path](request)
        if request.path == "/token":
            return await self._token(request)
        if request.path == "/userinfo":
            return web.json_response(self.person.claims)
        found = {"/.well-known/openid-configuration": self._discovery, "/keys": self._keys}
        return web.json_response(found[request.path]())

    @property
    def options(self) -> dict[str, Any]:
        """Its options in ``OIDC_PROVIDERS``."""
        return {
            "issuer": self.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "title": "Company",
        }

    def rotate(self, name: str = "second") -> None:
        """Sign with a new key from now on, and publish it alone."""
        self.key = _new_key(name)


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """A provider on a port of this machine."""
    provider = Provider()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", provider.respond)
    async with TestServer(app) as server:
        provider.issuer = f"http://127.0.0.1:{server.port}"
        yield provider


async def never(_: web.Request) -> web.StreamResponse:
    """A handler that does not respond."""
    await asyncio.Event().wait()
    raise AssertionError


MakeWithProvider = Callable[..., Awaitable[GateClient]]
"""Starts a gate: options of the provider, then settings."""


async def sign_in(visitor: Visitor, provider: Provider, path: str = "/login/with/company") -> None:
    """Go to the provider and come back."""
    await visitor.open(path, follow=False)
    assert visitor.status == 303, visitor.text
    await visitor.open(provider.authorize(visitor.location))


async def actions(gate: GateClient) -> list[str]:
    """The actions in the audit log, the oldest first."""
    async with gate.app[DATABASE].read() as connection:
        query = select(audit_logs.c.action).order_by(audit_logs.c.created_at)
        return list((await connection.execute(query)).scalars())
