"""Shows each user how long their access token is still valid."""

from __future__ import annotations

from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, Token


class TimeLeft(Plugin):
    """A line at the top of each page."""

    name = "time-left"
    matches = Match(content_types=("text/html",), destinations=("document",))
    needs = Needs.TOKENS
    tags = ("body",)

    def token(self, exchange: Exchange, token: Token) -> Edit | None:
        """Insert the line once. Reading ``now`` keeps the page out of all caches."""
        expires_at = exchange.client.expires_at
        if expires_at is None or exchange.state.get("done"):
            return None
        exchange.state["done"] = True
        minutes = max(0, round((expires_at - exchange.now).total_seconds() / 60))
        return token.after(f'<p role="status">{minutes} minutes left</p>'.encode())
