"""One loaded plugin: its account and its circuit breaker."""

from __future__ import annotations

import functools
import logging
import reprlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from multidict import CIMultiDict

from zenzefi.rewriting.api import Plugin, Token
from zenzefi.rewriting.edits import Conflict
from zenzefi.rewriting.watchdog import Blocked

logger = logging.getLogger("zenzefi.plugins")

_BREAK_AFTER = 5
_BREAK_SECONDS = 60.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(slots=True)
class Account:
    """What a plugin did so far: figures for metrics and ``zenzefi plugin list``."""

    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    """Decoded body bytes that it looked at; twice where it looked again."""
    edits: int = 0
    errors: int = 0
    last_error: str = ""
    conflicts: int = 0
    shadow_edits: int = 0
    skipped: int = 0
    """Bodies that passed by because the circuit was open."""


@dataclass(slots=True, eq=False)
class Entry:
    """One loaded plugin with its account and circuit breaker."""

    plugin: Plugin
    source: str
    shadow: bool = False
    account: Account = field(default_factory=Account)
    trace: bool = False
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _open_until: float = 0.0

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.plugin.name

    @property
    def ready(self) -> bool:
        """False while the circuit is open: after repeated failures it rests for a minute.

        Then one body tries it; a failure opens the circuit again at once.
        """
        if self._failures < _BREAK_AFTER:
            return True
        if self.clock() < self._open_until:
            self.account.skipped += 1
            return False
        self._open_until = self.clock() + _BREAK_SECONDS
        return True

    @property
    def is_resting(self) -> bool:
        """Whether the circuit is open now; asking changes nothing."""
        return self._failures >= _BREAK_AFTER and self.clock() < self._open_until

    def failed(self, error: BaseException | str) -> None:
        """Count and log; open the circuit after repeated failures without a success between.

        Who held up everybody rests at once.
        """
        self.account.errors += 1
        before = self._failures
        self._failures = max(before + 1, _BREAK_AFTER if isinstance(error, Blocked) else 0)
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.account.last_error = said
        logger.error(
            "plugin %s failed; the original passes: %s",
            self.name,
            said,
            exc_info=error if isinstance(error, BaseException) else None,
        )
        if before < _BREAK_AFTER <= self._failures:
            self._open_until = self.clock() + _BREAK_SECONDS
            why = "it blocked" if isinstance(error, Blocked) else "repeated failures"
            logger.error("plugin %s rests for %d s: %s", self.name, _BREAK_SECONDS, why)

    def succeeded(self) -> None:
        """A whole body, or a hook, went well."""
        self._failures = 0

    def spent(self, seconds: float, edits: int, size: int = 0) -> None:
        """CPU seconds, edits and bytes of one call."""
        account = self.account
        account.calls += 1
        account.seconds += seconds
        account.edits += 0 if self.shadow else edits
        account.bytes += size

    def traced(self, hook: Callable[_P, _T], url: str) -> Callable[_P, _T]:
        """The hook, which logs its calls if this plugin is traced."""
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
        where = url.partition("?")[0]  # what a query holds is nothing for a log
        logger.info("trace %s(%s) %s in %.3f ms at %s", name, given, came, spent, where)

    def shadowed(self, before: bytes, after: bytes) -> None:
        """Count and log what an edit would have done."""
        self.account.shadow_edits += 1
        logger.info("shadow %s: %.200r -> %.200r", self.name, before, after)

    def conflicted(self, conflict: Conflict) -> None:
        """Count and log an edit that lost."""
        self.account.conflicts += 1
        logger.warning(
            "plugin %s: its edit of bytes %d to %d was dropped, %s edits there and comes first",
            self.name,
            conflict.dropped.start,
            conflict.dropped.end,
            conflict.by,
        )


_short = reprlib.Repr()
_short.maxother = _short.maxstring = 120  # a traced call is one line, whatever it was given


def _shown(value: object) -> str:
    # Headers hold cookies and passwords; what is in them is nothing for a log.
    if isinstance(value, CIMultiDict):
        return f"{len(value)} headers"
    if isinstance(value, Token):
        return _short.repr(value.raw.decode("utf-8", "replace"))
    return _short.repr(value)
