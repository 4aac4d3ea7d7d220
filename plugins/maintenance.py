"""Example of ``request``: respond instead of the upstream. Off by default; enable it:

PLUGIN_OPTIONS={"maintenance": {"enabled": true, "paths": ["/reports/*"]}}
"""

from __future__ import annotations

from pydantic import Field

from zenzefi.plugins import Exchange, OutgoingRequest, Plugin, PluginOptions, Response


class Maintenance(Plugin):
    """Responds with 503 for some paths without a request to the upstream."""

    name = "maintenance"
    enabled = False

    class Options(PluginOptions):
        """The paths under maintenance, and the text of the response."""

        paths: tuple[str, ...] = ()
        text: str = "This part is being worked on. Try again later."
        retry_after: int = Field(600, ge=1)

    options: Options

    def request(self, exchange: Exchange, request: OutgoingRequest) -> Response | None:
        """503 with Retry-After (RFC 9110 section 15.6.4), for every spelling of the path."""
        if not exchange.path_matches(*self.options.paths):
            return None
        return Response(
            status=503,
            headers=(
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Retry-After", str(self.options.retry_after)),
            ),
            body=self.options.text.encode(),
        )
