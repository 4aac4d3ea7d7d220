"""Plain XML, read as the format that its root element shows."""

from __future__ import annotations

from collections.abc import Callable

from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.scanner import DecidingScanner, Scanner
from zenzefi.rewriting.url_map import UrlMap
from zenzefi.rewriting.xml_formats import rules_by_root
from zenzefi.rewriting.xmlspans import XmlReader


class XmlByRoot(DecidingScanner):
    """Reads a document by the table of the format that its root element shows."""

    def __init__(
        self, mapper: UrlMap, url: str, script: Callable[[], Scanner] | None = None
    ) -> None:
        self._mapper = mapper
        self._url = url
        self._script = script
        self._hurried = False
        self._reader: XmlReader | None = None

    def release(self) -> None:
        """See :class:`zenzefi.rewriting.scanner.DecidingScanner`."""
        self._hurried = True

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """As :meth:`XmlReader.scan`."""
        if self._reader is None:
            rules = rules_by_root(window, final or (self._hurried and bool(window.strip())))
            if rules is None:
                return 0, []
            self._reader = XmlReader(rules, self._mapper, self._url, self._script)
        return self._reader.scan(window, final)
