"""HTML: every address that the standard knows, and the runtime first in documents.

The plugin maps addresses in the markup; the runtime maps addresses that scripts build.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from zenzefi.plugins import (
    DOCUMENT_DESTINATIONS,
    Context,
    Edit,
    HtmlOptions,
    HtmlScanner,
    Match,
    Needs,
    OriginFinder,
    Plugin,
    PluginOptions,
    Scanner,
    map_policy,
    runtime_tag,
)

_NAVIGATION = "application/xhtml+xml"


class Html(Plugin):
    """Maps the addresses of HTML, in elements, styles, inline scripts and policies."""

    name = "html"
    matches = Match(content_types=("text/html",))
    needs = Needs.CHUNKS
    varies = ("Sec-Fetch-Dest", "Accept")

    class Options(PluginOptions):
        """``address``: what the address bar shows under a prefix, the mounted path or the
        upstream's own (for routers that read ``location.pathname``); ``runtime``: whether
        documents get the run-time script."""

        address: Literal["mount", "upstream"] = "mount"
        runtime: bool = True

    options: Options

    def scanner(self, context: Context) -> Scanner:
        """One scanner per document."""
        shown = _is_shown(context)
        return HtmlScanner(
            context.mapper,
            context.mount,
            context.url,
            HtmlOptions(
                head=self._head(context) if shown else b"",
                shown=shown,
                scripts=lambda kind: _Script(context),
                csp=lambda policy: map_policy(policy, context.mapper, context.mount, context.url),
            ),
        )

    def _head(self, context: Context) -> bytes:
        """The runtime, where scripts may run."""
        if not (self.options.runtime and context.scripts_allowed):
            return b""
        return runtime_tag(
            context.mount,
            context.origins,
            context.script_nonce,
            self.options.address,
            key=context.marks_key,
        )


def _is_shown(context: Context) -> bool:
    """Whether a browser shows it as a document; a script may have asked for a fragment."""
    if context.destination is None:
        # Browsers say the destination to secure origins only; elsewhere what they accept tells:
        # this type is in the header of every browser's navigations, and in no script's.
        return _NAVIGATION in context.request_headers.get("Accept", _NAVIGATION)
    return context.destination in DOCUMENT_DESTINATIONS


class _Script:
    """An inline script: byte-identical, unless it names the upstream's origin."""

    def __init__(self, context: Context) -> None:
        self._finder = OriginFinder(context.origins, context.mount)

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        return self._finder.edits(window, final)
