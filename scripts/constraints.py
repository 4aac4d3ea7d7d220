"""Writes ``constraints.txt``: the newest allowed version of every dependency, of all extras.

One file for all supported versions of Python and all systems (``uv pip compile --universal``).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints.txt"
_HEAD = "# The exact version of every dependency. Written by `make constraints`; do not edit.\n"


def main() -> int:
    """Resolve the dependencies and write the file."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "setup.py", "--all-extras"]
    command += ["--universal", "--python-version", "3.11", "--no-header", "--quiet", "--upgrade"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        FILE.write_text(_HEAD + done.stdout)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
