"""Sends half of the users to another version of a page, and says so in a header."""

from __future__ import annotations

import hashlib

from zenzefi.plugins import Exchange, Match, OutgoingRequest, OutgoingResponse, Plugin


class AbTest(Plugin):
    """The same user always gets the same version."""

    name = "ab-test"
    matches = Match(paths=("/shop", "/shop/*"))

    def request(self, exchange: Exchange, request: OutgoingRequest) -> None:
        """Choose the version; the browser still sees ``/shop``."""
        digest = hashlib.sha256(exchange.client.user_id.encode()).digest()
        exchange.state["version"] = "ab"[digest[0] % 2]
        if exchange.state["version"] == "b":
            request.path = "/shop-b" + request.path.removeprefix("/shop")

    def response(self, exchange: Exchange, response: OutgoingResponse) -> None:
        """Name the version, and keep caches from giving it to the next user of a browser."""
        response.headers["X-Version"] = exchange.state.get("version", "a")
        response.headers.add("Vary", "Cookie, X-Access-Token")
