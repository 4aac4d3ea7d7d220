"""One admitted request of the reverse proxy, with all that forwarding it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from aiohttp import web
from multidict import CIMultiDictProxy

from zenzefi.http.target import Target
from zenzefi.origin import Mount
from zenzefi.proxy.headers.request import Identity, UrlUnmapper
from zenzefi.proxy.interfaces import RequestTracking
from zenzefi.proxy.method_override import ContentInspection
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
    device_id: str | None = None
    sign_in: UUID | None = None
    sign_in_secret: str | None = None
    inspection: ContentInspection | None = None

    @property
    def client_identity(self) -> ClientIdentity:
        """The client that uses the token."""
        agent = self.request.headers.get("User-Agent", "")
        return ClientIdentity(self.device_id, self.identity.client, agent, self.sign_in)

    @property
    def for_engine(self) -> EngineRequest:
        """The request as the rewriting engine sees it."""
        request = self.request
        return EngineRequest(
            request.method, self.target.raw, request.headers, self.mount, self.identity.user_id
        )

    def traced(self, traceparent: str) -> ProxyRequest:
        """The same, naming the gate's own span to the upstream."""
        return replace(self, identity=replace(self.identity, traceparent=traceparent))
