"""Shows a page of the site's own while the application can't be reached."""

from __future__ import annotations

from html import escape

from zenzefi.plugins import Exchange, Plugin, PluginOptions, Response, UpstreamError

_PAGE = "<!doctype html><html lang=en><title>{title}</title><h1>{title}</h1><p>{text}</p>"


class ErrorPage(Plugin):
    """Programs get the gate's usual error."""

    name = "error-page"

    class Options(PluginOptions):
        """The text of the page."""

        title: str = "Back in a moment"
        text: str = "The site is being updated. Please try again in half a minute."

    options: Options

    def upstream_error(self, exchange: Exchange, error: UpstreamError) -> Response | None:
        """For navigations only: a script expects other content."""
        if "text/html" not in exchange.request_headers.get("Accept", ""):
            return None
        page = _PAGE.format(title=escape(self.options.title), text=escape(self.options.text))
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Retry-After", "30")]
        return Response(status=503, headers=headers, body=page.encode())
