"""One admitted request of the reverse proxy, with all that forwarding it needs."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from aiohttp import web
from multidict import CIMultiDictProxy

from zenzefi.http.target import Target
from zenzefi.origin import Mount
from zenzefi.proxy.headers.request import Identity, UrlUnmapper
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.rewriting.plugins.client import UNKNOWN_CLIENT, ClientFacts
from zenzefi.rewriting.plugins.heads import ExchangeMemory
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity


class EngineRequest(NamedTuple):
    """The part of a request on which the mapping of its response depends."""

    method: str
    target: str
    """The upstream's, raw."""
    headers: CIMultiDictProxy[str]
    """The client's, as they were received."""
    mount: Mount
    user_id: str
    client: ClientFacts = UNKNOWN_CLIENT
    """Who is asking, for plugins."""
    memory: ExchangeMemory | None = None
    """What plugins keep for this one request."""
    is_websocket: bool = False

    def at(self, method: str, target: str, memory: ExchangeMemory) -> EngineRequest:
        """A request with the same headers for another target (cheaper than ``replace``)."""
        return EngineRequest(
            method,
            target,
            self.headers,
            self.mount,
            self.user_id,
            self.client,
            memory,
            self.is_websocket,
        )


class ProxyRequest(NamedTuple):
    """One admitted request: everything was checked, nothing was sent yet."""

    request: web.BaseRequest
    target: Target
    mount: Mount
    access: TokenAccess
    token: str
    identity: Identity
    unmapper: UrlUnmapper
    is_behind_proxy: bool
    """Whether the client's connection is that of a trusted proxy, which many clients share."""
    device_id: str | None = None
    sign_in: UUID | None = None
    sign_in_secret: str | None = None
    inspection: ContentInspection | None = None
    is_websocket: bool = False
    memory: ExchangeMemory | None = None
    """What plugins keep for it; ``None``: for each request of its kind another one."""

    @property
    def client_identity(self) -> ClientIdentity:
        """The client that uses the token."""
        agent = self.request.headers.get("User-Agent", "")
        return ClientIdentity(self.device_id, self.identity.client, agent, self.sign_in)

    @property
    def for_engine(self) -> EngineRequest:
        """The request as the rewriting engine sees it."""
        request, identity = self.request, self.identity
        return EngineRequest(
            request.method,
            self.target.raw,
            request.headers,
            self.mount,
            identity.user_id,
            facts_of(self.access, identity, self.device_id),
            self.memory,
            self.is_websocket,
        )

    def traced(self, traceparent: str) -> ProxyRequest:
        """The same, naming the gate's own span to the upstream."""
        return self._replace(identity=self.identity._replace(traceparent=traceparent))


def facts_of(access: TokenAccess, identity: Identity, device_id: str | None) -> ClientFacts:
    """The facts about a client that plugins may read: never the token itself."""
    return ClientFacts(
        user_id=identity.user_id,
        token_id=identity.token_id,
        scope=access.scope,
        device=device_id,
        activated_at=access.activated_at,
        expires_at=access.expires_at,
        address=identity.client,
    )
