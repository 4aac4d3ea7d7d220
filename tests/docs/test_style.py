"""Plain English: documents, docstrings, comments and messages use no banned phrase.

``banned_phrases.toml`` lists the phrases, each with the better wording. A failure names the file,
the line, the phrase and the wording to use instead.
"""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[2]

# Not rewritten yet. Only entries may be removed; the list is empty when the rewrite is complete.
NOT_YET = (
    "docs/reference/*",
    "zenzefi/accounts/*",
    "zenzefi/admin/*",
    "zenzefi/api/*",
    "zenzefi/audit/*",
    "zenzefi/billing/*",
    "zenzefi/cli.py",
    "zenzefi/db/*",
    "zenzefi/errors.py",
    "zenzefi/gate_cookies.py",
    "zenzefi/http/*",
    "zenzefi/maintenance/*",
    "zenzefi/observability/*",
    "zenzefi/plugins_testing.py",
    "zenzefi/printable.py",
    "zenzefi/proxy/*",
    "zenzefi/rate_limits/*",
    "zenzefi/resources.py",
    "zenzefi/rewriting/*",
    "zenzefi/runtime/*",
    "zenzefi/settings/*",
    "zenzefi/tokens/*",
    "zenzefi/web/*",
)


@dataclass(frozen=True)
class Phrase:
    """One banned phrase: its pattern, the better wording, and examples of both."""

    pattern: re.Pattern[str]
    better: str
    found: tuple[str, ...]
    passed: tuple[str, ...]


def phrases() -> Iterator[Phrase]:
    table = tomllib.loads((Path(__file__).parent / "banned_phrases.toml").read_text("utf-8"))
    for row in table["phrase"]:
        # A phrase may be broken over two lines, not over a blank one.
        spaced = re.sub(r" (?![^\[]*\])", r"(?:[ \\t]+|[ \\t]*\\n[ \\t]*)", row["pattern"])
        yield Phrase(
            re.compile(spaced, re.I), row["better"], tuple(row["found"]), tuple(row["passed"])
        )


PHRASES = list(phrases())


# --- the prose of a file, everything else blanked so that lines and columns stay


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def of_markdown(text: str) -> str:
    """Prose and diagrams; no code blocks, inline code, link targets or comments."""
    code = r"^( *)```(?!mermaid)\w*\n.*?^\1```|``[^`]+``|`[^`\n]+(?:\n[^`\n]+)?`"
    text = re.sub(code, lambda m: blank(m[0]), text, flags=re.S | re.M)
    return re.sub(r"(?<=\])\([^)\s]*\)|<!--.*?-->", lambda m: blank(m[0]), text, flags=re.S)


def of_python(text: str) -> str:
    """Comments, and strings that hold more than one word: docstrings, logs, messages."""
    lines = [blank(line) for line in text.split("\n")]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            shown = " " + token.string[1:]
        elif token.type == tokenize.STRING and re.search(r"\s", token.string):
            shown = re.sub(r"``[^`]+``|`[^`\n]+`|\{[^{}\n]*\}", lambda m: blank(m[0]), token.string)
        else:
            continue
        (row, column), parts = token.start, shown.split("\n")
        for number, part in enumerate(parts, row - 1):
            start = column if number == row - 1 else 0
            lines[number] = lines[number][:start] + part + lines[number][start + len(part) :]
    # Quotes between the parts of one message would hide a phrase that goes over two lines.
    return "\n".join(lines).replace('"', " ")


def of_script(text: str) -> str:
    """The comments of a script or style sheet."""
    kept = blank(text)
    for match in re.finditer(r"/\*.*?\*/|(?<![:\"'`\\/])//[^\n]*", text, re.S):
        shown = re.sub(r"`[^`\n]+`|^ *\*", lambda m: blank(m[0]), match[0], flags=re.M)
        kept = kept[: match.start()] + shown.replace("//", "  ") + kept[match.end() :]
    return kept


def of_configuration(text: str) -> str:
    """The comments of a file whose comments begin with ``#``."""
    return "\n".join(
        " " * line.index("#")
        + re.sub(r"`[^`\n]+`", lambda m: blank(m[0]), line[line.index("#") :]).replace("#", " ")
        if re.search(r"(^|\s)#", line)
        else blank(line)
        for line in text.split("\n")
    )


def of_catalog(text: str) -> str:
    """The English texts of a catalog, each on its own line."""
    lines = [""] * (text.count("\n") + 1)
    for message in read_po(io.BytesIO(text.encode())):
        if message.id and message.lineno:
            both = message.id if isinstance(message.id, tuple | list) else (message.id,)
            lines[message.lineno - 1] = " | ".join(" ".join(one.split()) for one in both)
    return "\n\n".join(lines)


def of_template(text: str) -> str:
    """Text, and strings of more than one word in tags and expressions."""

    def strings(match: re.Match[str]) -> str:
        kept = blank(match[0])
        for string in re.finditer(r'"[^"\n]* [^"\n]*"', match[0]):
            kept = kept[: string.start()] + string[0] + kept[string.end() :]
        return kept

    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", strings, text, flags=re.S)
    return re.sub(r"<(?!!)[^<>]*>", strings, text).replace('"', " ")


SOURCES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("*.md", of_markdown),
    ("docs/**/*.md", of_markdown),
    ("deploy/**/*.md", of_markdown),
    ("zenzefi/**/*.py", of_python),
    ("plugins/**/*.py", of_python),
    ("bench/**/*.py", of_python),
    ("scripts/**/*.py", of_python),
    ("migrations/**/*.py", of_python),
    ("deploy/**/*.py", of_python),
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


def prose() -> dict[str, str]:
    """The prose of each file by its path."""
    found = {}
    for pattern, reader in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and not name.endswith(".ru.md") and "/demo/templates/" not in name:
                found[name] = reader(path.read_text("utf-8"))
    return found


def reported(name: str, text: str) -> list[str]:
    """Each banned phrase of a file: ``file:line: phrase -> better wording``."""
    found = []
    for phrase in PHRASES:
        for match in phrase.pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            line = (line + 1) // 2 if name.endswith(".po") else line
            shown = " ".join(match[0].split())
            found.append((line, f"{name}:{line}: {shown!r} -> {phrase.better}"))
    return [text for _, text in sorted(found)]


PROSE = prose()


@pytest.mark.parametrize(
    "name", [name for name in PROSE if not any(fnmatch(name, glob) for glob in NOT_YET)]
)
def test_no_banned_phrases(name: str) -> None:
    found = reported(name, PROSE[name])
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.better)
def test_each_rule_matches_its_examples_and_nothing_more(phrase: Phrase) -> None:
    assert [text for text in phrase.found if not phrase.pattern.search(text)] == []
    assert [text for text in phrase.passed if phrase.pattern.search(text)] == []
    assert phrase.found
    assert phrase.passed


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
    script = f'let {bad} = "//{bad}"; // {bad}\n/* {bad} */\n'
    assert len(reported("x.js", of_script(script))) == 2
    assert len(reported("x.yml", of_configuration(f"{bad}: 1 # {bad}\n"))) == 1
    first = f'msgid ""\nmsgstr ""\n\nmsgid "{bad}"\nmsgstr ""\n\n'
    catalog = f'{first}msgid ""\n"made "\n"{bad}"\nmsgstr ""\n'
    assert [text.split(" ")[0] for text in reported("x.po", of_catalog(catalog))] == [
        "x.po:4:",
        "x.po:7:",
    ]
