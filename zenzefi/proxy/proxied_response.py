"""An awaited response to a proxied request, with the facts of the request."""

from __future__ import annotations

from zenzefi.http.client_address import client_address_of
from zenzefi.proxy.browser.awaited_response import AwaitedResponse, CountingClient
from zenzefi.proxy.proxy_request import ProxyRequest


class ProxiedResponse(AwaitedResponse):
    """The response, and what the client's connection has to know of the admitted request."""

    def __init__(self, proxied: ProxyRequest, client: CountingClient) -> None:
        request = proxied.request
        super().__init__(request, client, proxied.identity.request_id.encode())
        self.access = proxied.access
        self.token = proxied.token
        self.identity = proxied.client_identity
        self.for_engine = proxied.for_engine
        # A reverse proxy's connection to the gate carries the requests of many browsers.
        self.is_behind_proxy = client_address_of(request).is_behind_trusted_proxy
        self.has_derived_tag = "~z" in ",".join(request.headers.getall("If-None-Match", ()))
        self.may_refetch = not request.body_exists
        """Whether the request may be repeated without its ``Range``."""
