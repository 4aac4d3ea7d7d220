"""Blocks paths for all but one scope, however they are spelled, also for WebSockets."""

from __future__ import annotations

from zenzefi.plugins import Exchange, OutgoingRequest, Plugin, PluginOptions, Response


class PathBlock(Plugin):
    """If it fails, requests are refused and not passed."""

    name = "path-block"
    on_failure = "refuse"

    class Options(PluginOptions):
        """``paths``: globs; ``scope``: the scope of tokens that may use them."""

        paths: tuple[str, ...] = ("/admin", "/admin/*")
        scope: str = "staff"

    options: Options

    def request(self, exchange: Exchange, request: OutgoingRequest) -> Response | None:
        """``/%61dmin`` and ``//admin`` are ``/admin``."""
        if (
            exchange.path_matches(*self.options.paths)
            and exchange.client.scope != self.options.scope
        ):
            return Response.text("This part is not covered by your access.", 403)
        return None
