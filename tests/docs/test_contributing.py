"""CONTRIBUTING names files that exist and one meaning for each term."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUESTIONS = 15


def rows(heading: str) -> list[str]:
    """The rows of the table below this heading, without its head."""
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def paths(row: str) -> list[str]:
    return re.findall(r"`([\w.]+(?:/[\w.*]*)+)`", row)


def test_every_question_has_a_file() -> None:
    found = rows("Where is ...?")
    assert len(found) >= QUESTIONS
    assert [row for row in found if not paths(row)] == []


@pytest.mark.parametrize("heading", ["How the code is organized", "Where is ...?"])
def test_each_named_file_exists(heading: str) -> None:
    missing = [path for row in rows(heading) for path in paths(row) if not (ROOT / path).exists()]
    assert missing == []


def test_every_package_is_in_the_table() -> None:
    named = {path for row in rows("How the code is organized") for path in paths(row)}
    packages = {f"zenzefi/{path.parent.name}" for path in (ROOT / "zenzefi").glob("*/__init__.py")}
    assert packages - named == set()


def test_the_glossary_is_sorted_and_has_each_term_once() -> None:
    terms = [row.split(" | ")[0].removeprefix("| ").lower() for row in rows("Glossary")]
    assert terms == sorted(set(terms))
