"""The threat model names tests: they must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_of_the_threat_model_names_tests_that_exist():
    text = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| test |" not in line]
    assert len(rows) > 30
    missing = []
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        if not named:
            missing.append(row)
        for file, test in named:
            path = ROOT / "tests" / file if "/" in file else ROOT / "tests" / "proxy" / file
            if not path.is_file() or f"def {test}(" not in path.read_text(encoding="utf-8"):
                missing.append(f"{file}::{test}")
    assert missing == []
