"""Loading of plugin classes: from files, and from entry points."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from zenzefi.resources import bundled
from zenzefi.rewriting.plugins.api import Plugin

ENTRY_POINTS = "zenzefi.plugins"


class PluginError(Exception):
    """Plugins can't be loaded or ordered; ``problems`` has one plain sentence per error."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(problems))


def load_file(path: Path) -> list[type[Plugin]]:
    """The plugins of one file. Raises :class:`PluginError` if it can't be imported."""
    problems: list[str] = []
    found = [plugin_class for plugin_class, _ in from_file(path, problems)]
    if problems:
        raise PluginError(problems)
    return found


def from_file(path: Path, problems: list[str]) -> Iterator[tuple[type[Plugin], str]]:
    """The plugins of one file with their source; errors are added to ``problems``."""
    # A name that can't collide with a package, and that shows the source in tracebacks.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    module_name = f"zenzefi_plugin_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        problems.append(f"{path} can't be imported.")
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # pydantic and dataclasses look themselves up there
    _let_import_helpers(path.parent)
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


def from_entry_points(problems: list[str]) -> Iterator[tuple[type[Plugin], str]]:
    """The plugins of installed packages with their source."""
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


def _let_import_helpers(folder: Path) -> None:
    """Let a plugin import modules of its folder, and read them again.

    The folder comes last, so that no file in it hides a module of Python or of a package.
    """
    if folder == bundled("plugins"):
        return
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).parent == folder and _is_helper(name):
            del sys.modules[name]
    importlib.invalidate_caches()


def _is_helper(name: str) -> bool:
    return not name.startswith(("zenzefi", "test_", "conftest", "__main__")) and "." not in name


def nameless(path: Path) -> list[str]:
    """The subclasses of Plugin in a file that have no name, so that they are not loaded."""
    problems: list[str] = []
    list(from_file(path, problems))
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    module = sys.modules.get(f"zenzefi_plugin_{path.stem}_{digest}")
    return [
        value.__name__
        for value in vars(module or object).values()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and module is not None
        and value.__module__ == module.__name__
        and not hasattr(value, "name")
    ]


def _modules_of_packages() -> dict[str, Path]:
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    tops = {point.module.partition(".")[0] for point in points} - {"zenzefi"}
    return {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in tops and (file := getattr(module, "__file__", None))
    }


def package_files() -> list[Path]:
    """The loaded source files of the packages that entry points name."""
    return list(_modules_of_packages().values())


def forget_packages() -> None:
    """Let the packages of entry points be imported again, because a file of theirs has changed."""
    for name in _modules_of_packages():
        del sys.modules[name]
    importlib.invalidate_caches()
