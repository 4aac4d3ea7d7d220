"""From what plugins need to what the pipeline runs: adapters, and the grouping into passes.

Plugins that edit spans share one pass. A ``document`` plugin works on a whole tree, so it ends the
pass before it and begins a new one behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from zenzefi.rewriting.api import Context, JsonValue, Needs, Plugin, Scanner
from zenzefi.rewriting.charset import python_name
from zenzefi.rewriting.edits import Edit
from zenzefi.rewriting.html import HtmlToken, TokenScanner
from zenzefi.rewriting.jsonspans import JsonReader
from zenzefi.rewriting.pipeline import Budget, Fault, Pass, Runner
from zenzefi.rewriting.registry import Entry
from zenzefi.rewriting.rewrite import Step


def steps_for(
    entries: Sequence[Entry], context: Context, budget: Budget, clock: Callable[[], float]
) -> list[Step]:
    """The steps for one body; empty when no plugin wants it after all."""
    steps: list[Step] = []
    seats: list[tuple[Runner, Scanner]] = []

    def close() -> None:
        if seats:
            steps.append(Pass(list(seats), budget, clock))
            seats.clear()

    is_taken = False
    for entry in entries:
        try:
            if not entry.plugin.applies(context):
                continue
            # Each plugin has a state of its own; the first needs no copy.
            own = replace(context, state={}) if is_taken else context
            is_taken = True
            if entry.plugin.needs is Needs.DOCUMENT:
                close()
                steps.append(Document(entry, own, budget))
                continue
            scanner = scanner_for(entry.plugin, own, budget)
        except Exception as error:
            entry.failed(error)
            continue
        if scanner is not None:
            seats.append((entry, scanner))
    close()
    return steps


def scanner_for(plugin: Plugin, context: Context, budget: Budget) -> Scanner | None:
    """The scanner that feeds a plugin's hook."""
    if plugin.needs is Needs.CHUNKS:
        return plugin.scanner(context)
    if plugin.needs is Needs.TEXT:
        return Text(plugin, context, budget.whole)
    if plugin.needs is Needs.JSON:
        return Json(plugin, context)
    if plugin.needs is Needs.TOKENS:
        return TokenScanner(_asking(plugin, context), plugin.tags or None)
    raise Fault(f"{plugin.name} needs {plugin.needs}")


def _asking(plugin: Plugin, context: Context) -> Callable[[HtmlToken], Iterable[Edit]]:
    def ask(token: HtmlToken) -> Iterable[Edit]:
        found = plugin.token(context, token)
        if found is None:
            return ()
        return (found,) if isinstance(found, Edit) else found

    return ask


class Text:
    """The whole body as a string, edits in characters."""

    def __init__(self, plugin: Plugin, context: Context, limit: int) -> None:
        self._plugin = plugin
        self._context = context
        self._limit = limit
        self._over = False

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """Wait for the end; a body beyond the limit passes."""
        if self._over or len(window) > self._limit:
            self._over = True
            return len(window), []
        if not final:
            return 0, []
        # surrogateescape: every byte sequence survives the round trip
        name = python_name(self._context.charset)
        text = window.decode(name, "surrogateescape")
        found = sorted(self._plugin.text(self._context, text) or ())
        if not found:
            return len(window), []
        if text.encode(name, "surrogateescape") != window:
            raise Fault(f"the body does not survive decoding as {name}")
        edits, at, offset = [], 0, 0
        for start, end, new in found:
            if start < at:
                raise Fault(f"text edits overlap at character {start}")
            offset += len(text[at:start].encode(name, "surrogateescape"))
            length = len(text[start:end].encode(name, "surrogateescape"))
            edits.append(Edit(offset, offset + length, new.encode(name, "xmlcharrefreplace")))
            offset, at = offset + length, end
        return len(window), edits


class Json:
    """Values of a JSON body, one by one, as they are read."""

    def __init__(self, plugin: Plugin, context: Context) -> None:
        self._plugin = plugin
        self._context = context
        self._reader = JsonReader()

    def scan(self, window: bytes, final: bool) -> tuple[int, list[Edit]]:
        """Ask the plugin about every scalar."""
        settled, values = self._reader.read(window, final)
        edits = []
        for path, start, end in values:
            value = JsonValue(path, window[start:end], start)
            edit = self._plugin.json_value(self._context, value)
            if edit is not None:
                edits.append(edit)
        return settled, edits


class Document:
    """A BeautifulSoup tree of the whole body. Unchanged trees leave the source as it was."""

    def __init__(self, entry: Entry, context: Context, budget: Budget) -> None:
        self._entry = entry
        self._context = context
        self._limit = budget.whole
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
        self._entry.failed(f"a document is larger than {self._limit} bytes: it passes untouched")
        out, self._held = b"".join(self._held), None
        return out

    def finish(self) -> bytes:
        """Parse, ask the plugin, and write the tree if it changed."""
        if self._held is None:
            return b""
        source, self._held = b"".join(self._held), None
        start = time.thread_time()
        try:
            new = self._changed(source)
        except Exception as error:
            self._entry.failed(error)
            return source
        self._entry.spent(time.thread_time() - start, int(new is not source), len(source))
        self._entry.succeeded()
        return new

    def _changed(self, source: bytes) -> bytes:
        import bs4  # slow to import, and nobody pays for it unless a plugin asks

        name = python_name(self._context.charset)
        soup = bs4.BeautifulSoup(source, "lxml", from_encoding=name)
        before = soup.decode(formatter="minimal")
        self._entry.plugin.document(self._context, soup)
        after = soup.decode(formatter="minimal")
        if after == before:
            return source
        new: bytes = after.encode(name, "xmlcharrefreplace")
        if self._entry.shadow:
            self._entry.shadowed(source, new)
            return source
        return new
