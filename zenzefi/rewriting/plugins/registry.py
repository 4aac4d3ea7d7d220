"""The registry of plugins: finding, loading, ordering and configuring them.

Plugins come from the entry points of the group ``zenzefi.plugins``, from the bundled folder and
from ``PLUGIN_DIR`` (single files, loaded by path). A later source replaces a plugin of the same
name from an earlier one, so that an operator can replace a bundled plugin.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from zenzefi.resources import bundled
from zenzefi.rewriting.plugins.api import Plugin
from zenzefi.rewriting.plugins.checks import HEADER_HOOKS, check, own_hooks
from zenzefi.rewriting.plugins.loaded import LoadedPlugin, PluginStatistics

logger = logging.getLogger("zenzefi.plugins")

ENTRY_POINTS = "zenzefi.plugins"
TRACE_VARIABLE = "ZENZEFI_PLUGIN_TRACE"
"""``1`` logs every hook call; a comma-separated list of names, only the calls of these plugins."""

__all__ = [
    "LoadedPlugin",
    "PluginError",
    "PluginStatistics",
    "Registry",
    "check",
    "in_order",
    "load_file",
]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")


class PluginError(Exception):
    """Plugins can't be loaded or ordered; ``problems`` has one plain sentence per error."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(problems))


class Registry:
    """The plugins of one process, in order.

    Raises :class:`PluginError` with all errors at once: files that can't be imported, invalid names
    or options, circular ordering.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        *,
        entry_points: bool = True,
        classes: Iterable[type[Plugin]] = (),
        disabled: Collection[str] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        trace: str | None = None,
        watch: bool = False,
    ) -> None:
        self._folders = tuple(folders)
        self._entry_points = entry_points
        self._classes = tuple(classes)
        self._disabled = frozenset(disabled)
        self._options = options or {}
        self.watch = watch
        """Whether the engine checks for changed files, in development."""
        self._trace = os.environ.get(TRACE_VARIABLE, "") if trace is None else trace
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self.entries: tuple[LoadedPlugin, ...] = ()
        self.found: dict[str, tuple[type[Plugin], str]] = {}
        """All plugins found, also disabled ones: name -> (class, source)."""
        self.fingerprint = ""
        """Changes with the set of plugins, their order, versions and options."""
        self._hooked: dict[str, tuple[LoadedPlugin, ...]] = {}
        self.generation = 0
        """Number of loads; values derived from the entries are stale after a change."""
        self.load()

    @classmethod
    def for_gate(
        cls,
        *,
        plugin_dir: Path | None = None,
        disabled: Collection[str] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        watch: bool = False,
    ) -> Registry:
        """The bundled plugins, those of entry points and those of ``PLUGIN_DIR``."""
        folders = [bundled("plugins"), *([plugin_dir] if plugin_dir else [])]
        return cls(folders, disabled=disabled, options=options, watch=watch)

    def load(self) -> None:
        """(Re)load all plugins; after an error the previous ones stay loaded."""
        problems: list[str] = []
        stamp = self._files()
        found: dict[str, tuple[type[Plugin], str]] = {}
        for plugin_class, source in self._discover(problems):
            name = getattr(plugin_class, "name", None)
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                problems.append(
                    f"{source}: {plugin_class.__name__}.name is {name!r}; a name has lower-case "
                    "letters, digits, '-' and '_'."
                )
                continue
            previous = found.get(name)
            if previous is not None and previous[1] == source:
                problems.append(f"{source}: two plugins are named {name!r}.")
            found[name] = plugin_class, source
        entries = self._entries(found, problems)
        if not problems:
            try:
                ordered = in_order(entries)
            except PluginError as error:
                problems += error.problems
        if problems:
            raise PluginError(problems)
        self.found, self.entries, self._stamp = found, tuple(ordered), stamp
        self._hooked = {hook: tuple(e for e in ordered if hook in e.hooks) for hook in HEADER_HOOKS}
        self.fingerprint = self._digest()
        self.generation += 1

    def reconfigure(
        self, *, disabled: Collection[str], options: Mapping[str, Mapping[str, Any]]
    ) -> bool:
        """Load again if settings or files changed; return whether they did.

        Raises :class:`PluginError` for invalid settings; the previous plugins then stay loaded.
        """
        before = self._disabled, self._options
        if before == (frozenset(disabled), options) and self._files() == self._stamp:
            return False
        self._disabled, self._options = frozenset(disabled), options
        try:
            self.load()
        except PluginError:
            self._disabled, self._options = before
            raise
        return True

    def reload_if_changed(self) -> bool:
        """For development: load again if a plugin file was changed, added or removed.

        An error in the new version is logged, and the old one stays loaded.
        """
        stamp = self._files()
        if stamp == self._stamp:
            return False
        if self._load_or_log():
            return True
        self._stamp = stamp
        return False

    def _load_or_log(self) -> bool:
        try:
            self.load()
        except PluginError as error:
            for problem in error.problems:
                logger.error("plugins not reloaded: %s", problem)
            return False
        logger.info("plugins reloaded: %s", ", ".join(entry.name for entry in self.entries))
        return True

    def with_hook(self, hook: str) -> tuple[LoadedPlugin, ...]:
        """The plugins that override a hook which does not get the body of a response."""
        return self._hooked[hook]

    def __getitem__(self, name: str) -> LoadedPlugin:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def _files(self) -> tuple[tuple[str, int, int], ...]:
        out = []
        for path in self._paths():
            stat = path.stat()
            out.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(out)

    def _paths(self) -> Iterator[Path]:
        for folder in self._folders:
            for path in sorted(folder.glob("*.py")):
                if not path.name.startswith(("_", ".", "test_", "conftest")):
                    yield path

    def _discover(self, problems: list[str]) -> Iterator[tuple[type[Plugin], str]]:
        problems += [
            f"PLUGIN_DIR: {folder} is not a folder."
            for folder in self._folders
            if not folder.is_dir()
        ]
        bundled = self._folders[:1]
        for path in self._paths():
            if path.parent in bundled:
                yield from _from_file(path, problems)
        if self._entry_points:
            yield from _from_entry_points(problems)
        for path in self._paths():
            if path.parent not in bundled:
                yield from _from_file(path, problems)
        for plugin_class in self._classes:
            yield plugin_class, f"class {plugin_class.__module__}.{plugin_class.__qualname__}"

    def _entries(
        self, found: Mapping[str, tuple[type[Plugin], str]], problems: list[str]
    ) -> list[LoadedPlugin]:
        problems += [
            f"PLUGIN_OPTIONS names {name!r}, but no such plugin was found."
            for name in self._options
            if name not in found
        ]
        problems += [
            f"PLUGINS_DISABLED names {name!r}, but no such plugin was found."
            for name in self._disabled
            if name not in found
        ]
        entries = []
        names = {part.strip() for part in self._trace.split(",")}
        for name, (plugin_class, source) in found.items():
            given = dict(self._options.get(name, {}))
            enabled = given.pop("enabled", plugin_class.enabled)
            shadow = given.pop("shadow", False)
            if not isinstance(enabled, bool) or not isinstance(shadow, bool):
                problems.append(f"PLUGIN_OPTIONS.{name}: enabled and shadow are true or false.")
                continue
            if not enabled or name in self._disabled:
                continue
            faults = check(plugin_class)
            if faults:
                problems += [f"{source}: {fault}" for fault in faults]
                continue
            try:
                plugin = plugin_class(plugin_class.Options.model_validate(given))
            except ValidationError as error:
                problems += [
                    f"PLUGIN_OPTIONS.{name}{''.join('.' + str(p) for p in e['loc'])}: {e['msg']}."
                    for e in error.errors()
                ]
            except (Exception, SystemExit) as error:
                problems.append(f"{source}: {name} can't be made: {type(error).__name__}: {error}.")
            else:
                trace = bool(names & {"1", "all", name})
                is_bundled = Path(source).parent == bundled("plugins")
                entries.append(
                    LoadedPlugin(
                        plugin,
                        source,
                        shadow,
                        trace=trace,
                        bundled=is_bundled,
                        hooks=frozenset(own_hooks(plugin_class) & set(HEADER_HOOKS)),
                    )
                )
        return entries

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for entry in self.entries:
            plugin = entry.plugin
            options = plugin.options.model_dump_json() if plugin.options else ""
            line = f"{plugin.name}\0{plugin.version}\0{entry.shadow}\0{options}\n"
            digest.update(line.encode())
        for item in self._stamp:
            digest.update(repr((Path(item[0]).name, item[2])).encode())
        return digest.hexdigest()


def in_order(entries: Sequence[LoadedPlugin]) -> list[LoadedPlugin]:
    """Entries sorted by ``before`` and ``after``, otherwise by name, so that the order is fixed.

    Raises :class:`PluginError` that names the plugins of a cycle.
    """
    by_name = {entry.name: entry for entry in entries}
    earlier: dict[str, set[str]] = {name: set() for name in by_name}
    for name, entry in by_name.items():
        for other in entry.plugin.after:
            if other in by_name:
                earlier[name].add(other)
        for other in entry.plugin.before:
            if other in by_name:
                earlier[other].add(name)
    out: list[LoadedPlugin] = []
    while earlier:
        ready = min((name for name, waits in earlier.items() if not waits), default=None)
        if ready is None:
            raise PluginError([f"before/after go in a circle: {' -> '.join(_circle(earlier))}."])
        out.append(by_name[ready])
        del earlier[ready]
        for waits in earlier.values():
            waits.discard(ready)
    return out


def _circle(earlier: Mapping[str, set[str]]) -> list[str]:
    walk = [min(earlier)]
    while True:
        following = min(earlier[walk[-1]])
        if following in walk:
            return [*walk[walk.index(following) :], following][::-1]
        walk.append(following)


def load_file(path: Path) -> list[type[Plugin]]:
    """The plugins of one file. Raises :class:`PluginError` if it can't be imported."""
    problems: list[str] = []
    found = [plugin_class for plugin_class, _ in _from_file(path, problems)]
    if problems:
        raise PluginError(problems)
    return found


def _from_file(path: Path, problems: list[str]) -> Iterator[tuple[type[Plugin], str]]:
    # A name that can't collide with a package, and that shows the source in tracebacks.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    module_name = f"zenzefi_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        problems.append(f"{path} can't be imported.")
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # pydantic and dataclasses look themselves up there
    try:
        code = compile(path.read_bytes(), str(path), "exec")  # never a stale byte-code file
        exec(code, module.__dict__)  # noqa: S102 - importing an operator's file is the purpose
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        problems.append(f"{path}{_line(path, error)} does not import: {_message(error)}.")
        return
    yield from ((found, str(path)) for found in _classes_of(module))


def _message(error: BaseException) -> str:
    """Type and text of the error, as one sentence without its full stop."""
    return f"{type(error).__name__}: {error}".rstrip(". ")


def _line(path: Path, error: BaseException) -> str:
    """The line of an error in this file as ``:12``, or ``""``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.filename == str(path) else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _classes_of(module: ModuleType) -> list[type[Plugin]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
        and "name" in vars(value)
    ]


def _from_entry_points(problems: list[str]) -> Iterator[tuple[type[Plugin], str]]:
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        source = f"entry point {point.name} = {point.value}"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:
            problems.append(f"{source} does not load: {_message(error)}.")
            continue
        if isinstance(loaded, ModuleType):
            yield from ((found, source) for found in _classes_of(loaded))
        elif isinstance(loaded, type) and issubclass(loaded, Plugin):
            yield loaded, source
        else:
            problems.append(f"{source} is neither a Plugin class nor a module with some.")
