"""Remove each mitigation of THREAT_MODEL.md and see its tests fail: ``make mutants``.

``tests/mutants/*.toml`` say, for a row of the threat model, which text of which file to put
in the place of another, and which tests must then fail. Each mutant is tried in a copy of the tree;
the working tree is never touched. A mutant that survives shows a mitigation that no test holds.
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
        """Why it can't be applied to this tree; ``None``: it can."""
        path = root / self.file
        if not path.is_file():
            return f"{self.file} does not exist"
        count = path.read_text("utf-8").count(self.old)
        return None if count == 1 else f"its old text occurs {count} times in {self.file}"

    def apply(self, root: Path) -> None:
        """Change the file in this tree. Raises ``ValueError`` where that is not possible."""
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
    """Rows that no mutant can test, with the reason: ``[[without]]`` with threat and reason."""
    return {entry["threat"]: entry["reason"] for entry in _entries("without", folder)}


def try_one(mutant: Mutant) -> tuple[bool, str]:
    """Whether its tests failed, and the end of what they wrote."""
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
    # 1: tests failed. Others mean that pytest itself could not run them, which shows nothing.
    return done.returncode == 1, "\n".join((done.stdout + done.stderr).splitlines()[-15:])


def _environment(tree: Path) -> dict[str, str]:
    # Before what an editable installation names: the copy is what is tested.
    return {**os.environ, "PYTHONPATH": str(tree)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code is 1 when a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="Mutants to try; all without any.")
    parser.add_argument("--jobs", type=int, default=1, help="How many at once.")
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
