"""Gates of these tests admit at once."""

from __future__ import annotations

import pytest


@pytest.fixture
def at_once() -> bool:
    """Gates of these tests admit at once unless a test says otherwise."""
    return True
