"""Scripts: byte-identical, unless they contain the upstream's absolute origin.

This keeps integrity hashes, source maps and content hashes valid. URLs that scripts build are
mapped by the runtime where they are used; a worker's script loads it on its first line.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from zenzefi.plugins import (
    Context,
    Edit,
    Match,
    Mount,
    Needs,
    OriginFinder,
    Plugin,
    Scanner,
    is_worker,
    worker_prelude,
)


class JavaScript(Plugin):
    """Maps the upstream's origin in every spelling that scripts use."""

    name = "javascript"
    matches = Match(
        content_types=(
            "text/javascript",
            "text/cache-manifest",
            "application/manifest+cache",
        )
    )
    needs = Needs.CHUNKS

    varies = ("Sec-Fetch-Dest",)

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """False for a worker's script under a prefix, which gets the runtime."""
        return mount.is_root or not is_worker(destination, "")

    def _varies(self, mount: Mount, destination: str | None) -> tuple[str, ...]:
        """Only for a worker's script under a prefix, which gets the runtime.

        The same script for a page does not vary: the runtime marks the address of each worker, so
        no worker asks for the page's address.
        """
        return () if mount.is_root or not is_worker(destination, "") else self.varies

    def scanner(self, context: Context) -> Scanner:
        """A search for the host, in C."""
        finder = OriginFinder(context.origins, context.mount)
        if context.mount.is_root or not is_worker(context.destination, _query(context)):
            return _Scanner(finder, None)
        return _Scanner(finder, context)


def _query(context: Context) -> str:
    return urlsplit(context.url).query


class _Scanner:
    def __init__(self, finder: OriginFinder, worker: Context | None) -> None:
        self._finder = finder
        self._worker = worker

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        if self._worker is None:
            return self._finder.edits(window, final)
        prelude = self._prelude(self._worker, window)
        if not final and len(window) < len(prelude) and prelude.startswith(window):
            return 0, []  # the script may already begin with it
        settled, edits = self._finder.edits(window, final)
        if not (settled or final):
            return settled, edits
        self._worker = None
        if window.startswith(prelude):
            return settled, edits
        return settled, [Edit(0, 0, prelude), *edits]

    @staticmethod
    def _prelude(context: Context, source: bytes) -> bytes:
        return worker_prelude(
            context.mount,
            context.origins,
            query=_query(context),
            source=source,
            key=context.marks_key,
        )
