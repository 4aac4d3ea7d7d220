"""Example of ``document``: a table of contents made with BeautifulSoup. Off until switched on:

PLUGIN_OPTIONS={"outline": {"enabled": true, "level": "h2"}}
"""

from __future__ import annotations

from typing import Any, Literal

from zenzefi.plugins import Context, Match, Needs, Plugin, PluginOptions


class Outline(Plugin):
    """Puts a list of the page's headings at the top of its body."""

    name = "outline"
    enabled = False
    matches = Match(content_types=("text/html",), destinations=("document",))
    needs = Needs.DOCUMENT
    before = ("html",)  # it sees the upstream's own page; what it adds is mapped like the rest

    class Options(PluginOptions):
        """Which headings are listed."""

        level: Literal["h1", "h2", "h3"] = "h2"

    options: Options

    def document(self, context: Context, soup: Any) -> None:
        """Leave pages without headings alone: an unchanged tree leaves every byte as it was."""
        headings = soup.find_all(self.options.level)
        if soup.body is None or not headings:
            return
        items = soup.new_tag("ul")
        for number, heading in enumerate(headings, 1):
            heading["id"] = heading.get("id") or f"section-{number}"
            link = soup.new_tag("a", href=f"#{heading['id']}")
            link.string = heading.get_text(" ", strip=True)
            item = soup.new_tag("li")
            item.append(link)
            items.append(item)
        outline = soup.new_tag("nav")
        outline.append(items)
        soup.body.insert(0, outline)
