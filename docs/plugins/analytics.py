"""Adds an analytics script to each page, as the page's security policy demands it."""

from __future__ import annotations

from html import escape

from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, PluginOptions, Token


class Analytics(Plugin):
    """A script of the application itself, at the end of the head."""

    name = "analytics"
    matches = Match(content_types=("text/html",), destinations=("document",))
    needs = Needs.TOKENS
    tags = ("/head",)

    class Options(PluginOptions):
        """``src``: an address of the application; the gate maps it."""

        src: str = "/static/analytics.js"

    options: Options

    def token(self, exchange: Exchange, token: Token) -> Edit | None:
        """The nonce is that of the page's Content-Security-Policy, if it needs one."""
        if not exchange.scripts_allowed or exchange.state.get("done"):
            return None
        exchange.state["done"] = True
        nonce = f' nonce="{exchange.script_nonce}"' if exchange.script_nonce else ""
        return token.before(
            f'<script{nonce} defer src="{escape(self.options.src)}"></script>'.encode()
        )
