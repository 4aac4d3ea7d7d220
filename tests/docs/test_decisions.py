"""The decision records have one form and an index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_a_status_and_three_sections(record: Path) -> None:
    text = record.read_text(encoding="utf-8")
    assert re.match(rf"# {record.name[:4]} .+\n\n\*\*Status:\*\* accepted", text)
    sections = re.findall(r"^## (.+)$", text, re.M)
    assert sections == ["Context", "Decision", "Consequences"]


def test_the_index_lists_every_record_with_its_title() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.M)
    titles = [record.read_text("utf-8").splitlines()[0].removeprefix("# ") for record in RECORDS]
    assert listed == list(zip(titles, [record.name for record in RECORDS], strict=True))
