"""The folder of the rewriting cases: documents, and a checker for what the gate makes of them."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def _find() -> Path:
    """``ZENZEFI_CASES``, else ``../shared/cases``; the checkout can be one folder deeper."""
    if named := os.environ.get("ZENZEFI_CASES"):
        return Path(named)
    beside, above = (folder / "shared" / "cases" for folder in _ROOT.parents[:2])
    return beside if beside.is_dir() or not above.is_dir() else above


CASES = _find()
