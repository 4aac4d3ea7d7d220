"""Plans: the plugins for a Content-Type and destination, remembered because they repeat."""

from __future__ import annotations

import time
from dataclasses import dataclass

from zenzefi.origin import Mount
from zenzefi.rewriting import sniff
from zenzefi.rewriting.origin_search import OriginSearch, search_for
from zenzefi.rewriting.plugins.api import Needs
from zenzefi.rewriting.plugins.client import ClientFacts
from zenzefi.rewriting.plugins.loaded import LoadedPlugin
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.result_key import facts_read, varied_by
from zenzefi.rewriting.url_map import UrlMap

_PLANS = 2048
_LOOK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """The plugins for one Content-Type and destination."""

    effective: str
    doubt: sniff.Doubt
    entries: tuple[LoadedPlugin, ...]
    """Plugins that may want the body, under any reading of it."""
    told_by_destination: bool = False
    """Whether the label alone means another type."""
    may_be_heavy: bool = False
    """Whether one of the plugins needs the whole document."""


class Plans:
    """The plans of one registry, made again when its plugins are loaded again.

    ``label`` is a Content-Type, ``destination`` is ``Sec-Fetch-Dest`` or ``None``.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._plans: dict[tuple[str, str | None, bool, bool], Plan] = {}
        self._searches: dict[tuple[str, str | None, Mount], OriginSearch | None] = {}
        self._varies: dict[tuple[Mount, str | None], tuple[str, ...]] = {}
        self._readers: tuple[LoadedPlugin, ...] = ()  # the operator's
        self._reads = 0
        self.are_constant = False
        """Whether equal heads always have equal plans and headers: no plugin of the operator takes
        part, and none changes headers."""
        self._generation = -1
        self._looked = 0.0

    def varies(self, mount: Mount, destination: str | None) -> tuple[str, ...]:
        """The request headers that any plugin depends on."""
        self.refresh()
        reads = sum([len(entry.reads.names) for entry in self._readers])
        if reads != self._reads:  # a plugin has read something new
            self._reads = reads
            self._varies.clear()
        names = self._varies.get((mount, destination))
        if names is None:
            if len(self._varies) >= _PLANS:
                self._varies.clear()
            names = varied_by(self._registry.entries, mount, destination)
            self._varies[mount, destination] = names
        return names

    def facts(self, client: ClientFacts) -> tuple[object, ...]:
        """The facts about the client that any plugin depends on."""
        return facts_read(self._readers, client) if self._readers else ()

    def plan(self, label: str, destination: str | None, *, nosniff: bool, is_root: bool) -> Plan:
        """The plan; ``nosniff``: the response forbids to guess its type."""
        self.refresh()
        key = (label, destination, nosniff, is_root)
        plan = self._plans.get(key)
        if plan is None:
            essence = sniff.essence(label)
            effective, doubt = sniff.by_label(essence, destination, nosniff)
            told = effective != sniff.by_label(essence, None, nosniff)[0]
            readings = {
                sniff.Doubt.NONE: (effective,),
                sniff.Doubt.HTML_OR_DATA: (sniff.HTML, sniff.JSON, sniff.JAVASCRIPT),
                sniff.Doubt.UNLABELLED: (sniff.HTML,),
            }[doubt]
            entries = tuple(
                entry
                for entry in self._registry.entries
                if entry.plugin.needs is not Needs.HEADERS
                and any(entry.plugin.matches.content_type(reading) for reading in readings)
                and (
                    not entry.bundled
                    or entry.plugin._works(is_root=is_root, destination=destination)
                )
            )
            is_heavy = any(entry.plugin.needs is Needs.DOCUMENT for entry in entries)
            plan = Plan(effective, doubt, entries, told, is_heavy)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def may_rewrite(self, label: str, destination: str | None, mount: Mount) -> bool:
        """Whether such a body might be rewritten, whatever its path and status."""
        return bool(self._entries(label, destination, mount))

    def _entries(self, label: str, destination: str | None, mount: Mount) -> list[LoadedPlugin]:
        """All plugins that may want such a body."""
        plans = [
            self.plan(label, destination, nosniff=nosniff, is_root=mount.is_root)
            for nosniff in (False, True)
        ]
        return list(dict.fromkeys(entry for plan in plans for entry in plan.entries))

    def search(
        self, label: str, destination: str | None, mount: Mount, mapper: UrlMap
    ) -> OriginSearch | None:
        """The search for such bodies, whatever their path, status and content coding.

        ``None`` if no search can tell that a body passes unchanged.
        """
        self.refresh()
        key = (label, destination, mount)
        if key not in self._searches:
            entries = self._entries(label, destination, mount)
            if len(self._searches) >= _PLANS:
                self._searches.clear()
            self._searches[key] = search_for(entries, label, mapper, mount, destination)
        return self._searches[key]

    def refresh(self) -> None:
        """Notice changed files (in development), and plugins that were loaded again."""
        registry = self._registry
        if registry.watch and time.monotonic() - self._looked > _LOOK_EVERY:
            self._looked = time.monotonic()
            registry.reload_if_changed()
        if self._generation != registry.generation:
            self._generation = registry.generation
            self._plans.clear()
            self._searches.clear()
            self._varies.clear()
            self._readers = tuple(entry for entry in registry.entries if not entry.bundled)
            hooked = registry.with_hook("response_headers") or registry.with_hook("response")
            self.are_constant = not (self._readers or hooked)
