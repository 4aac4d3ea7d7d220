"""The table about mounts is what the benchmark prints; calls may differ between Python versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import mounts

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "choose-a-mount.md"


def test_the_page_has_the_changed_lines_of_each_mount(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "ROUNDS", 1)
    mounts.main()
    printed = re.findall(r"\d+ of \d+ lines", capsys.readouterr().out)
    assert len(printed) == len(mounts.BODIES) * len(mounts.MOUNTS)
    assert printed == re.findall(r"\d+ of \d+ lines", PAGE.read_text(encoding="utf-8"))
