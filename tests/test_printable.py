"""Foreign text is readable on a terminal and in a log, and never obeyed by either."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from zenzefi import printable
from zenzefi.commands import check, common, plugin
from zenzefi.observability import logs
from zenzefi.observability.access_log import AccessLog, AccessLogEntry
from zenzefi.runtime.checks import Check
from zenzefi.settings import load_settings

HOSTILE = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029)),
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xD800, 0xDFFF)),
]
foreign = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(max_size=5), st.sampled_from(["\x1b[31m", "[/b]"])),
    max_size=12,
).map("".join)


def is_hostile(text: str, *, kept: str = "") -> bool:
    """By the categories of Unicode, not by the program's own list."""
    return any(
        unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs")
        or unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")
        or unicodedata.bidirectional(char) in ("FSI", "PDI")
        or char in "\u061c\u200e\u200f"
        for char in text
        if char not in kept
    )


@given(foreign)
def test_what_is_hostile_is_escaped_and_the_rest_stays(text: str) -> None:
    assert not is_hostile(printable.one_line(text))
    assert not is_hostile(printable.lines(text), kept="\n\t")
    if not is_hostile(text):
        assert printable.one_line(text) == text
    document = json.dumps({"text": text}, ensure_ascii=False)
    assert not is_hostile(printable.in_json(document))
    assert json.loads(printable.in_json(document)) == {"text": text}


@pytest.mark.parametrize("char", HOSTILE)
def test_each_hostile_character_is_escaped(char: str) -> None:
    assert is_hostile(char)
    assert printable.one_line(f"a{char}b").startswith("a\\")


class Odd:
    """A value whose representation contains the bytes of a client."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<{self.text}>"

    __str__ = __repr__


Written = Callable[[str], io.StringIO]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Logs in a form, into a buffer; the root logger is put back after."""
    root = logging.getLogger()
    before, level = root.handlers, root.level

    def write(form: str) -> io.StringIO:
        out = io.StringIO()
        monkeypatch.setattr("sys.stdout", out)
        logs.configure(load_settings({"log_format": form, "debug": True, "secret_key": "x" * 40}))
        return out

    yield write
    root.handlers = before
    root.setLevel(level)


@pytest.mark.parametrize("form", ["pretty", "json"])
@pytest.mark.parametrize("char", [*HOSTILE, "\x1b[2J\x1b[1;1Hroot logged in", "\r\nfake line"])
def test_no_log_line_obeys_what_it_tells_of(written: Written, form: str, char: str) -> None:
    out = written(form)
    log = logging.getLogger("zenzefi.test")
    log.warning("said %s", char)
    log.warning("value", extra={"agent": char, "many": [char, {"key": char}], "odd": Odd(char)})
    try:
        raise ValueError(char)
    except ValueError:
        log.exception("failed: %s", char)
    text = out.getvalue()
    assert not is_hostile(text, kept="\n\t" if form == "pretty" else "\n")
    if form == "json":
        assert text.count("\n") == 3
        assert json.loads(text.splitlines()[0])["event"] == f"said {char}"
    else:
        assert sum(bool(re.match(r"\d\d:\d\d:\d\d ", line)) for line in text.splitlines()) == 3


@pytest.mark.parametrize("as_json", [True, False])
@given(path=foreign, address=foreign)
def test_no_line_of_the_access_log_obeys_what_it_tells_of(
    as_json: bool, path: str, address: str
) -> None:
    out = io.StringIO()
    log = AccessLog(as_json=as_json, out=out)
    log.add(AccessLogEntry(0.0, "gate", "GET", f"/{path}", 200, 0.1, 5, address, "id", ""))
    log._write()
    assert out.getvalue().count("\n") == 1
    assert not is_hostile(out.getvalue(), kept="\n")


def shown_by(work: Callable[[], Any]) -> str:
    """The output of a command, both streams."""
    import click

    result = CliRunner().invoke(click.Command("shown", callback=work))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


@given(foreign)
def test_no_command_obeys_the_text_that_it_shows(text: str) -> None:
    found = [Check(name="upstream", ok=False, detail=text)]
    told = [
        shown_by(lambda: common.table(["name", "of"], [[text, Odd(text)]], "none")),
        shown_by(lambda: common.as_json({"name": text})),
        shown_by(lambda: common.fail(text)),
        shown_by(lambda: common._fail_with([text])),
        shown_by(lambda: check._show(found, [text], wants_json=False)),
        shown_by(lambda: check._show(found, [text], wants_json=True)),
        shown_by(lambda: plugin.show_diff(b"a", text.encode("utf-8", "surrogatepass"))),
    ]
    for output in told:
        assert not is_hostile(output, kept="\n\t")


SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"


@given(st.text(st.sampled_from(SIGNS + ";,\t\n\r \"'1a"), max_size=12), st.sampled_from(",;\t"))
def test_no_spreadsheet_computes_a_cell_whatever_divides_its_cells(text: str, divider: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow(["1", printable.in_cell(text)])
    rows = list(csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=divider))
    for cell in (cell for row in rows for cell in row):
        assert not cell.lstrip(' \t\r\n"').startswith(tuple(SIGNS)), rows


@given(st.text(st.sampled_from("a1. (:=-"), max_size=12))
def test_text_that_is_no_formula_stays(text: str) -> None:
    assert printable.in_cell("a" + text) == "a" + text
