"""The steps of a body: adapters from each plugin's ``needs`` to scanners, grouped into passes.

Plugins that edit spans share one pass. A ``document`` plugin works on the whole tree, so the pass
before it ends there, and a new pass begins after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from zenzefi.rewriting import csp
from zenzefi.rewriting.body import Step
from zenzefi.rewriting.charset import python_name
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import TokenScanner
from zenzefi.rewriting.html.text_nodes import TextNodeScanner
from zenzefi.rewriting.jsonspans import JsonReader
from zenzefi.rewriting.pipeline import Budget, Pass, Runner
from zenzefi.rewriting.plugins.exchange import Exchange
from zenzefi.rewriting.plugins.faults import PluginFault
from zenzefi.rewriting.plugins.heads import ExchangeHead
from zenzefi.rewriting.plugins.registry import LoadedPlugin
from zenzefi.rewriting.plugins.values import JsonValue, Needs, TextEdit
from zenzefi.rewriting.plugins.watchdog import WATCHDOG, in_time
from zenzefi.rewriting.scanner import Scanner

_Piece = TypeVar("_Piece")


@dataclass(frozen=True, slots=True)
class BodyReading:
    """How a body is read: its effective type, its encoding (``""``: unknown), and its policy."""

    head: ExchangeHead
    effective: str
    encoding: str
    permission: csp.Permission | None = None

    @property
    def charset(self) -> str:
        """The encoding in which plugins get it."""
        return "utf-8" if self.encoding.startswith("utf-16") else self.encoding or "utf-8"


def steps_for(
    entries: Sequence[LoadedPlugin],
    reading: BodyReading,
    budget: Budget,
    clock: Callable[[], float],
    used: list[Exchange] | None = None,
) -> list[Step]:
    """The steps for one body; empty if no plugin processes it.

    ``used`` gets the objects of the plugins that process it.
    """
    steps: list[Step] = []
    seats: list[tuple[Runner, Scanner]] = []

    def close() -> None:
        if seats:
            steps.append(Pass(list(seats), budget, clock))
            seats.clear()

    url = reading.head.url
    phase = ""
    for entry in entries:
        if entry.phase != phase:  # the next phase gets what this one has made
            close()
            phase = entry.phase
        scanner = None
        try:
            WATCHDOG.enter()
            own = entry.exchange(reading.head)
            own._begin_body(reading.effective, reading.charset, reading.permission)
            if used is not None:
                used.append(own)
            if entry.plugin.applies(own):
                if entry.plugin.needs is Needs.DOCUMENT:
                    close()
                    steps.append(DocumentStep(entry, own, budget))
                else:
                    scanner = scanner_for(entry, own, budget)
            WATCHDOG.leave()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a plugin must not end the gate
            WATCHDOG.leave()
            entry.failed(error, url)
            continue
        if scanner is not None:
            seats.append((entry.on(url), scanner))
    close()
    return steps


def scanner_for(entry: LoadedPlugin, context: Exchange, budget: Budget) -> Scanner | None:
    """The scanner that feeds a plugin's hook. Raises :class:`PluginFault` for an invalid one."""
    plugin = entry.plugin
    if plugin.needs is Needs.CHUNKS:
        scanner = entry.traced(plugin.scanner, context.url)(context)
        if scanner is not None and not callable(getattr(scanner, "scan", None)):
            raise PluginFault(f"scanner() returned {type(scanner).__name__}, which has no scan()")
        return TracedScanner(entry, scanner, context.url) if scanner and entry.trace else scanner
    if plugin.needs is Needs.TEXT:
        return TextScanner(entry, context, budget.whole)
    if plugin.needs is Needs.JSON:
        return JsonValueScanner(entry, context)
    if plugin.needs is Needs.TOKENS:
        return TokenScanner(_asking(entry, plugin.token, context), plugin.tags or None)
    if plugin.needs is Needs.TEXT_NODES:
        ask = _asking(entry, plugin.text_node, context)
        return TextNodeScanner(ask, python_name(context.charset))
    raise PluginFault(f"{plugin.name} needs {plugin.needs}")


def _asking(
    entry: LoadedPlugin, method: Callable[[Exchange, _Piece], object], context: Exchange
) -> Callable[[_Piece], Iterable[Edit]]:
    hook = entry.traced(method, context.url)
    name = method.__name__

    def ask(piece: _Piece) -> Iterable[Edit]:
        found = hook(context, piece)
        if found is None:
            return ()
        edits = [found] if isinstance(found, Edit) else found
        if not isinstance(edits, Iterable):
            raise PluginFault(
                f"{name}() returned {type(found).__name__}, not an Edit, several, or None"
            )
        checked = list(edits)
        for edit in checked:
            if not isinstance(edit, Edit):
                raise PluginFault(f"{name}() returned a {type(edit).__name__} among the edits")
        return checked

    return ask


class TracedScanner:
    """A scanner that logs each of its calls."""

    def __init__(self, entry: LoadedPlugin, scanner: Scanner, url: str) -> None:
        self.scan = entry.traced(scanner.scan, url)


class TextScanner:
    """The whole body as a string, edits in characters."""

    def __init__(self, entry: LoadedPlugin, context: Exchange, limit: int) -> None:
        self._hook = entry.traced(entry.plugin.text, context.url)
        self._context = context
        self._limit = limit
        self._over = False

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """Wait for the end of the body; a body over the limit passes unchanged."""
        if self._over or len(window) > self._limit:
            self._over = True
            return len(window), []
        if not final:
            return 0, []
        # surrogateescape: every byte sequence survives the round trip
        name = python_name(self._context.charset)
        text = window.decode(name, "surrogateescape")
        found = _text_edits(self._hook(self._context, text), len(text))
        if not found:
            return len(window), []
        if text.encode(name, "surrogateescape") != window:
            raise PluginFault(f"the body does not survive decoding as {name}")
        edits, at, offset = [], 0, 0
        for start, end, new in found:
            if start < at:
                raise PluginFault(f"text edits overlap at character {start}")
            offset += len(text[at:start].encode(name, "surrogateescape"))
            length = len(text[start:end].encode(name, "surrogateescape"))
            edits.append(Edit(offset, offset + length, new.encode(name, "xmlcharrefreplace")))
            offset, at = offset + length, end
        return len(window), edits


def _text_edits(found: object, length: int) -> list[TextEdit]:
    """The edits of text(), in order. Raises :class:`PluginFault` for an invalid edit."""
    if found is None:
        return []
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise PluginFault(f"text() returned {type(found).__name__}, not a list of TextEdit")
    edits = []
    for edit in found:
        match edit:
            case (int(start), int(end), str(new)) if 0 <= start <= end <= length:
                edits.append(TextEdit(start, end, new))
            case _:
                raise PluginFault(
                    f"text() returned {edit!r}: TextEdit(start, end, new) within the text"
                )
    return sorted(edits)


class JsonValueScanner:
    """The values of a JSON body, one by one, in streaming."""

    def __init__(self, entry: LoadedPlugin, context: Exchange) -> None:
        self._hook = entry.traced(entry.plugin.json_value, context.url)
        self._context = context
        self._reader = JsonReader()

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """Call the plugin for every scalar."""
        settled, values = self._reader.read(window, final)
        edits = []
        for path, start, end in values:
            value = JsonValue(path, window[start:end], start)
            edit: object = self._hook(self._context, value)
            if isinstance(edit, Edit):
                edits.append(edit)
            elif edit is not None:
                raise PluginFault(
                    f"json_value() returned {type(edit).__name__}, not value.replace(...)"
                )
        return settled, edits


class DocumentStep:
    """A BeautifulSoup tree of the whole body. If it is unchanged, the source passes."""

    def __init__(self, entry: LoadedPlugin, context: Exchange, budget: Budget) -> None:
        self._entry = entry
        self._context = context
        self._limit = budget.whole
        self._inserted = budget.inserted
        self._held: list[bytes] | None = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Hold everything back, up to the limit."""
        if self._held is None:
            return data
        self._held.append(data)
        self._size += len(data)
        if self._size <= self._limit:
            return b""
        self._entry.overspent(f"a document is larger than {self._limit} bytes")
        out, self._held = b"".join(self._held), None
        return out

    def release(self) -> bytes:
        """Nothing: the plugin needs the whole document."""
        return b""

    def finish(self) -> bytes:
        """Parse, call the plugin, and serialize the tree if it changed."""
        if self._held is None:
            return b""
        source, self._held = b"".join(self._held), None
        try:
            new, seconds = in_time(lambda: self._changed(source))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a plugin must not end the gate
            self._entry.failed(error, self._context.url)
            return source
        self._entry.spent(seconds, int(new is not source), len(source))
        self._entry.succeeded()
        return new

    def _changed(self, source: bytes) -> tuple[bytes, float]:
        """The new body (the source object if nothing changed) and the CPU time in seconds."""
        start = time.thread_time()
        new = self._written(source)
        return new, time.thread_time() - start

    def _written(self, source: bytes) -> bytes:
        import bs4  # slow to import, and only needed for plugins that use it

        name = python_name(self._context.charset)
        soup = bs4.BeautifulSoup(source, "lxml", from_encoding=name)
        before = soup.decode(formatter="minimal")
        self._entry.traced(self._entry.plugin.document, self._context.url)(self._context, soup)
        after = soup.decode(formatter="minimal")
        if after == before:
            return source
        new: bytes = after.encode(name, "xmlcharrefreplace")
        if len(new) > len(source) + self._inserted:
            raise PluginFault(f"puts more than {self._inserted} bytes into one body")
        if self._entry.shadow:
            self._entry.shadowed(source, new)
            return source
        return new
