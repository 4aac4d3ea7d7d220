"""A page where users write to the operator, and an entry for it in the account pages."""

from __future__ import annotations

import logging
from html import escape

from zenzefi.plugins import (
    Exchange,
    Plugin,
    PluginOptions,
    Response,
    RouteRequest,
    StaticFiles,
    route,
)

logger = logging.getLogger("zenzefi.plugins.feedback")

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Feedback</title><link rel="stylesheet" href="{style}"></head>
<body><main><h1>Feedback</h1><p role="status">{status}</p>
<form method="post" action="{action}">
<label>Your message <textarea name="text" maxlength="{longest}" required></textarea></label>
<button>Send</button></form></main></body></html>
"""


class Feedback(Plugin):
    """Messages go to the log, with the ID of the user."""

    name = "feedback"
    static = StaticFiles(folder="feedback")
    longest_body = 64 * 1024

    class Options(PluginOptions):
        """``longest``: characters of a message."""

        longest: int = 2000

    options: Options

    @route("/", menu={"en": "Feedback", "ru": "Написать нам"})
    def form(self, exchange: Exchange, request: RouteRequest) -> Response:
        """Show the form."""
        return self._page("Your message has been sent." if "sent" in request.query else "")

    @route("/", methods=("POST",))
    async def send(self, exchange: Exchange, request: RouteRequest) -> Response:
        """Log the message. The redirect keeps a reload from sending it again."""
        text = request.form().get("text", "").strip()
        if not 0 < len(text) <= self.options.longest:
            return self._page(f"Please write up to {self.options.longest} characters.", 422)
        logger.info("feedback: user=%s text=%r", exchange.client.user_id, text)
        return Response.redirect(self.address("/") + "?sent=1")

    def _page(self, status: str, code: int = 200) -> Response:
        page = _PAGE.format(
            style=self.address("/static/feedback.css"),
            action=self.address("/"),
            status=escape(status),
            longest=self.options.longest,
        )
        return Response.text(page, code, "text/html")
