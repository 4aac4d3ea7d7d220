"""Refuses forms and uploads that contain a forbidden text, before the application gets them."""

from __future__ import annotations

from urllib.parse import unquote_plus

from zenzefi.plugins import Exchange, Plugin, PluginOptions, Response


class ContentFilter(Plugin):
    """A content that is too long to be read is refused as well, because of ``on_failure``."""

    name = "content-filter"
    on_failure = "refuse"
    longest_body = 4 * 1024 * 1024

    class Options(PluginOptions):
        """``forbidden``: texts in lower case."""

        forbidden: tuple[str, ...] = ()

    options: Options

    def request_body(self, exchange: Exchange, body: bytes) -> Response | None:
        """The content is as it was sent, so one that is compressed can't be read here."""
        if exchange.request_headers.get("Content-Encoding", "identity") != "identity":
            return Response.text("Send the content without compression.", 415)
        text = body.decode("utf-8", "replace")
        for reading in (text.lower(), unquote_plus(text).lower()):
            if any(forbidden in reading for forbidden in self.options.forbidden):
                return Response.text("This content is not allowed here.", 422)
        return None
