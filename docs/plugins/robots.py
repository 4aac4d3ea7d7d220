"""Tells search engines to stay away, at each site behind the gate."""

from __future__ import annotations

from zenzefi.plugins import Exchange, Match, Plugin, Response


class Robots(Plugin):
    """The response is always the same, so it needs no task, as ``request`` would."""

    name = "robots"
    matches = Match(paths=("/robots.txt",))

    def early_response(self, exchange: Exchange) -> Response:
        """RFC 9309."""
        return Response.text("User-agent: *\nDisallow: /\n")
