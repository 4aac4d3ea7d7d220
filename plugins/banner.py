"""Example of ``token``: a line of text at the top of every page. Off by default; enable it:

PLUGIN_OPTIONS={"banner": {"enabled": true, "text": "Staging"}}
"""

from __future__ import annotations

from html import escape

from pydantic import Field

from zenzefi.plugins import Context, Edit, Match, Needs, Plugin, PluginOptions, Token


class Banner(Plugin):
    """Inserts a banner after the opening ``<body>``."""

    name = "banner"
    enabled = False
    phase = "before"
    matches = Match(content_types=("text/html",), destinations=("document",))
    needs = Needs.TOKENS
    tags = ("body",)

    class Options(PluginOptions):
        """Text and style of the banner."""

        text: str = Field("You are seeing this site through a gate.", min_length=1, max_length=500)

    options: Options

    def token(self, context: Context, token: Token) -> Edit | None:
        """Insert once, after the first ``<body>``."""
        if context.state.get("done"):
            return None
        context.state["done"] = True
        text = escape(self.options.text)
        return token.after(f'<div role="note" data-zenzefi-banner>{text}</div>'.encode())
