"""The command line ``zenzefi``, for operators and end users.

Commands are imported when they are used, so that ``--help`` and shell completion are fast.
"""

from __future__ import annotations

import importlib

import click

from zenzefi.version import __version__

# name -> (module, attribute, the line in the list of commands)
_COMMANDS = {
    "serve": ("zenzefi.commands.serve", "serve", "Start the gate."),
    "demo": ("zenzefi.commands.serve", "demo", "Start the gate with the demo site behind it."),
    "migrate": (
        "zenzefi.commands.database",
        "migrate",
        "Migrate the database to the current schema.",
    ),
    "plugin": ("zenzefi.commands.plugin", "plugin", "Write, list, check and try plugins."),
    "check": ("zenzefi.commands.check", "check", "Test the settings against the real servers."),
    "user": ("zenzefi.commands.help_customers", "user", "Create, list and change accounts."),
    "token": ("zenzefi.commands.tokens", "token", "Issue, show, list and revoke access tokens."),
    "key": ("zenzefi.commands.api_keys", "key", "Create, list and revoke API keys of users."),
    "remote": ("zenzefi.commands.remote", "remote", "Use a gate elsewhere over its API."),
    "connect": (
        "zenzefi.commands.connect",
        "connect",
        "Open the application of a gate on this computer.",
    ),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="zenzefi")
def main() -> None:
    """A gate in front of one web application: sells access by the hour and forwards requests.

    Settings come from the environment and from .env in the current folder.
    """
