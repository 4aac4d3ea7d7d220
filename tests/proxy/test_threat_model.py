"""The threat model names tests: they must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_of_the_threat_model_names_tests_that_exist() -> None:
    text = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| test |" not in line]
    assert len(rows) > 30
    missing = []
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        if not named:
            missing.append(row)
        for file, test in named:
            folders = ("tests",) if "/" in file else ("tests/proxy", "tests")
            found = [path for folder in folders if (path := ROOT / folder / file).is_file()]
            if not found or f"def {test}(" not in found[0].read_text(encoding="utf-8"):
                missing.append(f"{file}::{test}")
    assert missing == []
