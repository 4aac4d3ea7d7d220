"""Whether a document at a root mount names the upstream, so that it gets the runtime script.

At a root mount, every path is the upstream's own, and addresses with the upstream's origin are
mapped where they are written. What remains are addresses that scripts compute: a script can do so
if it knows the host. Most documents do not name it, and leave as they came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from zenzefi.origin import DEFAULT_PORTS, Origin
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.scanner import DecidingScanner, Scanner

LONGEST = 256 * 1024
"""Bytes of a document in which the upstream's name is searched."""


class IfNamed(DecidingScanner):
    """Reads a document by one of two scanners: ``make(True)`` if it names one of ``origins``.

    Names count in any context, with or without a scheme. A document is withheld until a name is
    found or :data:`LONGEST` bytes are there; its whole text was mostly received before, to see
    whether it leaves unchanged (:mod:`zenzefi.rewriting.origin_search`).
    """

    def __init__(self, origins: Collection[Origin], make: Callable[[bool], Scanner]) -> None:
        self._names = _names(origins)
        self._make = make
        self._scanner: Scanner | None = None
        self._hurried = False

    def release(self) -> None:
        """See :class:`zenzefi.rewriting.scanner.DecidingScanner`."""
        self._hurried = True
        _release(self._scanner)

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """See :class:`zenzefi.rewriting.scanner.Scanner`."""
        if self._scanner is None:
            is_named = self._names.search(window.lower()) is not None
            if not (is_named or final or self._hurried or len(window) >= LONGEST):
                return 0, []
            self._scanner = self._make(is_named)
            if self._hurried:
                _release(self._scanner)
        settled, edits = self._scanner.scan(window, final)
        return settled, list(edits)


def _release(scanner: object) -> None:
    if isinstance(scanner, DecidingScanner):
        scanner.release()


def _names(origins: Collection[Origin]) -> re.Pattern[bytes]:
    """The pattern of the upstream's names in lower-case text.

    A name without a dot may be an ordinary word (``app``, ``localhost``): it counts with its port,
    or after two slashes.
    """
    patterns = set()
    for origin in origins:
        host = re.escape(origin.host.encode("ascii"))
        is_distinct = "." in origin.host or ":" in origin.host
        has_port = origin.port != DEFAULT_PORTS[origin.scheme]
        port = b":%d" % origin.port if has_port and not is_distinct else b""
        before = b"" if is_distinct or has_port else rb"(?<=[/\\][/\\])"
        patterns.add(rb"(?<![\w.-])" + before + host + port + rb"(?![\w-]|\.[\w-])")
    return re.compile(b"|".join(sorted(patterns)))
