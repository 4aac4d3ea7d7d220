"""The search that tells that a body passes unchanged, because it does not name the upstream.

Every edit of the bundled mapping of JSON and of scripts is at a mention of one of the upstream's
origins (:mod:`zenzefi.rewriting.literals`). In most such bodies there is none. A body that is
received whole and has no mention can leave as it came, with its content coding and its validators,
and costs one search at the speed of ``bytes.find``.
"""

from __future__ import annotations

import codecs as encodings
from collections.abc import Iterable, Sequence

from zenzefi.origin import Mount, Origin
from zenzefi.rewriting import charset, codecs
from zenzefi.rewriting.literals import OriginFinder
from zenzefi.rewriting.plugins.loaded import LoadedPlugin

LONGEST = 64 * 1024
"""The longest body that is searched, in bytes as it is sent: one step of the event loop."""
_LONGEST_DECODED = 512 * 1024
_TRANSCODED = ("utf-16-le", "utf-16-be", "iso-2022-jp")
_MARKS = (encodings.BOM_UTF16_LE, encodings.BOM_UTF16_BE)


class OriginSearch:
    """The search for mentions in the bodies of one content type at one mount."""

    def __init__(self, origins: Iterable[Origin], mount: Mount, varies: Sequence[str]) -> None:
        self.varies = tuple(varies)
        """Request headers on which it depends whether the body is rewritten."""
        self._finder = OriginFinder(origins, mount)

    def finds(self, body: bytes, content_encoding: str) -> bool:
        """Whether a whole body may have a mention; true as well if finding out would be costly.

        ``content_encoding`` is the header's value, ``""`` for none.
        """
        if len(body) > LONGEST:
            return True
        data = _decoded(body, content_encoding)
        if data is None or data.startswith(_MARKS):
            return True
        return next(self._finder.find(data), None) is not None


def search_for(
    entries: Sequence[LoadedPlugin],
    label: str,
    origins: Iterable[Origin],
    mount: Mount,
    destination: str | None,
) -> OriginSearch | None:
    """The search for a Content-Type, ``None`` if bodies without a mention may be rewritten too.

    ``entries`` are all plugins that may want such a body; those of the operator count as wanting
    it with any content.
    """
    if not entries or charset.by_label(charset.label(label)) in _TRANSCODED:
        return None
    for entry in entries:
        if not entry.bundled or not entry.plugin._edits_mentions_only(mount, destination):
            return None
    # At a root nothing depends on the request: workers and documents get no script of the gate.
    varies = {name for entry in entries for name in entry.plugin.varies if not mount.is_root}
    return OriginSearch(origins, mount, sorted(varies))


def _decoded(body: bytes, content_encoding: str) -> bytes | None:
    """The body without its codings; ``None`` if they are unknown, broken or expand too much."""
    if not content_encoding:
        return body
    decoders = codecs.decoders(content_encoding)
    if decoders is None:
        return None
    meter, pieces = codecs.Meter(), []
    try:
        for piece in codecs.decode(decoders, body, meter):
            if meter.work > _LONGEST_DECODED:
                return None
            pieces.append(piece)
        for decoder in decoders:
            decoder.finish()
    except codecs.CorruptBody:
        return None
    return b"".join(pieces)
