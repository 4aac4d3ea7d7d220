"""Between the reverse proxy and the rewriting engine: headers as bytes here, as text there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Literal

from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.bounded import BoundedDict
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.pairs import Pairs
from zenzefi.proxy.proxy_request import EngineRequest, ProxyRequest
from zenzefi.proxy.rewriter import MappedResponse, ResponseHead, UnchangedUnlessFound
from zenzefi.rewriting import codecs
from zenzefi.rewriting.body import BodyRewrite
from zenzefi.rewriting.engine import PREPARED_HEADERS, Engine, Exchange
from zenzefi.rewriting.headers import BODY_HEADERS
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.plugins.api import Message
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

    def early(self, request: EngineRequest) -> tuple[int, MappedResponse, bytes] | None:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        if not self._engine.registry.with_hook("early_response"):
            return None
        early = self._engine.early_response(self._exchange(request, 0, CIMultiDict()))
        if early is None:
            return None
        headers = [pair for pair in early.headers if pair[0].lower() not in _FRAMING]
        return early.status, MappedResponse(_to_pairs(headers), len(early.body)), early.body

    def request(self, request: EngineRequest, headers: Pairs) -> Pairs:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        rest: Pairs = []
        if not self._engine.registry.with_hook("request_headers"):
            # Then only these may change, and the others need not become text and bytes again.
            rest = [pair for pair in headers if pair[0].lower() not in _PREPARED]
            headers = [pair for pair in headers if pair[0].lower() in _PREPARED]
            if not headers:
                return rest
        changed = CIMultiDict(_to_text(headers))
        self._engine.prepare_request(self._exchange(request, 0, CIMultiDict()), changed)
        return rest + _to_pairs(changed.items())

    def interim(self, request: EngineRequest, status: int, headers: Pairs) -> Pairs:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        exchange = self._exchange(request, status, CIMultiDict(_to_text(headers)))
        return _to_pairs(self._engine.map_response_headers(exchange))

    def messages(
        self, proxied: ProxyRequest
    ) -> Callable[[str, str | bytes], str | bytes | None] | None:
        """See :class:`zenzefi.proxy.rewriter.Rewriter`."""
        exchange = self._exchange(proxied.for_engine, 0, CIMultiDict())
        if not self._engine.wants_messages(exchange):
            return None

        def through(direction: str, data: str | bytes) -> str | bytes | None:
            to: Literal["to_upstream", "to_browser"]
            to = "to_upstream" if direction == "to_upstream" else "to_browser"
            return self._engine.message(exchange, Message(direction=to, data=data))

        return through

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
        search = self._engine.origin_search(exchange) if has_content else None
        if search is None:
            return self._planned(exchange, has_content=has_content)
        coding = ", ".join(text.getall("Content-Encoding", ()))
        mapped = _mapped(self._engine.unchanged_headers(exchange, search))
        otherwise = partial(self._planned, exchange, has_content=True)
        return replace(mapped, unless_found=UnchangedUnlessFound(search, coding, otherwise))

    def _planned(self, exchange: Exchange, *, has_content: bool) -> MappedResponse:
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
        return _mapped(mapped, rewrite)

    def _exchange(self, request: EngineRequest, status: int, headers: CIMultiDict[str]) -> Exchange:
        request_headers = request.headers
        if request.mount.kind is MountKind.CLIENT:
            # It drops Content-Encoding, so it can read identity only, despite Accept-Encoding.
            own = CIMultiDict(request_headers)
            own["Accept-Encoding"] = "identity"
            request_headers = CIMultiDictProxy(own)
        return Exchange(
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
        )


def _mapped(
    headers: list[tuple[str, str]], rewrite: BodyRewrite | Decoding | None = None
) -> MappedResponse:
    length: int | None = None
    kept = []
    for name, value in headers:
        if name.lower() == "content-length":
            length = int(value)
        else:
            kept.append((name, value))
    return MappedResponse(_to_pairs(kept), length, rewrite)


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
