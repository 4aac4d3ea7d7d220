"""The registry of plugins: finding, loading, ordering and configuring them.

Plugins come from the entry points of the group ``zenzefi.plugins``, from the bundled folder and
from ``PLUGIN_DIR`` (single files, loaded by path). A later source replaces a plugin of the same
name from an earlier one, so that an operator can replace a bundled plugin.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from zenzefi.resources import bundled
from zenzefi.rewriting.plugins.api import Plugin
from zenzefi.rewriting.plugins.checks import HEADER_HOOKS, LIFETIME, PHASES, check, own_hooks
from zenzefi.rewriting.plugins.loaded import LoadedPlugin, PluginStatistics
from zenzefi.rewriting.plugins.loading import (
    PluginError,
    forget_packages,
    from_entry_points,
    from_file,
    load_file,
    package_files,
)
from zenzefi.rewriting.plugins.option_secrets import SecretMissing, secrets_digest, with_secrets
from zenzefi.rewriting.plugins.served import FilesUnusable, served_by, static_paths

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
        self._packages: frozenset[Path] = frozenset()  # loaded files of installed plugins
        self._mapping: set[str] = set()  # names of the gate's plugins that map addresses
        self.entries: tuple[LoadedPlugin, ...] = ()
        self.found: dict[str, tuple[type[Plugin], str]] = {}
        """All plugins found, also disabled ones: name -> (class, source)."""
        self.fingerprint = ""
        """Changes with the set of plugins, their order, versions and options."""
        self._hooked: dict[str, tuple[LoadedPlugin, ...]] = {}
        self.serving: dict[str, LoadedPlugin] = {}
        """The plugins that have pages or files, by name; none in shadow mode."""
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
        if self._packages and not set(self._files()) >= {
            item for item in self._stamp if Path(item[0]) in self._packages
        }:
            forget_packages()
        found: dict[str, tuple[type[Plugin], str]] = {}
        self._mapping = set()
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
            if plugin_class.phase is None and Path(source).parent == bundled("plugins"):
                self._mapping.add(name)
        entries = self._entries(found, problems)
        if not problems:
            try:
                ordered = in_order(entries)
            except PluginError as error:
                problems += error.problems
        if problems:
            raise PluginError(problems)
        self.found, self.entries = found, tuple(ordered)
        self.serving = {e.name: e for e in ordered if e.served and not e.shadow}
        self._packages = frozenset(package_files()) if self._entry_points else frozenset()
        self._stamp = self._files()
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
        for path in [*self._paths(), *self._helpers(), *self._packages, *self._served_files()]:
            if not path.exists():
                continue
            stat = path.stat()
            out.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(out)

    def _helpers(self) -> Iterator[Path]:
        """Modules in the folders of plugins, which plugins import."""
        for folder in self._folders[1:]:
            yield from sorted(folder.glob("_*.py"))

    def _served_files(self) -> Iterator[Path]:
        for entry in self.entries:
            if entry.served.folder is not None:
                yield from static_paths(entry.served.folder)

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
                yield from from_file(path, problems)
        if self._entry_points:
            yield from from_entry_points(problems)
        for path in self._paths():
            if path.parent not in bundled:
                yield from from_file(path, problems)
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
                resolved = with_secrets(plugin_class.Options, given)
                plugin = plugin_class(plugin_class.Options.model_validate(resolved))
                served = served_by(plugin_class, plugin_class.static)
                plugin._tags = {below: file.tag for below, file in served.files.items()}
            except ValidationError as error:
                problems += [
                    f"PLUGIN_OPTIONS.{name}{''.join('.' + str(p) for p in e['loc'])}: {e['msg']}."
                    for e in error.errors()
                ]
            except SecretMissing as error:
                problems.append(f"PLUGIN_OPTIONS.{name}.{error}")
            except FilesUnusable as error:
                problems.append(f"{source}: {error}")
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
                        has_lifetime=bool(own_hooks(plugin_class) & LIFETIME),
                        is_started="startup" not in own_hooks(plugin_class),
                        phase=self._phase(plugin_class, is_bundled=is_bundled),
                        hooks=frozenset(own_hooks(plugin_class) & set(HEADER_HOOKS)),
                        served=served,
                    )
                )
        return entries

    def _phase(self, plugin_class: type[Plugin], *, is_bundled: bool) -> str:
        """The phase; without one, ``after = ("html",)`` (first edition) means ``after``."""
        if plugin_class.phase is not None:
            return plugin_class.phase
        if is_bundled or plugin_class.name in self._mapping:
            return "mapping"
        return "after" if self._mapping & set(plugin_class.after) else "before"

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for entry in self.entries:
            plugin = entry.plugin
            options = plugin.options.model_dump_json() if plugin.options else ""
            options += secrets_digest(plugin.options)
            line = f"{plugin.name}\0{plugin.version}\0{entry.shadow}\0{options}\n"
            digest.update(line.encode())
        for item in self._stamp:
            digest.update(repr((Path(item[0]).name, item[2])).encode())
        return digest.hexdigest()


def in_order(entries: Sequence[LoadedPlugin]) -> list[LoadedPlugin]:
    """Entries sorted by phase, then by ``before`` and ``after``, otherwise by name.

    Raises :class:`PluginError` that names the plugins of a cycle.
    """
    by_name = {entry.name: entry for entry in entries}
    earlier: dict[str, set[str]] = {name: set() for name in by_name}
    for name, entry in by_name.items():
        rank = PHASES.index(entry.phase)
        earlier[name] |= {e.name for e in entries if PHASES.index(e.phase) < rank}
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
