"""Writes who has downloaded a table into its first line."""

from __future__ import annotations

from zenzefi.plugins import Exchange, Match, Needs, Plugin, TextEdit


class Watermark(Plugin):
    """Files to save usually pass unchanged; ``attachments`` asks for them."""

    name = "watermark"
    matches = Match(content_types=("text/csv",), status=(200,))
    needs = Needs.TEXT
    attachments = True

    def text(self, exchange: Exchange, text: str) -> list[TextEdit]:
        """Reading ``client`` makes the result this user's own."""
        return [TextEdit(0, 0, f"# for user {exchange.client.user_id}\r\n")]
