"""The command line: what operators and end users type as ``zenzefi ...``."""

from __future__ import annotations

import click

from zenzefi.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zenzefi")
def main() -> None:
    """A gate in front of one web application."""
