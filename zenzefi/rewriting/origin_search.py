"""The search that tells that a body passes unchanged, because it does not name the upstream.

Every edit of the bundled mapping of JSON and of scripts is at a mention of one of the upstream's
origins (:mod:`zenzefi.rewriting.literals`); at a root mount the same holds for HTML and style
sheets, in any spelling (:mod:`zenzefi.rewriting.host_spellings`). In most such bodies there is
none. A body that is received whole and has no mention can leave as it came, with its content coding
and its validators, and costs one search at the speed of ``bytes.find``.
"""

from __future__ import annotations

import codecs as encodings
import hashlib
from collections.abc import Callable, Sequence

from zenzefi.bounded import BoundedDict
from zenzefi.origin import Mount
from zenzefi.rewriting import charset, codecs
from zenzefi.rewriting.double_byte import codec_of
from zenzefi.rewriting.host_spellings import HostSearch
from zenzefi.rewriting.literals import OriginFinder
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.result_key import varied_by
from zenzefi.rewriting.url_map import UrlMap

LONGEST = 256 * 1024
"""The longest body that is searched, in bytes as it is sent: one step of the event loop."""
_LONGEST_DECODED = 1024 * 1024
_MOST_KNOWN = 1024
"""Bodies whose result is remembered by their digest: most responses repeat."""
_WORTH_KNOWING = 4096
"""The shortest body, in bytes, whose search costs more than its digest."""
_TRANSCODED = ("utf-16-le", "utf-16-be", "iso-2022-jp")
_MARKS = (encodings.BOM_UTF16_LE, encodings.BOM_UTF16_BE)
_ESCAPE = b"\x1b"


class OriginSearch:
    """The search for mentions in the bodies of one content type at one mount."""

    def __init__(self, has_mention: Callable[[bytes], bool], varies: Sequence[str]) -> None:
        self.varies = tuple(varies)
        """Request headers on which it depends whether the body is rewritten."""
        self._has_mention = has_mention
        self._known: BoundedDict[tuple[bytes, str], bool] = BoundedDict(_MOST_KNOWN)

    def finds(self, body: bytes, content_encoding: str) -> bool:
        """Whether a whole body may have a mention; true as well if finding out would be costly.

        ``content_encoding`` is the header's value, ``""`` for none.
        """
        if len(body) > LONGEST:
            return True
        if len(body) < _WORTH_KNOWING and not content_encoding:
            return self._searched(body, content_encoding)
        key = hashlib.sha256(body).digest(), content_encoding
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._searched(body, content_encoding)
        return found

    def _searched(self, body: bytes, content_encoding: str) -> bool:
        data = _decoded(body, content_encoding)
        if data is None or data.startswith(_MARKS):
            return True
        return self._has_mention(data)


def search_for(
    entries: Sequence[LoadedPlugin],
    label: str,
    mapper: UrlMap,
    mount: Mount,
    destination: str | None,
) -> OriginSearch | None:
    """The search for a Content-Type, ``None`` if bodies without a mention may be rewritten too.

    ``entries`` are all plugins that may want such a body; those of the operator count as wanting
    it with any content.
    """
    encoding = charset.by_label(charset.label(label))
    if not entries or encoding in _TRANSCODED:
        return None
    for entry in entries:
        if not entry.bundled or not entry.plugin._edits_mentions_only(mount, destination):
            return None
    # At a root mount, a body without a mention is the same for every request.
    varies = () if mount.is_root else varied_by(entries, mount, destination)
    if not any(entry.plugin._reads_spellings for entry in entries):
        finder = OriginFinder(mapper.origins, mount)
        return OriginSearch(lambda data: next(finder.find(data), None) is not None, varies)
    words = {word for entry in entries for word in entry.plugin._reads_words}
    is_relocated = mount.public.scheme != mapper.upstream.scheme
    hosts = HostSearch(mapper.origins, relocated=is_relocated, words=words)
    if not hosts.is_possible or codec_of(encoding) is not None:
        return None

    def has_mention(data: bytes) -> bool:
        return _names_encoding(data, encoding) or hosts.finds(data)

    return OriginSearch(has_mention, varies)


def _names_encoding(data: bytes, encoding: str) -> bool:
    """Whether the body itself may say that it has to be decoded before it is read."""
    if _ESCAPE in data:  # ISO-2022-JP, by a <meta>
        return not encoding
    return not encoding and data.startswith(b"@charset") and _is_decoded(data)


def _is_decoded(data: bytes) -> bool:
    name = charset.by_rule(data, True)
    return name in _TRANSCODED or codec_of(name or "") is not None


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
