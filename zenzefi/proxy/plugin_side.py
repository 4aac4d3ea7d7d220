"""The request side of plugins, for the proxy: their changes, contents and responses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from multidict import CIMultiDict

from zenzefi.errors import GateError, PayloadTooLarge
from zenzefi.http.target import Target, check_path
from zenzefi.proxy.errors import PluginRefused
from zenzefi.proxy.rewriter import ReadableContent, ReadContent
from zenzefi.rewriting.plugins.messages import OutgoingRequest
from zenzefi.rewriting.plugins.request_side import PluginRefusal, RequestSide
from zenzefi.rewriting.plugins.values import Response

_DIGESTS = ("Content-MD5", "Digest", "Content-Digest", "Repr-Digest")


@dataclass(frozen=True, slots=True)
class ChangedRequest:
    """A request after the hooks of its plugins."""

    target: Target
    headers: list[tuple[str, str]]
    read: ReadContent
    response: Response | None = None
    """A plugin's response instead of the upstream's."""


def refused(refusal: PluginRefusal) -> GateError:
    """The error for a request that a plugin does not let pass."""
    if refusal.is_too_long:
        return PayloadTooLarge("The content of this request is too long to be checked.")
    return PluginRefused()


async def through_plugins(
    side: RequestSide,
    method: str,
    target: Target,
    headers: list[tuple[str, str]],
    content: ReadableContent | None,
) -> ChangedRequest:
    """Call the hooks of the request side.

    Raises :class:`PluginRefused`, :class:`PayloadTooLarge`, and what reading the content raises.
    """
    outgoing = OutgoingRequest(method, target.path, target.query, CIMultiDict(headers))
    try:
        response = await side.request(outgoing)
        changed = ChangedRequest(
            Target(outgoing.path, outgoing.query),
            list(outgoing.headers.items()),
            ReadContent(),
            response,
        )
        if changed.target.path != target.path:
            check_path(changed.target.path)
        if response is None and content is not None and side.longest_body:
            changed = await _with_whole_content(side, changed, content)
    except PluginRefusal as refusal:
        raise refused(refusal) from None
    if content is None or changed.response is not None or not side.has_chunk_hook:
        return changed
    return replace(changed, read=_through_pieces(side, changed.read))


async def _with_whole_content(
    side: RequestSide, changed: ChangedRequest, content: ReadableContent
) -> ChangedRequest:
    limit = side.longest_body
    if content.length is not None and content.length > limit:
        side.too_long()
        return changed
    content.invite()
    pieces, size = [], 0
    while size <= limit and (piece := await content.read()):
        pieces.append(piece)
        size += len(piece)
    before = b"".join(pieces)
    if size > limit:
        side.too_long()
        return replace(changed, read=ReadContent(before, size, has_begun=True))
    after = await side.body(before)
    if isinstance(after, Response):
        return replace(changed, response=after)
    headers = changed.headers
    if after != before:
        kept = CIMultiDict(headers)
        for name in _DIGESTS:
            kept.popall(name, None)
        headers = list(kept.items())
    read = ReadContent(after, size, has_begun=True, is_whole=True)
    return replace(changed, headers=headers, read=read)


def _through_pieces(side: RequestSide, read: ReadContent) -> ReadContent:
    """The content after ``request_chunk()``, of which the rest passes it on its way."""

    def transform(piece: bytes, is_last: bool) -> bytes:
        try:
            return side.chunk(piece, final=is_last)
        except PluginRefusal as refusal:
            raise refused(refusal) from None

    data = transform(read.data, read.is_whole) if read.has_begun else b""
    return replace(read, data=data, transform=transform, changes_length=side.changes_length)
