"""``zenzefi plugin``: write, list, check and try rewriters."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zenzefi.commands import plugin_template
from zenzefi.commands.common import Exit, as_json, fail, json_option, read_settings
from zenzefi.commands.plugin_source import asked_of, fetch, option_of
from zenzefi.commands.plugin_speed import speed
from zenzefi.printable import lines, one_line
from zenzefi.resources import bundled

if TYPE_CHECKING:
    from zenzefi.plugins_testing import Result
    from zenzefi.rewriting.plugins.api import Plugin
    from zenzefi.rewriting.plugins.registry import Registry


@click.group()
def plugin() -> None:
    """Write, list, check and try plugins (docs/plugins.md)."""


# --- new ----------------------------------------------------------------------------------------


@plugin.command()
@click.argument("name")
@click.option(
    "--needs",
    type=click.Choice(plugin_template.KINDS),
    default="tokens",
    show_default=True,
    help="How much of a body the plugin reads.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to write, by default the current folder.",
)
@click.option(
    "--package", "as_package", is_flag=True, help="Write a package with entry point, tests and CI."
)
def new(name: str, needs: str, folder: Path, as_package: bool) -> None:
    """Write a plugin NAME and its test, ready to run."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,49}", name):
        fail("a name has lower-case letters, digits, '-' and '_'.", Exit.USAGE)
    module = name.replace("-", "_")
    if module in sys.stdlib_module_names:
        fail(f"{module}.py would hide Python's own {module} in this folder.", Exit.USAGE)
    if as_package:
        written = plugin_template.render_package(name, needs)
        folder = folder / f"zenzefi-{name}"
    else:
        texts = plugin_template.render(name, needs)
        written = dict(zip((f"{module}.py", f"test_{module}.py"), texts, strict=True))
    files = tuple(folder / path for path in written)
    for path in files:
        if path.exists():
            fail(f"{path} exists already; nothing was written.")
    for path, text in zip(files, written.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"  wrote {path}")
    click.echo(f"""
Next:
  pytest {files[1]}
  zenzefi plugin try URL|FILE --plugin {files[0]}
  PLUGIN_DIR={files[0].parent.resolve()} DEBUG=true zenzefi serve""")
    if (bundled("plugins") / files[0].name).exists():
        click.secho(f"\nNote: it takes the place of the bundled plugin {name!r}.", fg="yellow")


# --- list, check --------------------------------------------------------------------------------


@plugin.command(name="list")
@click.option("--no-timing", is_flag=True, help="Do not measure the speed.")
@json_option
def list_(no_timing: bool, wants_json: bool) -> None:
    """Show all plugins in their order: what they match, need, and where they come from.

    MB/s is how fast each reads a small sample full of addresses on this machine.
    """
    registry = _registry()
    order = [entry.name for entry in registry.entries]
    names = [*order, *sorted(set(registry.found) - set(order))]
    rows = [_row(registry, name, order, measure=not no_timing) for name in names]
    if wants_json:
        as_json({"plugins": [dataclasses.asdict(row) for row in rows]})
        return
    wide = max(len(row.name) for row in rows) + 2
    click.secho(f"  # {'name':<{wide}}{'state':<8}{'needs':<10}{'MB/s':>6}  matches", bold=True)
    for row in rows:
        number = f"{row.order:>3}" if row.order else "  -"
        name = click.style(f"{row.name:<{wide}}", bold=True)
        colour = {"on": "green", "shadow": "yellow"}.get(row.state, "bright_black")
        state = click.style(f"{row.state:<8}", fg=colour)
        speed = "-" if row.megabytes_per_second is None else f"{row.megabytes_per_second:.0f}"
        click.echo(f"{number} {name}{state}{row.needs:<10}{speed:>6}  {one_line(row.matches)}")
        detail = [", ".join(f"{hook}()" for hook in row.hooks)] if row.hooks else []
        detail += [f"pages {', '.join(row.routes)}"] if row.routes else []
        detail += [f"{row.phase} the mapping"] if row.phase in ("before", "after") else []
        detail += [f"before {', '.join(row.before)}"] if row.before else []
        detail += [f"after {', '.join(row.after)}"] if row.after else []
        detail += [f"options {json.dumps(row.options)}"] if row.options else []
        detail += [row.source] if row.source != "bundled" else []
        if detail:
            click.secho(f"{'':4}{one_line(' | '.join(detail))}", fg="bright_black")
    click.secho(
        "\nBundled, where no source is named. PLUGIN_OPTIONS switches on the others.", dim=True
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _PluginRow:
    order: int | None
    name: str
    state: str
    needs: str
    matches: str
    hooks: list[str]
    """Hooks other than the one for bodies."""
    routes: list[str]
    """Its own pages and files, with their methods; ``anonymous`` where no token is needed."""
    phase: str
    """When it gets a body: ``before``, ``mapping`` or ``after``; empty if it is off."""
    before: list[str]
    after: list[str]
    options: dict[str, Any]
    source: str
    megabytes_per_second: float | None


def _row(registry: Registry, name: str, order: Sequence[str], *, measure: bool) -> _PluginRow:
    from zenzefi.rewriting.plugins.checks import HEADER_HOOKS
    from zenzefi.rewriting.plugins.checks import own_hooks as own

    plugin_class, source = registry.found[name]
    entry = registry[name] if name in order else None
    return _PluginRow(
        order=order.index(name) + 1 if entry else None,
        name=name,
        state="shadow" if entry and entry.shadow else "on" if entry else "off",
        needs=str(plugin_class.needs),
        matches=_describe_match(plugin_class),
        hooks=[hook for hook in HEADER_HOOKS if hook in own(plugin_class)],
        routes=_describe_routes(plugin_class),
        phase=entry.phase if entry else "",
        before=list(plugin_class.before),
        after=list(plugin_class.after),
        options=entry.plugin.options.model_dump(mode="json") if entry else {},
        source="bundled" if source.startswith(str(bundled("plugins"))) else source,
        megabytes_per_second=speed(plugin_class) if measure and entry else None,
    )


def _describe_routes(plugin_class: type[Plugin]) -> list[str]:
    from zenzefi.rewriting.plugins.served import declared_routes

    shown = [
        f"{' '.join(route.methods)} {route.path}{' anonymous' if route.anonymous else ''}"
        for route, _ in declared_routes(plugin_class)
    ]
    if plugin_class.static is not None:
        shown.append(f"GET /static/{' anonymous' if plugin_class.static.anonymous else ''}")
    return shown


def _describe_match(plugin_class: type[Plugin], *, whole: bool = False) -> str:
    match = plugin_class.matches
    types, more = match.content_types, ""
    if len(types) > 3 and not whole:
        types, more = types[:2], f" and {len(types) - 2} more types"
    parts = [(", ".join(types) or "every type") + more]
    if match.paths:
        parts.append("at " + ", ".join(match.paths))
    if match.status:
        parts.append("with status " + ", ".join(map(str, match.status)))
    if match.destinations:
        parts.append("for " + ", ".join(match.destinations))
    return " ".join(parts)


@plugin.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check(files: Sequence[Path]) -> None:
    """Load every plugin (or only FILES), validate them, and name all mistakes at once."""
    from zenzefi.rewriting.plugins.checks import check as check_class
    from zenzefi.rewriting.plugins.checks import deprecations, does_nothing, misspelt
    from zenzefi.rewriting.plugins.loading import nameless
    from zenzefi.rewriting.plugins.registry import PluginError, load_file

    if not files:
        registry = _registry()
        loaded = [type(entry.plugin) for entry in registry.entries if not entry.bundled]
        _report([problem for each in loaded for problem in misspelt(each)])
        click.echo(f"{len(registry.entries)} plugins are in order.")
        return
    problems: list[str] = []
    notes: list[str] = []
    pages: list[str] = []
    count = 0
    for path in files:
        try:
            found = load_file(path)
        except PluginError as error:
            problems += error.problems
            continue
        unnamed = nameless(path)
        problems += [f"{path}: {one} has no name, so it is not loaded." for one in unnamed]
        if not found and not unnamed:
            problems.append(f"{path} has no class that derives from Plugin and has a name.")
        for plugin_class in found:
            count += 1
            notes += [f"{path}: {note}" for note in deprecations(plugin_class)]
            found_here = [*check_class(plugin_class), *misspelt(plugin_class)]
            found_here += _unusable_files(plugin_class)
            problems += [f"{path}: {problem}" for problem in found_here]
            if does_nothing(plugin_class):
                problems.append(f"{path}: {plugin_class.name} has no hook: it would do nothing.")
            pages += [f"{plugin_class.name}: {page}" for page in _describe_routes(plugin_class)]
    _report(problems)
    for note in notes:
        click.secho(f"  note: {lines(note)}", fg="yellow", err=True)
    for page in pages:
        click.echo(f"  {one_line(page)}")
    click.echo(f"{count} plugins are in order.")


def _unusable_files(plugin_class: type[Plugin]) -> list[str]:
    from zenzefi.rewriting.plugins.served import FilesUnusable, served_by

    try:
        served_by(plugin_class, plugin_class.static)
    except FilesUnusable as error:
        return [str(error)]
    return []


def _report(problems: Sequence[str]) -> None:
    if not problems:
        return
    noun = "mistake" if len(problems) == 1 else "mistakes"
    click.secho(f"zenzefi: {len(problems)} {noun}:", fg="red", err=True)
    for problem in problems:
        click.echo(f"  - {lines(problem)}", err=True)
    raise SystemExit(Exit.FAILED)


def _registry() -> Registry:
    from zenzefi.rewriting.plugins.registry import PluginError, Registry

    settings = read_settings()
    try:
        return Registry.for_gate(
            plugin_dir=settings.plugin_dir,
            disabled=settings.plugins_disabled,
            options=settings.plugin_options,
        )
    except PluginError as error:
        _report(error.problems)
        raise


# --- try ----------------------------------------------------------------------------------------


@plugin.command(name="try")
@click.argument("source")
@click.option("--plugin", "name", required=True, help="A plugin's name, or a plugin file.")
@click.option("--option", "options", multiple=True, help="KEY=VALUE; the value is JSON or text.")
@click.option("--content-type", help="Default: from the response, or from the file's name.")
@click.option("--url", help="Address at which a FILE is served, to resolve relative addresses.")
@click.option(
    "--mount", type=click.Choice(("prefix", "root", "client")), default="prefix", show_default=True
)
@click.option("--header", "headers", multiple=True, help="NAME=VALUE of the request.")
@click.option("--cookie", "cookies", multiple=True, help="NAME=VALUE; sent as Cookie.")
@click.option("--dest", "destination", help="Sec-Fetch-Dest, like document, script or empty.")
def try_(
    source: str,
    name: str,
    options: Sequence[str],
    content_type: str | None,
    url: str | None,
    mount: str,
    headers: Sequence[str],
    cookies: Sequence[str],
    destination: str | None,
) -> None:
    """Run one plugin over a URL or a FILE and show what it changes, as a diff."""
    from zenzefi.plugins_testing import PluginFailed
    from zenzefi.rewriting.plugins.registry import PluginError

    plugin_class = _named(name)
    asked = asked_of(headers, cookies)
    body, found_type, address = fetch(source, asked)
    try:
        result = _run(
            plugin_class,
            body,
            content_type=content_type or found_type,
            options=dict(option_of(option) for option in options),
            url=url or address,
            mount=mount,
            destination=destination,
            request_headers=asked,
        )
    except PluginFailed as error:
        fail(str(error))
    except PluginError as error:
        _report(error.problems)
        raise
    show_diff(body, result.body)
    if not result.ran:
        matches = _describe_match(plugin_class, whole=True)
        click.secho(
            f"{plugin_class.name} did not run: it matches {matches},\n"
            f"and this is {one_line(content_type or found_type or 'of no type')} "
            f"at {one_line(url or address)}.",
            fg="yellow",
        )
        return
    edits = "1 edit" if result.edits == 1 else f"{result.edits} edits"
    click.secho(f"{edits}, {len(body)} -> {len(result.body)} bytes", dim=True)


def _run(plugin_class: type[Plugin], body: bytes, **arguments: Any) -> Result:
    from zenzefi.plugins_testing import run

    return run(plugin_class, body, **arguments)


def _named(name: str) -> type[Plugin]:
    from zenzefi.rewriting.plugins.registry import PluginError, load_file

    if name.endswith(".py"):
        try:
            found = load_file(Path(name))
        except PluginError as error:
            _report(error.problems)
            raise
        if len(found) != 1:
            fail(f"{name} has {len(found)} plugins; put one in a file to try it.")
        return found[0]
    registry = _registry()
    if name not in registry.found:
        fail(f"there is no plugin {name!r}. `zenzefi plugin list` shows all.", Exit.USAGE)
    return registry.found[name][0]


def show_diff(before: bytes, after: bytes) -> None:
    """A coloured unified diff; long lines are cut around what changed."""
    if before == after:
        click.secho("nothing changes", fg="green")
        return
    old, new = (_lines(data) for data in (before, after))
    colours: Mapping[str, str] = {"+": "green", "-": "red", "@": "cyan"}
    for line in difflib.unified_diff(old, new, "upstream", "browser", n=1, lineterm=""):
        shown = lines(line if len(line) <= 400 else f"{line[:400]} ...")
        click.secho(shown, fg=colours.get(line[:1]))


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8", "backslashreplace")
    if max(map(len, text.splitlines() or [""])) > 400:  # minified
        text = re.sub(r"(?<=[>;}])(?=[^\n])", "\n", text)
    return text.splitlines()


@plugin.command(hidden=True)
def reference() -> None:
    """Print docs/reference/hooks.md, made from the docstrings."""
    from zenzefi.commands.hooks_reference import reference as page

    click.echo(page(), nl=False)
