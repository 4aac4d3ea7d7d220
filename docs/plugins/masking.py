"""Masks telephone numbers in pages, wherever the upstream's writes end."""

from __future__ import annotations

import re

from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, TextNode

_PHONE = re.compile(r"\+7 \(\d{3}\) \d{3}-\d\d-\d\d")


class Masking(Plugin):
    """Whole texts are looked at, so no half of a number passes."""

    name = "masking"
    matches = Match(content_types=("text/html",))
    needs = Needs.TEXT_NODES

    def text_node(self, exchange: Exchange, node: TextNode) -> Edit | None:
        """Replace the numbers of one text."""
        text = node.text
        masked = _PHONE.sub("+7 (***) ***-**-**", text)
        return node.replace(masked) if masked != text else None
