"""The plan of one body, from which its rewriting begins: once, or for each response with its head.

Everything that depends on the heads of request and response is decided once. The rest is decided
for each body: which plugins are suspended, and whether the result cache contains it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from zenzefi.rewriting import charset, codecs, csp, sniff
from zenzefi.rewriting.body import BodyRewrite, Decide, Step
from zenzefi.rewriting.cache import Key, Recall, ResultCache
from zenzefi.rewriting.pipeline import Budget
from zenzefi.rewriting.plans import Plan
from zenzefi.rewriting.plugin_steps import BodyReading, steps_for
from zenzefi.rewriting.plugins.exchange import Exchange
from zenzefi.rewriting.plugins.heads import CONTENT_TYPE, ExchangeHead
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.values import Needs
from zenzefi.rewriting.result_key import cacheable_length, depends_on, reads_of


class PlannedBody(NamedTuple):
    """A body that will be rewritten."""

    exchange: ExchangeHead
    plan: Plan
    entries: list[LoadedPlugin]
    """The plugins that match the response."""
    headers: list[tuple[str, str]]
    """The response's headers for the browser."""
    content_encoding: str
    """The coding of the upstream's body, which can be decoded."""
    coding: str
    """The coding of the rewritten body."""
    permission: csp.Permission | None
    cached: CachedBody | None
    """How the result cache is used; ``None``: not at all."""
    is_heavy: bool
    """Whether a plugin works on the whole document."""
    is_repeatable: bool
    """Whether the next response with an equal head, to an equal request, has the same plan."""
    budget: Budget
    clock: Callable[[], float]

    def begin(self) -> BodyRewrite:
        """The rewriting of one body."""
        used: list[Exchange] = []
        cached = self.cached
        return BodyRewrite(
            headers=self.headers,
            decoders=codecs.decoders(self.content_encoding) or (),
            coding=self.coding,
            decide=self._decision(used),
            budget=self.budget,
            heavy=self.is_heavy,
            recall=cached.recall(used) if cached is not None else None,
            clock=self.clock,
            again=self.begin if self.is_repeatable else None,
        )

    def _decision(self, used: list[Exchange]) -> Decide:
        exchange, plan, entries = self.exchange, self.plan, self.entries
        permission, budget, clock = self.permission, self.budget, self.clock

        def decide(head: bytes, final: bool) -> tuple[charset.Transcoder, list[Step]] | None:
            if charset.may_be_mark(head) and not final:
                return None
            label = charset.label(exchange.response_headers.get(CONTENT_TYPE, ""))
            encoding = charset.by_mark(head) or charset.by_label(label)
            effective = plan.effective
            if plan.doubt is not sniff.Doubt.NONE:
                if encoding.startswith("utf-16"):
                    effective = sniff.HTML
                else:
                    settled = sniff.by_body(plan.doubt, head, final)
                    if settled is None:
                        return None
                    effective = settled
            if effective == sniff.CSS and not encoding:
                named = charset.by_rule(head, final)
                if named is None:
                    return None
                encoding = named
            wanted = [
                entry
                for entry in entries
                if entry.plugin.matches.content_type(effective) and entry.takes(exchange.url)
            ]
            reading = BodyReading(exchange, effective, encoding, permission)
            steps = steps_for(wanted, reading, budget, clock, used)
            transcoder = charset.transcoder(
                encoding,
                html=effective == sniff.HTML,
                double_byte=effective in (sniff.CSS, sniff.HTML)
                and all(entry.plugin.needs is Needs.CHUNKS for entry in wanted),
            )
            return (transcoder if steps else charset.Plain()), steps

        return decide


class CachedBody(NamedTuple):
    """A body that the result cache may contain."""

    cache: ResultCache
    key: Key
    entries: Sequence[LoadedPlugin]
    reads: frozenset[str]
    """The facts that the key contains."""

    def recall(self, used: list[Exchange]) -> Recall:
        """The cache for one body, whose plugins' objects will be in ``used``."""
        before = self._incidents()  # a result without a plugin that failed or was skipped is wrong

        def is_sound() -> bool:
            is_complete = self._incidents() == before
            return is_complete and all(one._depends_only_on(self.reads) for one in used)

        return Recall(self.cache, self.key, is_sound)

    def _incidents(self) -> int:
        return sum([e.statistics.errors + e.statistics.skipped for e in self.entries])


def cached_body(
    cache: ResultCache,
    exchange: ExchangeHead,
    fingerprint: str,
    entries: Sequence[LoadedPlugin],
    coding: str,
) -> CachedBody | None:
    """How a body uses the cache, if a shared cache may store it; ``None`` for others.

    ``fingerprint``: of all plugins; ``coding``: of the rewritten body.
    """
    length = cacheable_length(exchange)
    if length is None or length > cache.largest:
        return None
    depends = depends_on(exchange, fingerprint, entries, coding)
    if depends is None:
        return None
    key = Key(exchange.url, exchange.response_headers.get("ETag", ""), length, depends)
    return CachedBody(cache, key, entries, reads_of(entries))
