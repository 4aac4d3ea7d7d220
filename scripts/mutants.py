"""Mutation tests of THREAT_MODEL.md: ``make mutants``.

Each entry of ``tests/mutants/*.toml`` removes the mitigation of one row by replacing a text in a
file, and names the tests that must then fail. A mutant is tried in a copy of the tree; the working
tree is not changed. A mutant that survives shows a mitigation without an effective test.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "mutants"
_TIMEOUT = 900.0  # seconds for the tests of one mutant
_NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", "node_modules", "*.egg-info", "build", "dist"
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mitigation removed. ``threat``: the first cell of its row in THREAT_MODEL.md."""

    name: str
    threat: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def why_not_applicable(self, root: Path = ROOT) -> str | None:
        """The reason why it can't be applied to this tree, or ``None``."""
        path = root / self.file
        if not path.is_file():
            return f"{self.file} does not exist"
        count = path.read_text("utf-8").count(self.old)
        return None if count == 1 else f"its old text occurs {count} times in {self.file}"

    def apply(self, root: Path) -> None:
        """Change the file in this tree. Raises ``ValueError`` if the text is not found once."""
        problem = self.why_not_applicable(root)
        if problem:
            raise ValueError(problem)
        path = root / self.file
        path.write_text(path.read_text("utf-8").replace(self.old, self.new), "utf-8")


def _entries(kind: str, folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.toml")):
        found += tomllib.loads(path.read_text("utf-8")).get(kind, [])
    return found


def read(folder: Path = DATA) -> list[Mutant]:
    """All mutants. Raises ``TypeError`` for one with a missing or an unknown field."""
    found = _entries("mutant", folder)
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in found]


def without_mutant(folder: Path = DATA) -> dict[str, str]:
    """Rows without a mutant and the reason for each (``[[without]]``: threat, reason)."""
    return {entry["threat"]: entry["reason"] for entry in _entries("without", folder)}


def try_one(mutant: Mutant) -> tuple[bool, str]:
    """Whether its tests failed, and the last lines of their output."""
    with tempfile.TemporaryDirectory(prefix="zenzefi-mutant-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_NOT_COPIED, symlinks=True)
        mutant.apply(tree)
        options = ["-q", "-x", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *mutant.tests],
                cwd=tree,
                env=_environment(tree),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return True, "timed out"
    # 1: tests failed. Other codes mean that pytest could not run them, which proves nothing.
    return done.returncode == 1, "\n".join((done.stdout + done.stderr).splitlines()[-15:])


def _environment(tree: Path) -> dict[str, str]:
    # Takes precedence over an editable installation, so that the copy is tested.
    return {**os.environ, "PYTHONPATH": str(tree)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. The exit code is 1 if a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="Mutants to try (default: all).")
    parser.add_argument("--jobs", type=int, default=1, help="Mutants to try concurrently.")
    chosen = parser.parse_args(arguments)
    mutants = [one for one in read() if not chosen.names or one.name in chosen.names]
    survived = 0
    with ThreadPoolExecutor(max(1, chosen.jobs)) as pool:
        for mutant, (killed, told) in zip(mutants, pool.map(try_one, mutants), strict=True):
            print(f"{'killed  ' if killed else 'SURVIVED'}  {mutant.name}", flush=True)
            if not killed:
                survived += 1
                print(told, flush=True)
    print(f"{len(mutants) - survived} of {len(mutants)} mutants killed")
    return 1 if survived else 0


if __name__ == "__main__":
    raise SystemExit(main())
