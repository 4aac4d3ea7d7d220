"""Each row of the threat model has a mutant that can be applied (`make mutants` runs them)."""

from __future__ import annotations

import re

import pytest

from scripts.mutants import DATA, ROOT, Mutant, read, without_mutant

MUTANTS = read()
WITHOUT = without_mutant()


def threats() -> set[str]:
    """The first cell of every row of the threat model."""
    text = (ROOT / "THREAT_MODEL.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| test |" not in line]
    return {row.split(" | ")[0].removeprefix("| ") for row in rows}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_removes_a_mitigation_of_a_row(mutant: Mutant) -> None:
    assert mutant.why_not_applicable() is None
    assert mutant.old != mutant.new
    assert mutant.threat in threats()
    compile(
        (ROOT / mutant.file).read_text("utf-8").replace(mutant.old, mutant.new), mutant.file, "exec"
    )
    for test in mutant.tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"^(async )?def {re.escape(name)}\(", text, re.M), test


def test_names_are_used_once() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)), DATA


def test_every_row_has_a_mutant_or_a_reason_for_none() -> None:
    assert threats() - {mutant.threat for mutant in MUTANTS} - set(WITHOUT) == set()


def test_a_reason_for_no_mutant_belongs_to_a_row_without_one() -> None:
    assert set(WITHOUT) - threats() == set()
    assert set(WITHOUT) & {mutant.threat for mutant in MUTANTS} == set()
    assert all(WITHOUT.values())
