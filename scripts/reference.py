"""Generates the reference pages from the program: settings, commands, metrics, errors, hooks.

``make docs`` writes them into ``docs/reference/``. A test fails if a page is out of date.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

import zenzefi.app
from zenzefi.cli import main
from zenzefi.commands.hooks_reference import reference as hooks_page
from zenzefi.errors import GateError, all_errors
from zenzefi.observability import metrics
from zenzefi.runtime.reload import RELOADABLE
from zenzefi.settings import GROUPS, Settings

MADE = "<!-- Made by `make docs`: change the program, not this page. -->\n"


def settings_page() -> str:
    """``docs/reference/settings.md``."""
    lines = [
        "# Settings",
        "",
        MADE,
        "Settings come from the environment or from `.env` in the current folder. `NAME_FILE` is "
        "the path of a file",
        "with the value of `NAME`, for secrets mounted by container platforms. `zenzefi check` "
        "tests the settings against",
        "the real database, Redis and upstream. Settings marked ↻ take effect on SIGHUP.",
    ]
    for heading, group in GROUPS.items():
        lines += ["", f"## {heading}", "", "| setting | default | meaning |", "|---|---|---|"]
        for name, field in group.model_fields.items():
            mark = " ↻" if name in RELOADABLE else ""
            lines.append(f"| `{name.upper()}`{mark} | {_default(name)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _default(name: str) -> str:
    if name == "data_dir":
        return "a folder in the user's home"
    field = Settings.model_fields[name]
    has_default = not field.is_required() and field.default_factory is None
    value: Any = field.default if has_default else None
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value) if isinstance(value, list) else value}`"


def commands_page() -> str:
    """``docs/reference/commands.md``."""
    lines = ["# Commands", "", MADE]
    lines += [
        "Every command has `--help`. Commands prompt for secrets or read them from the environment",
        "or the standard input, never from arguments, which other users can read.",
        "",
        "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 invalid setting, 4 database, Redis "
        "or upstream",
        "unreachable.",
        "",
        'Completion for bash: `eval "$(_ZENZEFI_COMPLETE=bash_source zenzefi)"` (likewise `zsh`, '
        "`fish`).",
    ]
    for path, command in leaf_commands(main, "zenzefi"):
        # A copy, because a command caches its first help option.
        command = copy.copy(command)
        command._help_option = None
        context = click.Context(
            command,
            info_name=path,
            max_content_width=96,
            terminal_width=96,
            help_option_names=main.context_settings["help_option_names"],
        )
        lines += ["", f"## {path}", "", "```text", command.get_help(context).rstrip(), "```"]
    return "\n".join(lines) + "\n"


def leaf_commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that is not a group, with its full path."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaf_commands(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def exported() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Every metric by its exported name: kind, labels, help."""
    found = {}
    for value in vars(metrics).values():
        kind = type(value).__name__
        if kind in ("Counter", "Gauge", "Histogram"):
            name = value._name + ("_total" if kind == "Counter" else "")
            found[name] = (kind.lower(), tuple(value._labelnames), value._documentation)
    return found


def metrics_page() -> str:
    """``docs/reference/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        MADE,
        "Metrics are at `/metrics` for Prometheus (also in OpenMetrics), or on a separate listener "
        "with `METRICS_LISTEN`.",
        "Labels have a fixed set of values, so a client can't create series. `deploy/grafana/"
        "zenzefi.json` is a",
        "dashboard for Grafana.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, (kind, labels, text) in sorted(exported().items()):
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {shown} | {text} |")
    return "\n".join(lines) + "\n"


def _raised_errors() -> list[type[GateError]]:
    """The errors that the program raises, by status, one for each code.

    Skips classes that are only bases, and classes with the status and code of a base class, which
    clients can't tell apart.
    """
    raised = _raised_by_name()
    found: dict[tuple[int, str], type[GateError]] = {}
    for kind in all_errors():
        is_told_apart = not any(
            up.__name__ in raised and (up.status, up.code) == (kind.status, kind.code)
            for up in kind.__mro__[1:]
            if issubclass(up, GateError)
        )
        if is_told_apart and (kind.__name__ in raised or not kind.__subclasses__()):
            found.setdefault((kind.status, kind.code), kind)
    return sorted(found.values(), key=lambda kind: (kind.status, kind.code))


def _raised_by_name() -> set[str]:
    """The names after ``raise`` in the program, and of all calls."""
    names: set[str] = set()
    for path in Path(zenzefi.app.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(exc=ast.Name(id=name)) | ast.Call(func=ast.Name(id=name)):
                    names.add(name)
    return names


def errors_page() -> str:
    """``docs/reference/errors.md``."""
    lines = [
        "# Errors",
        "",
        MADE,
        'Every error is `{"detail", "code", "request_id"}`; `detail` of a 422 is a list of',
        '`{"type", "loc", "msg", "input"}`. Programs check `code`, users read `detail`, and the',
        "`request_id` identifies the line in the log. A navigation gets a page with the same text.",
        "",
        "| status | code | default text | when |",
        "|---|---|---|---|",
    ]
    for kind in _raised_errors():
        when = (kind.__doc__ or "").strip().partition("\n\n")[0]
        cells = (kind.default, " ".join(when.replace("``", "`").split()))
        says, when = (text.replace("|", "\\|") for text in cells)
        lines.append(f"| {kind.status} | `{kind.code}` | {says} | {when} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "errors.md": errors_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "hooks.md": hooks_page,
}

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"docs/reference/{name}")
