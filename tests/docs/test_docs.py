"""The documents are correct: code runs, commands and settings exist, links and files exist."""

from __future__ import annotations

import configparser
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import yaml
from dotenv import dotenv_values

from tests.kit.gate_process import environment
from tests.kit.ports import free_port
from zenzefi import i18n
from zenzefi.cli import main
from zenzefi.commands.connect import status_line
from zenzefi.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
_BLOCK = re.compile(r"^(?:<!-- run(?:: (\w+))? -->\n)?( *)```(\w*)\n(.*?)^\2```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block. ``run``: ``None``, ``""`` (run it) or ``server`` (in the background)."""

    page: Path
    line: int
    language: str
    text: str
    run: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        marked = match[0].startswith("<!-- run")
        indent = len(match[2])
        body = "".join(line[indent:] for line in match[4].splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[3], body, (match[1] or "") if marked else None))
    return found


def name_of(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}"


ALL = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def test_every_code_block_has_a_known_language() -> None:
    known = {"sh", "console", "text", "python", "json", "yaml", "toml", "ini", "mermaid", "html"}
    unknown = [name_of(b) for b in ALL if b.language not in known and b.language != ""]
    assert unknown == []
    assert len(ALL) > 30


# --- shell: run, or at least parsed


RUN = [page for page in PAGES if any(block.run is not None for block in blocks(page))]
_SAY = 'printf "\\n@@ %s\\n"'


def script_of(page: Path, port: int) -> str:
    """The marked blocks of a page as one script; servers run in the background until ready."""
    lines = ["set -euo pipefail"]
    for number, block in enumerate(blocks(page)):
        if block.run is None:
            continue
        text = block.text.replace("8000", str(port)).replace(". .venv/bin/activate\n", "")
        lines.append(f"{_SAY} {number}")
        if block.run == "server":
            *before, last = text.rstrip().splitlines()
            lines += [*before, f"{last} >server.log 2>&1 & SERVER=$!"]
            lines += [
                'trap "kill $SERVER; wait $SERVER || true" EXIT',
                f"for i in $(seq 300); do curl -sf http://127.0.0.1:{port}/readyz >/dev/null "
                "&& break; kill -0 $SERVER || { cat server.log; exit 1; }; sleep 0.2; done",
            ]
        else:
            lines.append(text)
    return "\n".join(lines)


def expected_after(page: Path) -> dict[int, str]:
    """The expected output of each run block: the ``text`` block after it."""
    found, all_of_it = {}, blocks(page)
    for number, block in enumerate(all_of_it[:-1]):
        if block.run is not None and all_of_it[number + 1].language == "text":
            found[number] = all_of_it[number + 1].text
    return found


def contains_in_order(output: str, expected: str) -> bool:
    """Whether the output contains the expected lines in order; ``...`` matches anything."""
    pattern = ".*?".join(
        re.escape(line).replace(r"\.\.\.", ".*?") for line in expected.strip().splitlines()
    )
    # JSON may be written with or without spaces after colons.
    return re.search(pattern.replace(r":\ ", ":\\ ?"), output, re.S) is not None


@pytest.mark.parametrize("page", RUN, ids=[str(page.relative_to(ROOT)) for page in RUN])
def test_the_steps_of_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    env = environment(str(tmp_path / "data"), ZENZEFI_PASSWORD="correct horse battery")
    del env["DATA_DIR"]
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script_of(page, free_port())],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = {
        int(part.split("\n", 1)[0]): part.split("\n", 1)[1]
        for part in done.stdout.split("\n@@ ")[1:]
    }
    expected = expected_after(page)
    assert expected
    for number, text in expected.items():
        assert contains_in_order(printed[number], text), (
            f"expected\n{text}\nprinted\n{printed[number]}"
        )


_MAKE = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
# Programs of the reader's system; their arguments are not checked.
_OTHERS = {
    *("cd", "cp", "createdb", "curl", "docker", "kill", "mkdir", "nginx", "pip"),
    *("pytest", "python", "python3", "systemctl", "export"),
}
_OTHERS_SETTINGS = re.compile(r"OTEL_[A-Z_]+|TEST_[A-Z_]+|GATE|BEARER|TOKEN|ID|PG_[A-Z]+")


def commands_in(text: str) -> list[list[str]]:
    joined = text.replace("\\\n", " ")
    parts = re.split(
        r"\n|&&|(?<![|&])\|(?![|&])", re.sub(r"\$\((?:[^()]|\([^)]*\))*\)", "X", joined)
    )
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def error_in(words: list[str]) -> str:
    """The error in this command; empty if there is none."""
    while words and (assignment := re.match(r"(?:export )?([A-Z][A-Z0-9_]*)=", words[0])):
        name = assignment[1].removesuffix("_FILE")
        if name.lower() not in Settings.model_fields and not _OTHERS_SETTINGS.fullmatch(name):
            return f"unknown setting {name}"
        words = words[1:]
    if not words or words[0] in _OTHERS or words[0] in (".", "source"):
        return error_in(words[1:]) if words[:1] == ["export"] else ""
    if words[0] == "make":
        wanted = [w for w in words[1:] if "=" not in w and not w.startswith((".", "-", "$"))]
        return next(
            (f"make has no target {target}" for target in wanted if target not in _MAKE), ""
        )
    if words[0] != "zenzefi":
        return f"unknown program {words[0]}"
    command: click.Command = main
    context = click.Context(main, info_name="zenzefi")
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            return f"zenzefi has no command {rest[0]}"
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=words[0], parent=context)
    try:
        command.make_context("zenzefi", list(rest))
    except click.exceptions.Exit:  # --help
        return ""
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("block", [b for b in of("sh") if b.run is None], ids=name_of)
def test_commands_in_a_code_block_exist_and_accept_their_arguments(block: Block) -> None:
    for words in commands_in(block.text):
        assert error_in(words) == "", f"{name_of(block)}: {shlex.join(words)}"


def settings_in(block: Block) -> dict[str, str]:
    """The settings assigned in a block; empty if the block contains anything else."""
    lines = [line for line in block.text.splitlines() if line and not line.startswith("#")]
    if not all(re.fullmatch(r"""[A-Z][A-Z0-9_]*=(\S*|'[^']*'|"[^"]*")""", line) for line in lines):
        return {}
    found = dotenv_values(stream=io.StringIO(block.text))
    return {name.lower(): value or "" for name, value in found.items()}


@pytest.mark.parametrize("block", [b for b in of("sh") if settings_in(b)], ids=name_of)
def test_settings_in_a_code_block_are_valid(block: Block) -> None:
    known = {k: v for k, v in settings_in(block).items() if k in Settings.model_fields}
    Settings(_env_file=None, debug=True, **known)  # type: ignore[arg-type]  # as text, as read


def test_an_unknown_command_is_detected() -> None:
    for wrong in (
        "zenzefi srve",
        "zenzefi user create --boss x@y.zz",
        "make tset",
        "NOSUCH=1 make",
    ):
        assert error_in(shlex.split(wrong))


# --- everything else


@pytest.mark.parametrize("block", of("json", "yaml", "toml", "ini", "python"), ids=name_of)
def test_a_code_block_parses_in_its_language(block: Block) -> None:
    match block.language:
        case "json":
            json.loads(block.text)
        case "yaml":
            assert yaml.safe_load(block.text)
        case "toml":
            assert tomllib.loads(block.text)
        case "ini":
            parser = configparser.ConfigParser()
            parser.read_string(block.text)
            assert parser.sections()
        case _:
            compile(block.text, name_of(block), "exec")


_DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2", "graph", "classDiagram")


@pytest.mark.parametrize("block", of("mermaid"), ids=name_of)
def test_a_diagram_has_a_known_type_and_balanced_brackets(block: Block) -> None:
    assert block.text.startswith(_DIAGRAMS)
    plain = re.sub(r'"[^"]*"', "", block.text)
    assert [plain.count(sign) for sign in "([{"] == [plain.count(sign) for sign in ")]}"]
    opened = len(re.findall(r"^\s*(?:subgraph|alt|loop|opt|par|rect)\b", plain, re.M))
    assert opened == len(re.findall(r"^\s*end\s*$", plain, re.M))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_has_a_target(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


_TREE = r"`((?:zenzefi|tests|plugins|deploy|scripts|docs|templates|bench|migrations)/[\w./*-]*)`"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_named_file_exists(page: Path) -> None:
    named = re.findall(_TREE, page.read_text(encoding="utf-8"))
    missing = [path for path in named if not any(ROOT.glob(path.rstrip("/")))]
    assert [path for path in missing if not path.endswith("...")] == []


_NOT_SETTINGS = re.compile(
    r"(ACME|OTEL|TEST|REFUND|DISPUTE|POSTGRES|FUZZ|SOAK)_\w+|NAME|ZENZEFI_(ACCESS_TOKEN|API_KEY|GATE|PLUGIN_TRACE)"
)
_GUIDES = [p for p in PAGES if {"how-to", "explanation", "tutorials"} & set(p.parts)]


@pytest.mark.parametrize("page", _GUIDES, ids=lambda page: page.name)
def test_every_named_setting_and_metric_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    settings = {name.removesuffix("_FILE") for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text)}
    unknown = {name for name in settings if name.lower() not in Settings.model_fields}
    assert {name for name in unknown if not _NOT_SETTINGS.fullmatch(name)} == set()
    listed = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    metrics = re.findall(r"\b([a-z]+(?:_[a-z]+)*_(?:total|seconds|mismatches|length))\b", text)
    assert [name for name in metrics if f"`{name}`" not in listed] == []


_CONNECT = [("connect.md", "en"), ("connect.ru.md", "ru")]


@pytest.mark.parametrize(("name", "language"), _CONNECT)
def test_messages_of_the_desktop_client_are_current(name: str, language: str) -> None:
    page = (ROOT / "docs" / "how-to" / name).read_text("utf-8")
    table = re.search(r"\| (?:message|сообщение) \|.*?\n\n", page, re.S)
    assert table is not None
    commands = ROOT / "zenzefi" / "commands"
    source = "".join(
        (commands / name).read_text("utf-8") for name in ("connect.py", "gate_address.py")
    )
    source = re.sub(r'"\n\s+"', "", source)
    with i18n.using(i18n.locale_context(language)):
        messages = [i18n.gettext(text) for text in re.findall(r'[N_]\(\s*"([^"]+)"', source)]
    rows = table[0].strip().splitlines()[2:]
    assert len(rows) == 4
    for row in rows:
        text = re.split(r" \((?:or|или)", row.split("|")[1])[0].strip()
        pattern = re.escape(text.replace("`http://...`", "%(gate)s"))
        assert [m for m in messages if re.match(pattern, m)], text


@pytest.mark.parametrize(("name", "language"), _CONNECT)
def test_the_status_line_of_the_desktop_client_is_current(name: str, language: str) -> None:
    page = (ROOT / "docs" / "how-to" / name).read_text("utf-8")
    with i18n.using(i18n.locale_context(language)):
        line = status_line("connected", 3552.9, 14, 1_200_000, 3_400)
    assert f"\n  {line}\n" in page


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "docs" in p.parts], ids=lambda page: page.name
)
def test_every_page_is_linked_from_the_start_page(page: Path) -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "README.md", ROOT / "README.md"]
    while waiting:
        at = waiting.pop().resolve()
        if at in seen or at.suffix != ".md" or not at.exists():
            continue
        seen.add(at)
        links = re.findall(r"\]\(([^)#\s]+)", at.read_text(encoding="utf-8"))
        waiting += [at.parent / link for link in links if not re.match(r"[a-z]+:", link)]
    assert page.resolve() in seen


@pytest.mark.parametrize(
    "russian", [p for p in PAGES if p.name.endswith(".ru.md")], ids=lambda path: path.name
)
def test_a_russian_edition_has_the_same_structure(russian: Path) -> None:
    english = russian.with_name(russian.name.replace(".ru.md", ".md"))
    shapes = [
        [len(re.findall(sign, page.read_text("utf-8"), re.M)) for sign in (r"^#", r"^```", r"^\|")]
        for page in (english, russian)
    ]
    assert shapes[0] == shapes[1]
    assert f"({english.name})" in russian.read_text("utf-8")
    assert f"({russian.name})" in english.read_text("utf-8")


def test_the_russian_readme_has_the_same_sections_and_links() -> None:
    english, russian = (ROOT / "README.md").read_text(), (ROOT / "README.ru.md").read_text()

    def bones(text: str) -> list[int]:
        return [len(re.findall(sign, text, re.M)) for sign in (r"^#", r"^```", r"^\d\.", r"^\|")]

    assert bones(english) == bones(russian)
    links = [
        {link.replace(".ru.md", ".md") for link in re.findall(r"\]\((docs/[^)]+)\)", text)}
        for text in (english, russian)
    ]
    assert links[0] == links[1]
    first = [text[: text.index("## ")] for text in (english, russian)]
    for screen in first:
        assert "make run" in screen
        assert "make test" in screen
        assert "![" in screen
    assert os.path.getsize(ROOT / "docs" / "screenshots" / "account.png") > 10_000
