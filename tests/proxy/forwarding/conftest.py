"""Gates of these tests have the fast path."""

from __future__ import annotations

import pytest


@pytest.fixture
def fast_path() -> bool:
    """Gates of these tests have the fast path unless a test says otherwise."""
    return True
