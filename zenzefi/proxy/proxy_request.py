"""One admitted request of the reverse proxy, with all that forwarding it needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

from aiohttp import web
from multidict import CIMultiDictProxy

from zenzefi.http.target import Target
from zenzefi.origin import Mount
from zenzefi.proxy.headers.request import Identity, UrlUnmapper
from zenzefi.proxy.interfaces import RequestTracking
from zenzefi.proxy.method_override import ContentInspection
from zenzefi.rewriting.plugins.client import UNKNOWN_CLIENT, ClientFacts
from zenzefi.rewriting.plugins.heads import ExchangeMemory
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity


@dataclass(frozen=True, slots=True)
class EngineRequest:
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


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """One admitted request: everything was checked, nothing was sent yet."""

    request: web.BaseRequest
    target: Target
    mount: Mount
    access: TokenAccess
    token: str
    identity: Identity
    unmapper: UrlUnmapper
    tracking: RequestTracking
    is_behind_proxy: bool
    """Whether the client's connection is that of a trusted proxy, which many clients share."""
    device_id: str | None = None
    sign_in: UUID | None = None
    sign_in_secret: str | None = None
    inspection: ContentInspection | None = None
    is_websocket: bool = False
    memory: ExchangeMemory = field(default_factory=ExchangeMemory)

    @property
    def client_identity(self) -> ClientIdentity:
        """The client that uses the token."""
        agent = self.request.headers.get("User-Agent", "")
        return ClientIdentity(self.device_id, self.identity.client, agent, self.sign_in)

    @property
    def for_engine(self) -> EngineRequest:
        """The request as the rewriting engine sees it."""
        request = self.request
        access = self.access
        self.memory.id = self.identity.request_id
        return EngineRequest(
            request.method,
            self.target.raw,
            request.headers,
            self.mount,
            self.identity.user_id,
            facts_of(access, self.device_id, self.identity.client),
            self.memory,
            self.is_websocket,
        )

    def traced(self, traceparent: str) -> ProxyRequest:
        """The same, naming the gate's own span to the upstream."""
        return replace(self, identity=replace(self.identity, traceparent=traceparent))


def facts_of(access: TokenAccess, device_id: str | None, address: str) -> ClientFacts:
    """The facts about a client that plugins may read: never the token itself."""
    return ClientFacts(
        user_id=str(access.user_id),
        token_id=str(access.token_id),
        scope=access.scope,
        device=device_id,
        activated_at=access.activated_at,
        expires_at=access.expires_at,
        address=address,
    )
