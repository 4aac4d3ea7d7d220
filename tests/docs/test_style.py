"""The house style: documents, docstrings, comments and messages contain no banned phrase.

``banned_phrases.toml`` lists the phrases, each with the better wording: English ones, and Russian
ones for the catalog and the Russian documents. A failure names the file, the line, the phrase and
the wording to use instead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.prose import (
    of_catalog,
    of_configuration,
    of_markdown,
    of_python,
    of_script,
    of_template,
    of_tests,
    of_translations,
)

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Phrase:
    """One banned phrase: its pattern, the better wording, and examples of both."""

    pattern: re.Pattern[str]
    better: str
    found: tuple[str, ...]
    passed: tuple[str, ...]


def phrases(language: str) -> list[Phrase]:
    """The banned phrases of ``phrase`` (English) or ``russian``."""
    table = tomllib.loads((Path(__file__).parent / "banned_phrases.toml").read_text("utf-8"))
    found = []
    for row in table[language]:
        # A phrase can be broken over two lines, but not over a blank line.
        spaced = re.sub(r" (?![^\[]*\])", r"(?:[ \\t]+|[ \\t]*\\n[ \\t]*)", row["pattern"])
        pattern = re.compile(spaced, re.I)
        found.append(Phrase(pattern, row["better"], tuple(row["found"]), tuple(row["passed"])))
    return found


ENGLISH, RUSSIAN = phrases("phrase"), phrases("russian")


Reader = Callable[[str], str]

SOURCES: tuple[tuple[str, Reader], ...] = (
    ("*.md", of_markdown),
    ("docs/**/*.md", of_markdown),
    ("deploy/**/*.md", of_markdown),
    ("zenzefi/**/*.py", of_python),
    ("plugins/**/*.py", of_python),
    ("bench/**/*.py", of_python),
    ("scripts/**/*.py", of_python),
    ("migrations/**/*.py", of_python),
    ("deploy/**/*.py", of_python),
    ("tests/**/*.py", of_tests),
    ("zenzefi/**/*.js", of_script),
    ("zenzefi/**/*.css", of_script),
    ("zenzefi/**/*.html", of_template),
    ("templates/**/*", of_template),
    ("zenzefi/**/*.po", of_catalog),
    ("deploy/**/*.yml", of_configuration),
    ("deploy/**/*.conf", of_configuration),
    ("deploy/**/*.service", of_configuration),
    ("deploy/**/*.example", of_configuration),
    ("deploy/**/Dockerfile", of_configuration),
    ("deploy/**/Caddyfile", of_configuration),
    ("Makefile", of_configuration),
    ("pyproject.toml", of_configuration),
    ("setup.cfg", of_configuration),
)


# The demo site's pages are sample content, not texts of the product.
FICTION = "zenzefi/demo/templates/"


def readers(*sources: tuple[str, Reader], russian: bool) -> dict[str, Reader]:
    """The reader of each file by the file's path."""
    found: dict[str, Reader] = {}
    for pattern, reader in sources:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            foreign = name.endswith(".ru.md") is not russian and name.endswith(".md")
            if path.is_file() and not foreign and not name.startswith(FICTION):
                found[name] = reader
    return found


ENGLISH_FILES = readers(*SOURCES, russian=False)
RUSSIAN_FILES = readers(
    ("*.ru.md", of_markdown),
    ("docs/**/*.ru.md", of_markdown),
    ("zenzefi/**/*.po", of_translations),
    russian=True,
)


def reported(name: str, text: str, phrases: list[Phrase] = ENGLISH) -> list[str]:
    """Each banned phrase of a file: ``file:line: phrase -> better wording``."""
    text = re.sub(r"[ \t]+", " ", text)
    found = []
    for phrase in phrases:
        for match in phrase.pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            shown = " ".join(match[0].split())
            found.append((line, f"{name}:{line}: {shown!r} -> {phrase.better}"))
    return [text for _, text in sorted(found)]


@pytest.mark.parametrize(("name", "reader"), ENGLISH_FILES.items())
def test_no_banned_phrases(name: str, reader: Reader) -> None:
    found = reported(name, reader((ROOT / name).read_text("utf-8")))
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(("name", "reader"), RUSSIAN_FILES.items())
def test_no_banned_russian_phrases(name: str, reader: Reader) -> None:
    found = reported(name, reader((ROOT / name).read_text("utf-8")), RUSSIAN)
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize("phrase", ENGLISH + RUSSIAN, ids=lambda phrase: phrase.better)
def test_each_rule_matches_its_examples_and_nothing_more(phrase: Phrase) -> None:
    assert phrase.found
    assert phrase.passed
    assert [text for text in phrase.found if not phrase.pattern.search(text)] == []
    assert [text for text in phrase.passed if phrase.pattern.search(text)] == []


def test_phrases_are_found_with_their_line() -> None:
    bad = "anew"
    assert reported(
        "x.md", of_markdown(f"# T\n\nwrite it {bad}\n`{bad}`\n```sh\n{bad}\n```\n")
    ) == [f"x.md:3: {bad!r} -> again"]
    source = f'x = "{bad}"\n# read it {bad}\ny = "made {bad}"\n"""Made\n{bad}."""\n'
    assert [text.split(" ")[0] for text in reported("x.py", of_python(source))] == [
        "x.py:2:",
        "x.py:3:",
        "x.py:5:",
    ]
    assert len(reported("x.py", of_tests(source))) == 2
    script = f'let {bad} = "//{bad}"; // {bad}\n/* {bad} */\n'
    assert len(reported("x.js", of_script(script))) == 2
    assert len(reported("x.yml", of_configuration(f"{bad}: 1 # {bad}\n"))) == 1
    first = f'msgid ""\nmsgstr ""\n\nmsgid "{bad}"\nmsgstr ""\n\n'
    catalog = f'{first}msgid ""\n"made "\n"{bad}"\nmsgstr ""\n'
    assert [text.split(" ")[0] for text in reported("x.po", of_catalog(catalog))] == [
        "x.po:4:",
        "x.po:7:",
    ]
