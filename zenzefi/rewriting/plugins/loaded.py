"""One loaded plugin: its statistics, the documents that it skips, and its circuit breaker.

A document that is too expensive skips the plugin for a while; other documents do not. Only failures
on several different documents open the circuit. The circuit of a bundled plugin never opens:
without these plugins no application works under a prefix, and their failures are caused by content,
which any user may have written.
"""

from __future__ import annotations

import functools
import logging
import reprlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from multidict import CIMultiDict

from zenzefi.bounded import BoundedDict
from zenzefi.rewriting.edits import EditConflict
from zenzefi.rewriting.plugins.api import Plugin, Token
from zenzefi.rewriting.plugins.exchange import Exchange, Reads
from zenzefi.rewriting.plugins.heads import ExchangeHead
from zenzefi.rewriting.plugins.messages import Socket
from zenzefi.rewriting.plugins.served import Served
from zenzefi.rewriting.plugins.watchdog import Blocked, Cost

logger = logging.getLogger("zenzefi.plugins")

_BREAK_AFTER = 5
"""Consecutive failures: on one document, or each on a different one."""
_BLOCKED_DOCUMENTS = 2
"""Different documents, within one break, on which the plugin blocked the event loop."""
_BREAK_SECONDS = 60.0
_MOST_DOCUMENTS = 256

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(slots=True)
class PluginStatistics:
    """Statistics of one plugin, for the metrics and ``zenzefi plugin list``."""

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    """Decoded body bytes that the plugin read; bytes that it read again count again."""
    edits: int = 0
    errors: int = 0
    last_error: str = ""
    conflicts: int = 0
    shadow_edits: int = 0
    skipped: int = 0
    """Bodies that skipped the plugin: open circuit, or a document that was too expensive."""


@dataclass(slots=True, eq=False)
class LoadedPlugin:
    """One loaded plugin with its statistics and circuit breaker."""

    plugin: Plugin
    source: str
    shadow: bool = False
    statistics: PluginStatistics = field(default_factory=PluginStatistics)
    trace: bool = False
    clock: Callable[[], float] = time.monotonic
    bundled: bool = False
    """Whether the plugin is part of the gate: its circuit never opens."""
    has_lifetime: bool = False
    """Whether it has to be started and stopped."""
    is_started: bool = True
    """False until ``startup()`` has succeeded: until then it is left out."""
    phase: str = "before"
    """When it gets a body: ``before``, ``mapping`` or ``after``."""
    hooks: frozenset[str] = frozenset()
    """The hooks without a response's body that it overrides."""
    reads: Reads = field(default_factory=Reads)
    """What its bodies depend on; empty for plugins of the gate, which declare it."""
    served: Served = field(default_factory=Served)
    """Its own pages and files."""
    running: int = 0
    """Calls of its handlers that have not returned yet."""
    anonymous_contents: int = 0
    """Contents that clients without a token are sending to its pages."""
    _failing: BoundedDict[int, int] = field(default_factory=lambda: BoundedDict(_MOST_DOCUMENTS))
    """Failures per document since the last success."""
    _skipped: BoundedDict[int, tuple[float, bool]] = field(
        default_factory=lambda: BoundedDict(_MOST_DOCUMENTS)
    )
    """Documents to skip: until when, and whether they blocked the event loop."""
    _blocked_routes: BoundedDict[str, float] = field(
        default_factory=lambda: BoundedDict(_MOST_DOCUMENTS)
    )
    """Routes whose handlers have blocked the event loop: left out until then."""
    _is_open: bool = False
    _open_until: float = 0.0

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.plugin.name

    @property
    def ready(self) -> bool:
        """False while the circuit is open: one minute after repeated failures.

        After that one body is tried; a failure opens the circuit again immediately.
        """
        if not self.is_started:
            self.statistics.skipped += 1
            return False
        if not self._is_open:
            return True
        if self.clock() < self._open_until:
            self.statistics.skipped += 1
            return False
        self._open_until = self.clock() + _BREAK_SECONDS
        return True

    @property
    def is_suspended(self) -> bool:
        """Whether the circuit is open now. Changes nothing."""
        return self._is_open and self.clock() < self._open_until

    def takes(self, document: str) -> bool:
        """Whether the plugin processes a document now; ``document`` is its URL."""
        until, _ = self._skipped.get(hash(document), (0.0, False))
        if self.clock() < until:
            self.statistics.skipped += 1
            return False
        return self.ready

    def exchange(self, head: ExchangeHead) -> Exchange:
        """The plugin's object for an exchange: the same one for all its hooks."""
        memory = head.memory
        made = Socket if head.is_websocket else Exchange
        has_memory = head.is_websocket or "request_chunk" in self.hooks
        if memory is None or (self.bundled and not has_memory):
            return made(head, self.reads, is_plain=self.bundled)
        known = memory.by_plugin.get(self.name)
        if known is None:
            known = memory.by_plugin[self.name] = made(head, self.reads)
        else:
            known._continue(head)
        return known

    def on(self, document: str) -> PluginRun:
        """The plugin's work on one body; failures count for the document's URL."""
        return PluginRun(self, document)

    def failed(self, error: BaseException | str, document: str = "") -> None:
        """Count and log a failure, and skip the document: after repeated failures or a high cost.

        The circuit opens after failures on several different documents without a success between
        them, or after two documents that blocked. A failure without a ``document`` counts as a
        different document.
        """
        key = hash(document) if document else -(self.statistics.errors + 1)
        count = self._failing[key] = self._failing.get(key, 0) + 1
        has_blocked = isinstance(error, Blocked)
        if has_blocked or isinstance(error, Cost) or count >= _BREAK_AFTER:
            self._skip(key, has_blocked)
        self._record("plugin %s failed, body passed unchanged: %s", error)
        if not self.bundled:
            self._maybe_open()

    def _record(self, text: str, error: BaseException | str) -> None:
        """Count and log an error."""
        self.statistics.errors += 1
        shown = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.statistics.last_error = shown
        raised = error if isinstance(error, BaseException) else None
        logger.error(text, self.name, shown, exc_info=raised)

    # --- its own pages

    def may_serve(self, route: str, most: int) -> bool:
        """Whether a handler may be called now, with ``most`` calls at a time."""
        is_blocked = self.clock() < self._blocked_routes.get(route, 0.0)
        if not self.is_started or is_blocked or self.running >= most:
            self.statistics.skipped += 1
            return False
        return True

    def route_failed(self, route: str, error: BaseException, *, has_blocked: bool) -> None:
        """Count and log the failure of a handler, which does not suspend the plugin's hooks."""
        self._record("plugin %s: a handler failed: %s", error)
        if has_blocked:
            self._blocked_routes[route] = self.clock() + _BREAK_SECONDS
            logger.error("plugin %s: %s left out for %d s", self.name, route, _BREAK_SECONDS)

    def _skip(self, document: int, has_blocked: bool) -> None:
        now = self.clock()
        while (oldest := self._skipped.oldest()) is not None and oldest[1][0] <= now:
            del self._skipped[oldest[0]]
        self._skipped[document] = now + _BREAK_SECONDS, has_blocked
        logger.error("plugin %s: document skipped for %d s", self.name, _BREAK_SECONDS)

    def _maybe_open(self) -> None:
        now = self.clock()
        blocked = sum(is_blocked and now < until for until, is_blocked in self._skipped.values())
        is_blocking = blocked >= _BLOCKED_DOCUMENTS
        if self._is_open or not (is_blocking or len(self._failing) >= _BREAK_AFTER):
            return
        self._is_open = True
        self._open_until = now + _BREAK_SECONDS
        why = "blocked the event loop" if is_blocking else "repeated failures"
        logger.error("plugin %s: circuit open for %d s: %s", self.name, _BREAK_SECONDS, why)

    def overspent(self, why: str) -> None:
        """Count and log a document over the limit, which is not a failure."""
        self.statistics.errors += 1
        self.statistics.last_error = why
        logger.warning("plugin %s: body passed unchanged: %s", self.name, why)

    def succeeded(self) -> None:
        """Record the success of a whole body or of a hook."""
        self._failing.clear()
        self._is_open = False
        self.reads.is_known = True

    def spent(self, seconds: float, edits: int, size: int = 0) -> None:
        """Record the CPU seconds, edits and bytes of one call."""
        statistics = self.statistics
        statistics.calls += 1
        statistics.seconds += seconds
        statistics.edits += 0 if self.shadow else edits
        statistics.bytes += size

    def traced(self, hook: Callable[_P, _T], url: str) -> Callable[_P, _T]:
        """``hook``, logging its calls if this plugin is traced."""
        if not self.trace:
            return hook
        name = f"{self.name}.{hook.__name__}"

        @functools.wraps(hook)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            given = _shown(args[-1]) if len(args) > 1 else ""
            start = time.perf_counter()
            try:
                result = hook(*args, **kwargs)
            except BaseException as error:
                self._trace(name, given, f"raised {type(error).__name__}", start, url)
                raise
            self._trace(name, given, f"-> {_shown(result)}", start, url)
            return result

        return call

    @staticmethod
    def _trace(name: str, given: str, came: str, start: float, url: str) -> None:
        spent = (time.perf_counter() - start) * 1000
        where = url.partition("?")[0]  # queries may contain secrets
        logger.info("trace %s(%s) %s in %.3f ms at %s", name, given, came, spent, where)

    def shadowed(self, before: bytes, after: bytes) -> None:
        """Count and log an edit of shadow mode."""
        self.statistics.shadow_edits += 1
        logger.info("shadow %s: %.200r -> %.200r", self.name, before, after)

    def conflicted(self, conflict: EditConflict) -> None:
        """Count and log a dropped edit."""
        self.statistics.conflicts += 1
        logger.warning(
            "plugin %s: edit dropped: bytes=%d-%d conflicts with plugin %s, which comes first",
            self.name,
            conflict.dropped.start,
            conflict.dropped.end,
            conflict.by,
        )


class PluginRun:
    """One plugin's work on one body: what the pipeline reports to."""

    __slots__ = ("_document", "_entry", "conflicted", "shadow", "shadowed", "spent", "succeeded")

    def __init__(self, entry: LoadedPlugin, document: str) -> None:
        self._entry = entry
        self._document = document
        self.shadow = entry.shadow
        self.spent = entry.spent
        self.succeeded = entry.succeeded
        self.shadowed = entry.shadowed
        self.conflicted = entry.conflicted

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self._entry.name

    def failed(self, error: BaseException | str) -> None:
        """The plugin raised, or broke a rule that the text names."""
        self._entry.failed(error, self._document)


_short = reprlib.Repr()
_short.maxother = _short.maxstring = 120  # a traced call is logged on one line


def _shown(value: object) -> str:
    # Headers contain cookies and passwords, which must not be logged.
    if isinstance(value, CIMultiDict):
        return f"{len(value)} headers"
    if isinstance(value, Token):
        return _short.repr(value.raw.decode("utf-8", "replace"))
    return _short.repr(value)
