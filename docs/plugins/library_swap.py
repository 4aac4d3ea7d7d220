"""Replaces an old script library of the application by a newer one."""

from __future__ import annotations

from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, PluginOptions, Token


class LibrarySwap(Plugin):
    """Addresses are the application's own: the gate maps them afterwards."""

    name = "library-swap"
    matches = Match(content_types=("text/html",))
    needs = Needs.TOKENS
    tags = ("script",)

    class Options(PluginOptions):
        """The addresses, as the application's pages spell them."""

        old: str = "/static/jquery-1.js"
        new: str = "/static/jquery-3.js"

    options: Options

    def token(self, exchange: Exchange, token: Token) -> list[Edit]:
        """The checksum of the old file goes with its address."""
        if token.attributes.get("src") != self.options.old:
            return []
        return [token.set("src", self.options.new), token.remove("integrity")]
