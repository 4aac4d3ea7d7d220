"""Example of ``early_response``: respond instead of the upstream. Off by default; enable it:

PLUGIN_OPTIONS={"maintenance": {"enabled": true, "paths": ["/reports/*"]}}
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from pydantic import Field

from zenzefi.plugins import Context, EarlyResponse, Plugin, PluginOptions


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

    def early_response(self, context: Context) -> EarlyResponse | None:
        """503 with Retry-After (RFC 9110 section 15.6.4)."""
        if not any(fnmatchcase(context.path, pattern) for pattern in self.options.paths):
            return None
        return EarlyResponse(
            status=503,
            headers=(
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Retry-After", str(self.options.retry_after)),
            ),
            body=self.options.text.encode(),
        )
