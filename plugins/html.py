"""HTML: all URLs of the standard, and the runtime as the first script of documents.

The plugin maps URLs in the markup; the runtime maps URLs that scripts build. At a root mount these
are only addresses with the upstream's origin, so that only documents that name it get the runtime.
"""

from __future__ import annotations

from typing import Literal

from zenzefi.plugins import (
    DOCUMENT_DESTINATIONS,
    Context,
    HtmlOptions,
    HtmlScanner,
    IfNamed,
    Match,
    Mount,
    MountKind,
    Needs,
    OriginScanner,
    Plugin,
    PluginOptions,
    Scanner,
    map_policy,
    runtime_tag,
)

_NAVIGATION = "application/xhtml+xml"


class Html(Plugin):
    """Maps the URLs of HTML, in elements, styles, inline scripts and policies."""

    name = "html"
    matches = Match(content_types=("text/html",))
    needs = Needs.CHUNKS
    varies = ("Sec-Fetch-Dest", "Accept")
    _reads_spellings = True
    _reads_words = (b"manifest",)

    class Options(PluginOptions):
        """``address``: the path in the address bar under a prefix, mounted or the upstream's own
        (for routers that read ``location.pathname``); ``runtime``: whether documents get the
        runtime script."""

        address: Literal["mount", "upstream"] = "mount"
        runtime: bool = True

    options: Options

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True at a root mount: rooted URLs stay, and only documents with a mention get the
        runtime."""
        return mount.is_root

    def _varies(self, mount: Mount, destination: str | None) -> tuple[str, ...]:
        """Documents get the runtime and fragments do not."""
        return self.varies if destination is None else ("Sec-Fetch-Dest",)

    def scanner(self, context: Context) -> Scanner:
        """One scanner per document. At a root mount, only one that names the upstream gets the
        runtime."""
        head = self._head(context) if _is_shown(context) else b""
        if not head or not context.mount.is_root:
            return self._html(context, head)
        return IfNamed(
            context.origins, lambda is_named: self._html(context, head if is_named else b"")
        )

    @staticmethod
    def _html(context: Context, head: bytes) -> Scanner:
        return HtmlScanner(
            context.mapper,
            context.mount,
            context.url,
            HtmlOptions(
                head=head,
                shown=_is_shown(context),
                hashes=context.inline_hashes,
                nonce=context.fresh_nonce,
                credentials=context.mount.kind is not MountKind.CLIENT,
                scripts=lambda kind: OriginScanner(context.origins, context.mount),
                csp=lambda policy: map_policy(policy, context.mapper, context.mount, context.url),
            ),
        )

    def _head(self, context: Context) -> bytes:
        """The runtime's element, if scripts may run."""
        if not (self.options.runtime and context.scripts_allowed):
            return b""
        return runtime_tag(
            context.mount,
            context.origins,
            context.script_nonce,
            "mount" if context.mount.is_root else self.options.address,
            key=context.marks_key,
        )


def _is_shown(context: Context) -> bool:
    """Whether a browser shows the body as a document; scripts request fragments."""
    if context.destination is None:
        # Browsers send the destination to secure origins only. For others, Accept decides: every
        # browser lists this type in navigations, and no browser does for requests of scripts.
        return _NAVIGATION in context.request_headers.get("Accept", _NAVIGATION)
    return context.destination in DOCUMENT_DESTINATIONS
