"""The request side of plugins, for the proxy: their changes, contents and responses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from multidict import CIMultiDict

from zenzefi.errors import GateError, PayloadTooLarge
from zenzefi.http.target import Target, check_path
from zenzefi.proxy.errors import PluginRefused
from zenzefi.proxy.upstream.exchange import RequestBody
from zenzefi.rewriting.plugins.messages import OutgoingRequest
from zenzefi.rewriting.plugins.request_side import PluginRefusal, RequestSide
from zenzefi.rewriting.plugins.values import Response

_DIGESTS = ("Content-MD5", "Digest", "Content-Digest", "Repr-Digest")


@dataclass(frozen=True, slots=True)
class ChangedRequest:
    """A request after the hooks of its plugins."""

    target: Target
    headers: list[tuple[str, str]]
    content: RequestBody | None
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
    content: RequestBody | None,
) -> ChangedRequest:
    """Call the hooks of the request side.

    Raises :class:`PluginRefused`, :class:`PayloadTooLarge`, and what reading the content raises.
    """
    outgoing = OutgoingRequest(method, target.path, target.query, CIMultiDict(headers))
    try:
        response = await side.request(outgoing)
        changed = ChangedRequest(
            Target(outgoing.path, outgoing.query), list(outgoing.headers.items()), content, response
        )
        if changed.target.path != target.path:
            check_path(changed.target.path)
        if response is None and content is not None and side.longest_body:
            changed = await _with_whole_content(side, changed, content)
    except PluginRefusal as refusal:
        raise refused(refusal) from None
    if changed.content is not None and side.has_chunk_hook:
        return replace(changed, content=PiecesThroughPlugins(changed.content, side))
    return changed


async def _with_whole_content(
    side: RequestSide, changed: ChangedRequest, content: RequestBody
) -> ChangedRequest:
    limit = side.longest_body
    if content.length is not None and content.length > limit:
        side.too_long()
        return changed
    if content.expects_continue:
        content.invite()
    pieces, size = [], 0
    while size <= limit and (piece := await content.read()):
        pieces.append(piece)
        size += len(piece)
    before = b"".join(pieces)
    if size > limit:
        side.too_long()
        return replace(changed, content=HeldContent(before, content))
    after = await side.body(before)
    if isinstance(after, Response):
        return replace(changed, content=None, response=after)
    headers = changed.headers
    if after != before:
        kept = CIMultiDict(headers)
        for name in _DIGESTS:
            kept.popall(name, None)
        headers = list(kept.items())
    return replace(changed, headers=headers, content=HeldContent(after))


class HeldContent:
    """A content that was read before it is sent, with the rest of it if it was too long."""

    def __init__(self, data: bytes, rest: RequestBody | None = None) -> None:
        self._data = data
        self._rest = rest
        self.length = len(data) if rest is None else rest.length
        self.expects_continue = False

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end. Raises what reading the rest raises."""
        data, self._data = self._data, b""
        if data or self._rest is None:
            return data
        return await self._rest.read()

    def invite(self) -> None:
        """Nothing: the client was asked for it before."""


class PiecesThroughPlugins:
    """A content that passes ``request_chunk()`` on its way."""

    def __init__(self, content: RequestBody, side: RequestSide) -> None:
        self._content = content
        self._side = side
        self._left = content.length
        self._is_over = False
        self.length = None if side.changes_length else content.length
        self.expects_continue = content.expects_continue

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end. Raises as :func:`through_plugins`."""
        while not self._is_over:
            piece = await self._content.read()
            if self._left is not None:
                self._left -= len(piece)
            self._is_over = not piece or self._left == 0
            try:
                out = self._side.chunk(piece, final=self._is_over)
            except PluginRefusal as refusal:
                raise refused(refusal) from None
            if out:
                return out
        return b""

    def invite(self) -> None:
        """Tell the client to send its content (100 Continue)."""
        self._content.invite()
