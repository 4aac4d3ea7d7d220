"""Where the files that travel with the program are: templates, bundled plugins, migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: Literal["plugins", "templates", "migrations"]) -> Path:
    """The folder of one kind of bundled files.

    In an installed wheel they are inside the package, in a checkout next to it.
    """
    installed = _PACKAGE / "_bundled" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
