"""Example of ``document``: a table of contents, made with BeautifulSoup. Off by default; enable it:

PLUGIN_OPTIONS={"outline": {"enabled": true, "level": "h2"}}
"""

from __future__ import annotations

from typing import Any, Literal

from zenzefi.plugins import Context, Match, Needs, Plugin, PluginOptions


class Outline(Plugin):
    """Inserts a list of the page's headings at the top of its body."""

    name = "outline"
    enabled = False
    phase = "before"
    matches = Match(content_types=("text/html",), destinations=("document",))
    needs = Needs.DOCUMENT

    class Options(PluginOptions):
        """The level of the listed headings."""

        level: Literal["h1", "h2", "h3"] = "h2"

    options: Options

    def document(self, context: Context, soup: Any) -> None:
        """Add the list; without headings the tree, and so the page, stays unchanged."""
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
