"""Between the reverse proxy and the rewriting engine: headers as bytes here, as text there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.bounded import BoundedDict
from zenzefi.errors import GateError, UpstreamProtocolError
from zenzefi.http.target import Target
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.cookies import map_set_cookie
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.headers.response import response_headers
from zenzefi.proxy.plugin_pages import plugin_page
from zenzefi.proxy.plugin_side import through_plugins
from zenzefi.proxy.private_response import private
from zenzefi.proxy.proxy_request import EngineRequest
from zenzefi.proxy.rewriter import (
    Answer,
    MappedResponse,
    PluginRequest,
    ReadableContent,
    ResponseHead,
    SocketPlugins,
    UnchangedUnlessFound,
)
from zenzefi.rewriting import codecs
from zenzefi.rewriting.body import BodyRewrite
from zenzefi.rewriting.engine import PREPARED_HEADERS, Engine, ExchangeHead
from zenzefi.rewriting.headers import BODY_HEADERS
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.plugins.messages import UpstreamError
from zenzefi.rewriting.plugins.request_side import request_side
from zenzefi.rewriting.plugins.routes import is_anonymous
from zenzefi.rewriting.plugins.socket_hooks import socket_hooks
from zenzefi.rewriting.plugins.values import Response
from zenzefi.rewriting.urls import UrlMapper

_MAX_MAPPERS = 64


class MapperCache:
    """One mapper per mount: mounts are few, forwarded ones could be many, so it is bounded."""

    def __init__(self, upstream: Origin, aliases: Sequence[Origin]) -> None:
        self._upstream = upstream
        self._aliases = tuple(aliases)
        self._mappers: BoundedDict[Mount, UrlMapper] = BoundedDict(_MAX_MAPPERS)

    def get(self, mount: Mount) -> UrlMapper:
        """The mapper of a mount."""
        mapper = self._mappers.get(mount)
        if mapper is None:
            mapper = self._mappers[mount] = UrlMapper(self._upstream, mount, self._aliases)
        return mapper


class EngineRewriter:
    """Calls the engine; headers are UTF-8 text with other bytes escaped, so none is lost."""

    def __init__(
        self, engine: Engine, upstream: Origin, mappers: MapperCache, marks_key: str
    ) -> None:
        self._engine = engine
        self._marks_key = marks_key
        self._upstream = upstream
        self._mappers = mappers

    def early(self, request: EngineRequest) -> Answer | None:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        if not self._engine.registry.with_hook("early_response"):
            return None
        early = self._engine.hooks.early_response(self._exchange(request, 0, CIMultiDict()))
        return None if early is None else self._answer(request, early)

    def _answer(self, request: EngineRequest, response: Response) -> Answer:
        """A plugin's response as if the upstream had sent it: its addresses are mapped."""
        pairs = _to_pairs([(n, v) for n, v in response.headers if n.lower() not in _FRAMING])
        try:
            pairs = response_headers(pairs, self._upstream, request.mount)
        except ValueError:
            raise UpstreamProtocolError from None
        head = self._exchange(request, response.status, CIMultiDict(_to_text(pairs)))
        planned = self._engine.plan(head) if response.body else None
        body = response.body
        if planned is None or planned.heavy:
            mapped = _mapped(self._engine.map_response_headers(head))
        else:
            mapped, body = _mapped(planned.headers), planned.feed(body) + planned.finish()
        status = request.memory.status if request.memory is not None else 0
        mapped = private(status or response.status, mapped._replace(length=len(body)))
        return status or response.status, mapped, body

    def is_anonymous_page(self, method: str, path: str) -> bool:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        return is_anonymous(self._engine.registry, method, path)

    async def page(self, request: EngineRequest, content: ReadableContent | None) -> Answer:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        head = self._exchange(request, 0, CIMultiDict())
        path = request.target.partition("?")[0]
        response, is_mapped = await plugin_page(self._engine.registry, head, path, content)
        if is_mapped:
            return self._answer(request, response)
        length = len(response.body) if response.status != 304 else None
        return response.status, MappedResponse(_to_pairs(response.headers), length), response.body

    def needs_task(self, request: EngineRequest) -> bool:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        return (
            request_side(self._engine.registry, self._exchange(request, 0, CIMultiDict()))
            is not None
        )

    async def through_plugins(
        self,
        request: EngineRequest,
        target: Target,
        headers: Pairs,
        content: ReadableContent | None,
    ) -> PluginRequest:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        side = request_side(self._engine.registry, self._exchange(request, 0, CIMultiDict()))
        if side is None:
            return PluginRequest(target, headers)
        text = _to_text(headers)
        changed = await through_plugins(side, request.method, target, text, content)
        answer = None if changed.response is None else self._answer(request, changed.response)
        return PluginRequest(changed.target, _to_pairs(changed.headers), changed.read, answer)

    def instead_of_error(self, request: EngineRequest, error: GateError) -> Answer | None:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        if not self._engine.registry.with_hook("upstream_error"):
            return None
        head = self._exchange(request, 0, CIMultiDict())
        known = UpstreamError(code=error.code, status=error.status)
        response = self._engine.hooks.upstream_error(head, known)
        return None if response is None else self._answer(request, response)

    def request(self, request: EngineRequest, headers: Pairs) -> Pairs:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        rest: Pairs = []
        if not self._engine.registry.with_hook("request_headers"):
            # Then only these may change, and the others need not become text and bytes again.
            prepared = [pair for pair in headers if pair[0].lower() in _PREPARED]
            if not prepared:
                return headers
            rest = [pair for pair in headers if pair[0].lower() not in _PREPARED]
            headers = prepared
        changed = CIMultiDict(_to_text(headers))
        self._engine.prepare_request(self._exchange(request, 0, CIMultiDict()), changed)
        return rest + _to_pairs(changed.items())

    def interim(self, request: EngineRequest, status: int, headers: Pairs) -> Pairs:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        exchange = self._exchange(request, status, CIMultiDict(_to_text(headers)))
        return _to_pairs(self._engine.map_response_headers(exchange))

    def socket(self, request: EngineRequest) -> SocketPlugins | None:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        return socket_hooks(self._engine.registry, self._exchange(request, 0, CIMultiDict()))

    def must_refetch(self, request: EngineRequest, response: ResponseHead) -> bool:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        if response.status != 206:
            return False
        headers = CIMultiDict(_to_text(response.headers))
        return self._engine.must_refetch(self._exchange(request, response.status, headers))

    def response(
        self, request: EngineRequest, response: ResponseHead, headers: Pairs
    ) -> MappedResponse:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        text = CIMultiDict(_to_text(headers))
        exchange = self._exchange(request, response.status, text)
        has_content = response.has_body and response.length != 0
        # A hook that may change the status is called once, so nothing is planned twice.
        may_search = has_content and not self._engine.registry.with_hook("response")
        search = self._engine.origin_search(exchange) if may_search else None
        if search is None:
            return self._planned(exchange, has_content=has_content)
        coding = ", ".join(text.getall("Content-Encoding", ()))
        mapped = _mapped(self._engine.unchanged_headers(exchange, search))
        otherwise = partial(self._planned, exchange, has_content=True)
        return mapped._replace(unless_found=UnchangedUnlessFound(search, coding, otherwise))

    def _planned(self, exchange: ExchangeHead, *, has_content: bool) -> MappedResponse:
        """The response as the engine plans it, without a search."""
        rewrite: BodyRewrite | Decoding | None = None
        planned = self._engine.plan(exchange) if has_content else None
        if planned is not None:
            rewrite, mapped = planned, planned.headers
        else:
            mapped = self._engine.map_response_headers(exchange)
            if exchange.mount.kind is MountKind.CLIENT:
                if has_content:
                    rewrite, mapped = decoding(mapped, self._engine.budget)
                elif exchange.method == "HEAD":  # the same fields that a GET would have
                    _, mapped = decoding(mapped, self._engine.budget)
        memory = exchange.memory
        return _mapped(mapped, rewrite, memory.status if memory is not None else 0)

    def _exchange(
        self, request: EngineRequest, status: int, headers: CIMultiDict[str]
    ) -> ExchangeHead:
        request_headers = request.headers
        if request.mount.kind is MountKind.CLIENT:
            # It drops Content-Encoding, so it can read identity only, despite Accept-Encoding.
            own = CIMultiDict(request_headers)
            own["Accept-Encoding"] = "identity"
            request_headers = CIMultiDictProxy(own)
        return ExchangeHead(
            method=request.method,
            url=f"{self._upstream}{request.target}",
            status=status,
            mapper=self._mappers.get(request.mount),
            mount=request.mount,
            destination=request_headers.get("Sec-Fetch-Dest"),
            request_headers=request_headers,
            response_headers=CIMultiDictProxy(headers),
            user=request.user_id,
            marks_key=self._marks_key,
            client=request.client,
            memory=request.memory,
            is_websocket=request.is_websocket,
            map_cookie=partial(map_set_cookie, upstream=self._upstream, mount=request.mount),
        )


def _mapped(
    headers: list[tuple[str, str]], rewrite: BodyRewrite | Decoding | None = None, status: int = 0
) -> MappedResponse:
    length: int | None = None
    kept = []
    for name, value in headers:
        if name.lower() == "content-length":
            length = int(value)
        else:
            kept.append((name, value))
    again = rewrite.again if isinstance(rewrite, BodyRewrite) else None
    return MappedResponse(_to_pairs(kept), length, rewrite, status or None, again)


class Decoding:
    """Takes the content coding off a body that nothing rewrites."""

    def __init__(self, decoders: Sequence[codecs.Decoder], budget: Budget) -> None:
        self.heavy = False
        self._decoders = decoders
        self._budget = budget
        self._encoded = 0
        self._meter = codecs.Meter()

    @property
    def withholds(self) -> bool:
        """Never: decoded bytes leave as they come."""
        return False

    def release(self) -> bytes:
        """Nothing is withheld."""
        return b""

    def slices(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes, in steps of bounded work; a step may yield nothing.

        Raises :class:`zenzefi.rewriting.codecs.CorruptBody` for a decompression bomb too.
        """
        self._encoded += len(data)
        for piece in codecs.decode(self._decoders, data, self._meter):
            if self._meter.work > max(self._budget.expanded, self._budget.ratio * self._encoded):
                raise codecs.CorruptBody
            yield piece

    def finish(self) -> bytes:
        """Nothing is held back. Raises if the coded body was cut."""
        for decoder in self._decoders:
            decoder.finish()
        return b""


def decoding(
    headers: list[tuple[str, str]], budget: Budget
) -> tuple[Decoding | None, list[tuple[str, str]]]:
    """How to make identity of a body, and its headers then; unknown codings stay as they are."""
    coding = ", ".join(value for name, value in headers if name.lower() == "content-encoding")
    decoders = codecs.decoders(coding) if coding else None
    if not decoders:
        return None, headers
    dropped = ("content-encoding", *BODY_HEADERS)
    return Decoding(decoders, budget), [pair for pair in headers if pair[0].lower() not in dropped]


_PREPARED = frozenset(name.lower().encode() for name in PREPARED_HEADERS)
_FRAMING = ("content-length", "transfer-encoding", "connection")


def _to_text(pairs: Pairs) -> list[tuple[str, str]]:
    return [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in pairs
    ]


def _to_pairs(headers: Iterable[tuple[str, str]]) -> Pairs:
    """Back to bytes; control characters that a plugin may have written can't split the head."""
    headers = list(headers)
    if _CONTROL.search("".join(chain.from_iterable(headers))):
        headers = [pair for pair in headers if not _CONTROL.search("".join(pair))]
    return [
        (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
        for name, value in headers
    ]


_CONTROL = re.compile(r"[\x00\r\n]")
