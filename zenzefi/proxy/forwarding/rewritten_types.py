"""The responses that need the rewriting engine, as head tables ask for them."""

from __future__ import annotations

from zenzefi.origin import Mount, Origin
from zenzefi.proxy.forwarding.head_table import HeadTable
from zenzefi.proxy.headers.pairs import Verb
from zenzefi.proxy.headers.response import RESPONSE_RULES
from zenzefi.proxy.rewriting_adapter import MapperCache
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.headers import TABLE
from zenzefi.rewriting.origin_search import OriginSearch

# Only the engine can map these headers. Headers that the policy drops are not passed to it.
_ENGINE_NAMES = frozenset(
    row.name.lower().encode() for row in TABLE if row.verb != "keep"
) - frozenset(rule.name.encode() for rule in RESPONSE_RULES if rule.verb is Verb.DROP)


class Rewriting:
    """The engine's plans per content type."""

    def __init__(self, engine: Engine, mappers: MapperCache) -> None:
        self._engine = engine
        self._mappers = mappers

    @property
    def generation(self) -> int:
        """A number that changes when plugins are reloaded."""
        self._engine.plans.refresh()
        return self._engine.registry.generation

    @property
    def maps_alike(self) -> bool:
        """Whether the engine maps equal heads alike."""
        return self._engine.plans.are_constant

    def has_hook(self, name: str) -> bool:
        """Whether a plugin has this hook."""
        return bool(self._engine.registry.with_hook(name))

    def head_table(self, upstream: Origin, mount: Mount, destination: str | None) -> HeadTable:
        """A new table for the heads of responses at ``mount`` to requests for ``destination``."""
        plans, mapper = self._engine.plans, self._mappers.get(mount)

        def may_rewrite(content_type: bytes) -> bool:
            return plans.may_rewrite(_text(content_type), destination, mount)

        def search(content_type: bytes) -> OriginSearch | None:
            return plans.search(_text(content_type), destination, mount, mapper)

        is_hooked = self.has_hook("response_headers") or self.has_hook("response")
        return HeadTable(upstream, mount, may_rewrite, _ENGINE_NAMES, search, is_hooked=is_hooked)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
