"""What every command shares: settings or a list of what is wrong, output, exit codes.

A command reports its result in one line, and never a traceback for an error an operator can fix.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from zenzefi import printable
from zenzefi.i18n import gettext as _

if TYPE_CHECKING:
    from zenzefi.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes of every command (``docs/reference/commands.md``)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SETTINGS = 3
    UNAVAILABLE = 4


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """End the command with a message on the error stream."""
    click.secho(f"zenzefi: {printable.lines(message)}", fg="red", err=True)
    raise SystemExit(code)


def read_settings() -> Settings:
    """The settings; ends the command with the list of all mistakes when there are any."""
    from zenzefi.settings import SettingsError, load_settings, unknown_settings

    try:
        return load_settings()
    except SettingsError as error:
        _fail_with(error.problems, unknown_settings())


def _fail_with(problems: Sequence[str], notes: Sequence[str] = ()) -> NoReturn:
    noun = "setting needs" if len(problems) == 1 else "settings need"
    click.secho(f"zenzefi: {len(problems)} {noun} attention:", fg="red", err=True)
    for problem in problems:
        click.echo(f"  - {printable.lines(problem)}", err=True)
    for note in notes:
        click.echo(f"  note: {printable.lines(note)}", err=True)
    raise SystemExit(Exit.SETTINGS)


def plainly(function: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """Make a command of a coroutine, and one-line messages for errors that an operator can fix."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> T:
        async def running() -> T:
            return await function(*args, **kwargs)

        return run_plainly(running())

    return command


def run_plainly(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, with one-line messages for errors that an operator can fix."""
    with explained():
        return asyncio.run(work)


class explained:  # noqa: N801 - a context manager that reads as a clause
    """End the command with one line for errors that an operator can fix; let bugs through."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from zenzefi.db.errors import DatabaseUnavailable
        from zenzefi.db.migrate import SchemaOutdated
        from zenzefi.errors import GateError
        from zenzefi.rewriting.plugins.registry import PluginError
        from zenzefi.runtime.checks import reason
        from zenzefi.runtime.sockets import PortTaken
        from zenzefi.settings import SettingsError

        if isinstance(error, SettingsError | PluginError):
            _fail_with(error.problems)
        if isinstance(error, DatabaseUnavailable):
            fail(f"the database can't be reached{reason(error)}.", Exit.UNAVAILABLE)
        if isinstance(error, SchemaOutdated):
            fail(str(error), Exit.UNAVAILABLE)
        if isinstance(error, PortTaken):
            fail(f"{error} Choose another with --port (make run: PORT=8001).")
        if isinstance(error, OSError) and error.filename:
            fail(f"{error.filename} can't be used: {error.strerror}.", Exit.SETTINGS)
        if isinstance(error, GateError):
            detail = error.detail
            fail(
                detail
                if isinstance(detail, str)
                else "; ".join(str(problem["msg"]) for problem in detail)
            )


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Show on a terminal that work which may take seconds goes on; otherwise show nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} ..."):
        yield


def as_json(value: Any) -> None:
    """One JSON document on the standard output."""
    click.echo(printable.in_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """A table for a terminal; ``empty`` is the sentence for no rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo(empty)
        return
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        # As Text: a user's name must not be read as markup.
        shown = ("" if cell is None else printable.one_line(str(cell)) for cell in row)
        drawn.add_row(*map(Text, shown))
    # In a pipe nothing is cut, because programs read it; the width of a terminal does not apply.
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False)
    console.print(drawn)


def ask_secret(what: str, *, confirm: bool, from_stdin: bool, variable: str) -> str:
    """A secret from the environment, the standard input or a prompt; never from the arguments,
    which every user of the machine can read in the process list.
    """
    import os

    value = os.environ.get(variable)
    if value:
        return value
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail(
            _(
                "%(what)s is missing: type it at a terminal, pipe it with --%(option)s-stdin, "
                "or set %(variable)s.",
                what=_(what.capitalize()),
                option=what,
                variable=variable,
            ),
            Exit.USAGE,
        )
    return str(click.prompt(_(what.capitalize()), hide_input=True, confirmation_prompt=confirm))


json_option = click.option("--json", "wants_json", is_flag=True, help="Print JSON.")


def quiet_libraries() -> None:
    """Libraries speak up in a command only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
